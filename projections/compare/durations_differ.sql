-- Which executions took so many times as long, or as short, as in the other run?
-- parameter ratio: how many times as long or as short is still alike
-- parameter seconds: differences up to so many seconds are alike, whatever the ratio
SELECT
    vm, entry, nth, duration_a, duration_b,
    CASE WHEN duration_a > 0 THEN duration_b / duration_a END AS ratio,
    duration_b - duration_a AS difference
FROM pairs
WHERE abs(duration_b - duration_a) > $seconds::DOUBLE
    AND greatest(duration_a, duration_b) > $ratio::DOUBLE * least(duration_a, duration_b)
ORDER BY abs(duration_b - duration_a) DESC, vm, entry, nth
