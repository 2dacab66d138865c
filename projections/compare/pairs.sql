-- Every execution, with what each side says of it. What belongs to a VM that is only in one run is not here.
SELECT
    vm, entry, nth,
    a.vm IS NOT NULL AS in_a, b.vm IS NOT NULL AS in_b,
    coalesce(a.scheduled_second, b.scheduled_second) AS scheduled_second,
    a.status AS status_a, b.status AS status_b,
    a.exit_code AS exit_a, b.exit_code AS exit_b,
    a.timed_out AS timed_out_a, b.timed_out AS timed_out_b,
    a.duration AS duration_a, b.duration AS duration_b,
    a.lateness AS lateness_a, b.lateness AS lateness_b
FROM (FROM side_attempts WHERE side = 'a') AS a
FULL JOIN (FROM side_attempts WHERE side = 'b') AS b USING (vm, entry, nth)
WHERE vm NOT IN (SELECT vm FROM side_vms GROUP BY vm HAVING count(DISTINCT side) = 1)
