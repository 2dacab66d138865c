-- Which executions ended differently: another exit code, or finished in one run and failed, lost, timed out or still running in the other?
SELECT
    vm, entry, nth, status_a, status_b, exit_a, exit_b, timed_out_a, timed_out_b
FROM pairs
WHERE in_a AND in_b
    AND (status_a <> status_b OR exit_a IS DISTINCT FROM exit_b OR timed_out_a <> timed_out_b)
ORDER BY vm, scheduled_second, entry, nth
