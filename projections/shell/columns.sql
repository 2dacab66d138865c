-- Which tables and views are there, with which columns, and what do their comments say?
SELECT
    o.name,
    o.kind,
    coalesce(o.comment, '') AS comment,
    c.column_name,
    c.data_type,
    coalesce(c.comment, '') AS column_comment
FROM (
    SELECT database_name, schema_name, table_name AS name, 'table' AS kind, comment FROM duckdb_tables()
    UNION ALL
    SELECT database_name, schema_name, view_name, 'view', comment FROM duckdb_views() WHERE NOT internal
) AS o
JOIN duckdb_columns() AS c
    ON c.database_name = o.database_name AND c.schema_name = o.schema_name AND c.table_name = o.name
WHERE o.database_name = current_database() AND o.schema_name = current_schema()
ORDER BY o.kind DESC, o.name, c.column_index
