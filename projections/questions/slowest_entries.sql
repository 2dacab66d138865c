-- Which executions took longest, over all VMs?
-- parameter limit: at most so many; 10 when left out
SELECT server_name, entry, attempt, duration, status, exit_code, started, ended
FROM attempts
WHERE duration IS NOT NULL
ORDER BY duration DESC, server_name, entry, attempt
LIMIT coalesce($limit::BIGINT, 10)
