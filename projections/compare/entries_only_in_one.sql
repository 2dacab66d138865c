-- Which executions are only in one of the runs? The other has the entry in its schedule, and did not run it (so often), or has not.
SELECT
    CASE WHEN p.in_a THEN 'a' ELSE 'b' END AS run,
    p.vm, p.entry, p.nth,
    coalesce(p.status_a, p.status_b) AS status,
    coalesce(p.exit_a, p.exit_b) AS exit_code,
    EXISTS (
        FROM side_plan AS s
        WHERE s.vm = p.vm AND s.entry = p.entry AND s.side = CASE WHEN p.in_a THEN 'b' ELSE 'a' END
    ) AS planned_in_other
FROM pairs AS p
WHERE NOT (p.in_a AND p.in_b)
ORDER BY p.vm, p.scheduled_second, p.entry, p.nth
