-- What did operators hold and let go, each VM or all of them (no VM)? A pause lasts until the next resume, or its own time.
SELECT
    c.server_uuid,
    'pauses' AS track,
    CASE c.action WHEN 'resumed' THEN 'resume' ELSE 'pause' END AS name,
    epoch_us(c.time) AS since,
    CASE
        WHEN c.action = 'resumed' THEN epoch_us(c.time)
        WHEN c.let_go IS NOT NULL OR c.over IS NOT NULL THEN epoch_us(greatest(c.time, least(c.let_go, c.over)))
    END AS until,
    c.duration, c.producer AS by, c.seq
FROM (
    SELECT
        *,
        (SELECT min(r.time) FROM controls AS r WHERE r.action = 'resumed' AND r.seq > c.seq
            AND (r.server_uuid IS NULL OR r.server_uuid = c.server_uuid)) AS let_go,
        try(time + to_microseconds((duration * 1e6)::BIGINT)) AS over
    FROM controls AS c
) AS c
ORDER BY c.server_uuid NULLS FIRST, since, c.seq
