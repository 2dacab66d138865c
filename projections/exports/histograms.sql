-- How late did entries begin, and how long did they run? Executions per bucket, cumulative, with the sum of the seconds.
WITH seconds AS (
    SELECT 'vmr_entry_lateness_seconds' AS metric, greatest(try_cast(lateness * 1e6 AS BIGINT), 0) AS us FROM attempts WHERE lateness IS NOT NULL
    UNION ALL
    SELECT 'vmr_entry_duration_seconds', greatest(try_cast(duration * 1e6 AS BIGINT), 0) FROM attempts WHERE try_cast(duration * 1e6 AS BIGINT) IS NOT NULL
),
buckets(metric, bound) AS (
    SELECT 'vmr_entry_lateness_seconds', unnest([0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60, 'inf'::DOUBLE])
    UNION ALL
    SELECT 'vmr_entry_duration_seconds', unnest([0.01, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 'inf'::DOUBLE])
)
SELECT b.metric, b.bound, count(s.us) FILTER (s.us <= b.bound * 1e6) AS executions, coalesce(sum(s.us)::DOUBLE, 0) / 1e6 AS sum
FROM buckets AS b
LEFT JOIN seconds AS s ON s.metric = b.metric
GROUP BY b.metric, b.bound
ORDER BY b.metric, b.bound
