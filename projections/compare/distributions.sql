-- How durations and lateness (seconds) are distributed over the executions that both runs have, in each, and from one to the other.
WITH both_known AS (
    SELECT 'duration' AS measure, duration_a AS a, duration_b AS b FROM pairs
    WHERE duration_a IS NOT NULL AND duration_b IS NOT NULL
    UNION ALL
    SELECT 'lateness', lateness_a, lateness_b FROM pairs
    WHERE lateness_a IS NOT NULL AND lateness_b IS NOT NULL
),
long AS (
    SELECT measure, 'a' AS of, a AS value FROM both_known
    UNION ALL SELECT measure, 'b', b FROM both_known
    UNION ALL SELECT measure, 'b - a', b - a FROM both_known
    UNION ALL SELECT measure, 'b / a', b / a FROM both_known WHERE a > 0 AND b > 0
)
SELECT
    measure, of, count(*) AS executions,
    CASE WHEN of <> 'b / a' THEN sum(greatest(-1e9, least(value, 1e9))::DECIMAL(38, 6))::DOUBLE END AS total,
    min(value) AS least,
    quantile_cont(value, 0.5) AS median,
    quantile_cont(value, 0.9) AS p90,
    quantile_cont(value, 0.99) AS p99,
    max(value) AS most
FROM long
GROUP BY measure, of
ORDER BY measure, of
