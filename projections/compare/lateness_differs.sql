-- Which executions were later, or less late, than in the other run by more than so many seconds?
-- parameter seconds: up to so many seconds are alike
SELECT vm, entry, nth, lateness_a, lateness_b, lateness_b - lateness_a AS difference
FROM pairs
WHERE abs(lateness_b - lateness_a) > $seconds::DOUBLE
ORDER BY abs(lateness_b - lateness_a) DESC, vm, entry, nth
