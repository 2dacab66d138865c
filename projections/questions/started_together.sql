-- Did what several VMs do at one time of the schedule start together? The spread between the first and the last of them.
SELECT
    scheduled_time, count(DISTINCT server_uuid) AS vms, min(started) AS first, max(started) AS last,
    epoch_us(max(started) - min(started)) / 1e6 AS spread,
    arg_max(server_name, started) AS last_vm, max(lateness) AS latest
FROM attempts
WHERE scheduled_second > 0 AND attempt = 1 AND started IS NOT NULL
GROUP BY scheduled_time, scheduled_second
HAVING vms > 1
ORDER BY scheduled_second
