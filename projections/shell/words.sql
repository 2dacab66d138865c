-- Which keywords and functions does the database know?
SELECT 'keyword' AS kind, keyword_name AS name FROM duckdb_keywords()
UNION
SELECT 'function', function_name FROM duckdb_functions()
WHERE regexp_full_match(function_name, '[a-z][a-z0-9_]*')
ORDER BY kind, name
