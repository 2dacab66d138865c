-- When an operator held the schedules of all VMs (no server_uuid) or of one, in microseconds since 1970 (UTC); no end: to the last event.
SELECT
    c.server_uuid,
    epoch_us(c.time) AS since,
    epoch_us(least(
        try(c.time + to_microseconds((c.duration * 1e6)::BIGINT)),
        (
            SELECT min(r.time) FROM controls AS r
            WHERE r.action = 'resumed' AND r.seq > c.seq AND (r.server_uuid IS NULL OR r.server_uuid = c.server_uuid)
        )
    )) AS until
FROM controls AS c
WHERE c.action = 'paused'
ORDER BY c.seq
