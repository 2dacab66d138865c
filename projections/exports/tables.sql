-- Which tables and views does the read model have, and what is in them? Tables first, each in order of the name.
SELECT t.name, t.kind, t.comment, list({'name': c.column_name, 'type': c.data_type, 'comment': c.comment} ORDER BY c.column_index) AS columns
FROM (
    SELECT table_name AS name, 'table' AS kind, comment FROM duckdb_tables() WHERE database_name = 'record'
    UNION ALL
    SELECT view_name, 'view', comment FROM duckdb_views() WHERE database_name = 'record' AND NOT internal
) AS t
JOIN duckdb_columns() AS c ON c.database_name = 'record' AND c.table_name = t.name
GROUP BY ALL
ORDER BY t.kind, t.name
