-- What one side executed. Executions match by name of the VM, entry, and which execution of the entry it was.
-- parameter ignore: patterns; entries whose id one of them matches are left out
SELECT
    coalesce(server_name, server_uuid) AS vm, entry,
    row_number() OVER (PARTITION BY coalesce(server_name, server_uuid), entry ORDER BY attempt, started_seq, ended_seq) AS nth,
    server_uuid, attempt, scheduled_second, status, exit_code, coalesce(timed_out, false) AS timed_out, duration, lateness
FROM attempts
WHERE len(list_filter($ignore::VARCHAR[], lambda pattern: entry GLOB pattern)) = 0
