-- How long did each client's fetch take? The number that its program printed as JSON, the fastest first; empty where it printed
-- something else.
-- parameter field: key of the number in the JSON line; time when left out
-- parameter entry: only entries whose id contains this text
SELECT server_name, entry, attempt, try_cast(json_extract_string(json, coalesce($field::VARCHAR, 'time')) AS DOUBLE) AS seconds
FROM output_json_lines
WHERE ($entry::VARCHAR IS NULL OR contains(entry, $entry::VARCHAR))
    AND json_exists(json, coalesce($field::VARCHAR, 'time'))
ORDER BY seconds, server_name, entry, attempt
