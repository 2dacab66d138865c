-- Which executions took longest?
-- parameter most: at most so many
SELECT
    server_name AS vm, entry, attempt, duration AS seconds,
    epoch_us(started - (SELECT begun FROM blame_span)) / 1e6 AS from_second, status, exit_code
FROM attempts AS a
WHERE duration IS NOT NULL
    AND NOT EXISTS (FROM schedule_entries AS e WHERE e.server_name = a.server_name AND e.entry = a.entry AND e.kind IN ('pause', 'break'))
ORDER BY duration DESC, server_name, entry, attempt
LIMIT $most::BIGINT
