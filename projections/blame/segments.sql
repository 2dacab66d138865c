-- Every VM's time, cut where anything begins or ends, with what it went into: nothing is counted twice, and nothing is left out.
WITH phase AS (
    SELECT 'before the start' AS phase, begun AS since, until FROM blame_span
    UNION ALL
    SELECT 'after the start', until, ended FROM blame_span WHERE start IS NOT NULL
),
clipped AS (
    SELECT
        i.server_uuid, p.phase, i.kind, k.place, i.entry, i.attempt,
        greatest(i.since, p.since) AS since, least(coalesce(i.until, p.until), p.until) AS until
    FROM blame_intervals AS i
    JOIN blame_kinds AS k ON k.kind = i.kind
    JOIN phase AS p ON i.since < p.until AND (i.until IS NULL OR i.until > p.since)
    WHERE i.until IS NULL OR i.until > i.since
),
cut AS (
    SELECT server_uuid, phase, since AS moment FROM clipped
    UNION SELECT server_uuid, phase, until FROM clipped
    UNION SELECT v.server_uuid, p.phase, p.since FROM blame_vms AS v, phase AS p
    UNION SELECT v.server_uuid, p.phase, p.until FROM blame_vms AS v, phase AS p
),
piece AS (
    SELECT server_uuid, phase, moment AS since, lead(moment) OVER (PARTITION BY server_uuid, phase ORDER BY moment) AS until FROM cut
)
SELECT
    p.server_uuid, p.phase, p.since, p.until,
    coalesce(
        -- Of what is of one kind, the one that ends last is what was waited for.
        arg_min({kind: c.kind, entry: c.entry, attempt: c.attempt}, {
            place: c.place, remaining: -epoch_us(c.until), entry: coalesce(c.entry, ''), attempt: coalesce(c.attempt, 0)
        }) FILTER (c.kind IS NOT NULL),
        {kind: CASE p.phase WHEN 'after the start' THEN 'idle' ELSE 'unaccounted' END, entry: NULL, attempt: NULL}
    ) AS what
FROM piece AS p
LEFT JOIN clipped AS c
    ON c.server_uuid = p.server_uuid AND c.phase = p.phase AND c.since <= p.since AND c.until >= p.until
WHERE p.until IS NOT NULL
GROUP BY p.server_uuid, p.phase, p.since, p.until
