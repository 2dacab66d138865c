-- Which entries took longest, over all VMs? Those that hold the schedule are not slow.
SELECT
    entry, count(*) AS executions, count(DISTINCT server_uuid) AS vms,
    sum((greatest(0, least(duration, 1e9)) * 1e6)::BIGINT)::BIGINT / 1e6 AS seconds,
    quantile_cont(duration, 0.5) AS median,
    max(duration) AS most,
    min_by(server_name, {seconds: -duration, vm: server_name}) AS most_of
FROM attempts AS a
WHERE duration IS NOT NULL
    AND NOT EXISTS (FROM schedule_entries AS e WHERE e.server_name = a.server_name AND e.entry = a.entry AND e.kind IN ('pause', 'break'))
GROUP BY entry
ORDER BY seconds DESC, entry
