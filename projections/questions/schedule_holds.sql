-- When were schedules held, by whom and for how long? Pauses of operators, and pauses and breaks of the schedules themselves.
WITH paused AS (
    SELECT
        c.*,
        (
            SELECT min(r.time) FROM controls AS r
            WHERE r.action = 'resumed' AND r.seq > c.seq AND (r.server_uuid IS NULL OR r.server_uuid = c.server_uuid)
        ) AS resumed
    FROM controls AS c WHERE c.action = 'paused'
)
SELECT
    time AS since,
    least(resumed, time + to_microseconds(try_cast(duration * 1e6 AS BIGINT))) AS until,
    epoch_us(least(resumed, time + to_microseconds(try_cast(duration * 1e6 AS BIGINT))) - time) / 1e6 AS seconds,
    'operator' AS by, server_name, NULL AS entry, producer
FROM paused

UNION ALL
SELECT a.started, a.ended, epoch_us(a.ended - a.started) / 1e6, e.kind, a.server_name, a.entry, NULL
FROM attempts AS a
JOIN schedule_entries AS e ON e.server_name = a.server_name AND e.entry = a.entry
WHERE e.kind IN ('pause', 'break')
ORDER BY since, server_name NULLS FIRST
