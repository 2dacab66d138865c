-- How did each entry fare over all VMs that ran it in both runs? Those whose median changed most come first.
SELECT
    entry, count(*) AS executions,
    quantile_cont(duration_a, 0.5) AS median_a,
    quantile_cont(duration_b, 0.5) AS median_b,
    CASE WHEN quantile_cont(duration_a, 0.5) > 0 THEN quantile_cont(duration_b, 0.5) / quantile_cont(duration_a, 0.5) END AS ratio,
    max(duration_a) AS most_a,
    max(duration_b) AS most_b,
    quantile_cont(lateness_a, 0.5) AS late_a,
    quantile_cont(lateness_b, 0.5) AS late_b
FROM pairs
WHERE in_a AND in_b
GROUP BY entry
ORDER BY abs(coalesce(quantile_cont(duration_b, 0.5) - quantile_cont(duration_a, 0.5), 0)) DESC, entry
