-- The anomalies of the run, in the order of the log.
SELECT
    a.seq AS sequence, epoch_us(a.time - c.start_time) / 1e6 AS second, a.time AS utc, a.kind, a.type,
    coalesce(v.server_name, a.server_uuid) AS vm, a.detail
FROM anomalies AS a
JOIN current_run AS c ON c.run = a.run
LEFT JOIN all_vms AS v ON v.run = a.run AND v.server_uuid = a.server_uuid
ORDER BY a.seq, a.kind, a.detail
