-- How many executions lie in each range: seconds (four ranges to a power of ten; what is below 1 ms counts as 1 ms), or ratio (two to a power of two).
WITH both_known AS (
    SELECT 'duration' AS measure, duration_a AS a, duration_b AS b FROM pairs
    WHERE duration_a IS NOT NULL AND duration_b IS NOT NULL
    UNION ALL
    SELECT 'lateness', lateness_a, lateness_b FROM pairs
    WHERE lateness_a IS NOT NULL AND lateness_b IS NOT NULL
),
placed AS (
    SELECT
        measure, unnest([{side: 'a', value: a}, {side: 'b', value: b}], recursive := true)
    FROM both_known
),
counted AS (
    SELECT
        measure, floor(log10(greatest(0.001, least(value, 1e6))) * 4 + 1e-9)::INTEGER AS place,
        count(*) FILTER (side = 'a') AS a, count(*) FILTER (side = 'b') AS b
    FROM placed
    GROUP BY ALL
    UNION ALL
    SELECT 'ratio', floor(log2(greatest(1 / 64, least(duration_b / duration_a, 64))) * 2 + 0.5)::INTEGER, 0, count(*)
    FROM pairs
    WHERE duration_a > 0 AND duration_b > 0
    GROUP BY ALL
),
ranges AS ( -- with an empty one at each end: where nothing is, is part of the picture
    SELECT measure, unnest(generate_series(min(place) - 1, max(place) + 1))::INTEGER AS place FROM counted GROUP BY measure
)
SELECT
    r.measure,
    CASE r.measure WHEN 'ratio' THEN 2 ** ((r.place - 0.5) / 2) ELSE 10 ** (r.place / 4) END AS least,
    CASE r.measure WHEN 'ratio' THEN 2 ** ((r.place + 0.5) / 2) ELSE 10 ** ((r.place + 1) / 4) END AS most,
    coalesce(c.a, 0) AS a, coalesce(c.b, 0) AS b
FROM ranges AS r
LEFT JOIN counted AS c ON c.measure = r.measure AND c.place = r.place
ORDER BY r.measure, r.place
