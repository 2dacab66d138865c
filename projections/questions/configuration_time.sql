-- What did configuring each VM cost? From being added to being ready, and how much of that its own entries ran.
WITH ready AS (
    SELECT server_uuid, min(since) AS ready
    FROM vm_state_history
    WHERE run = (SELECT run FROM log_cursor) AND lower(state) IN ('configured', 'n/a')
    GROUP BY server_uuid
),
worked AS (
    SELECT server_uuid, count(*) AS executions, sum(try_cast(duration * 1e6 AS BIGINT))::BIGINT / 1e6 AS busy, count(*) FILTER (reboot) AS reboots
    FROM attempts WHERE scheduled_second < 0
    GROUP BY server_uuid
)
SELECT v.server_name, v.added, r.ready, epoch_us(r.ready - v.added) / 1e6 AS seconds,
    coalesce(w.executions, 0) AS executions, coalesce(w.busy, 0) AS seconds_running, coalesce(w.reboots, 0) AS reboots
FROM vms AS v
LEFT JOIN ready AS r ON r.server_uuid = v.server_uuid
LEFT JOIN worked AS w ON w.server_uuid = v.server_uuid
ORDER BY seconds DESC NULLS FIRST, v.server_name
