-- Which executions were there on each VM? Pauses, breaks and transfers of the schedules are on tracks of their own.
WITH kinds AS (
    SELECT server_name, entry, arg_max(kind, seq) AS kind FROM schedule_entry
    WHERE run = (SELECT run FROM log_cursor) GROUP BY server_name, entry
)
SELECT
    a.server_uuid,
    CASE k.kind WHEN 'transfer' THEN 'transfers' WHEN 'pause' THEN 'pauses' WHEN 'break' THEN 'pauses' ELSE 'entries' END AS track,
    coalesce(nullif(a.name, ''), a.entry) AS name,
    epoch_us(coalesce(a.started, a.ended)) AS since,
    CASE WHEN a.ended IS NOT NULL THEN epoch_us(greatest(a.started, a.ended)) END AS until,
    a.entry, a.attempt, k.kind, a.status, a.exit_code, a.signal, a.timed_out, a.reboot, a.reason,
    a.scheduled_time, a.lateness, a.duration, a.stdout_size, a.stderr_size, a.directory,
    coalesce(a.started_seq, a.ended_seq) AS seq
FROM attempts AS a
LEFT JOIN kinds AS k ON k.server_name = a.server_name AND k.entry = a.entry
ORDER BY a.server_uuid, track, since, seq
