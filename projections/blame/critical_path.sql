-- What the start waited for: the time of one VM, piece by piece, from the beginning to the start.
-- parameter server_uuid: the VM
WITH stretch AS (
    SELECT
        *,
        sum(CASE WHEN what IS NOT DISTINCT FROM before THEN 0 ELSE 1 END) OVER (ORDER BY since) AS number
    FROM (
        SELECT s.since, s.until, s.what, lag(s.what) OVER (ORDER BY s.since) AS before
        FROM blame_segments AS s
        WHERE s.server_uuid = $server_uuid AND s.phase = 'before the start'
    )
),
joined AS (
    SELECT min(since) AS since, max(until) AS until, any_value(what) AS what FROM stretch GROUP BY number
)
SELECT
    epoch_us(j.since - s.begun) / 1e6 AS from_second,
    epoch_us(j.until - j.since) / 1e6 AS seconds,
    j.what.kind AS kind, k.title, j.what.entry AS entry, j.what.attempt AS attempt
FROM joined AS j
JOIN blame_kinds AS k ON k.kind = j.what.kind
CROSS JOIN blame_span AS s
ORDER BY j.since
