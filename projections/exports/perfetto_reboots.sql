-- When was each VM away to reboot? From the end of the execution that asked for it; a moment where nothing asked.
SELECT
    r.server_uuid, 'reboots' AS track, 'reboot' AS name,
    epoch_us(least(max(a.ended), r.time)) AS since, epoch_us(r.time) AS until,
    nullif(array_to_string(r.entries, ', '), '') AS asked_by, nullif(r.boot_id, '') AS boot_id, r.seq
FROM reboots AS r
LEFT JOIN attempts AS a
    ON a.server_uuid = r.server_uuid AND list_contains(r.entries, a.entry) AND a.reboot AND a.ended_seq < r.seq
GROUP BY r.server_uuid, r.time, r.entries, r.boot_id, r.seq
ORDER BY r.server_uuid, since, r.seq
