-- The VMs, with the first time of each step to being ready, and from when on the start did not wait for them any more.
WITH ready AS (
    -- The state that each VM was in when the start was reported, or is in before that.
    SELECT h.server_uuid, h.since
    FROM vm_state_history AS h
    JOIN log_cursor AS c ON c.run = h.run
    LEFT JOIN run_record AS r ON r.run = h.run
    WHERE lower(h.state) IN ('configured', 'n/a')
        AND h.from_seq <= coalesce(r.started.seq, h.from_seq)
        AND (h.until_seq IS NULL OR h.until_seq > r.started.seq)
),
steps AS (
    SELECT
        server_uuid,
        min(time) FILTER (type = 'vm.added') AS added,
        min(time) FILTER (type = 'vm.handler_attached') AS attached,
        min(time) FILTER (type = 'vm.state_set' AND lower(state) = 'configuring') AS configuring
    FROM events
    WHERE run = (SELECT run FROM log_cursor) AND type IN ('vm.added', 'vm.handler_attached', 'vm.state_set')
    GROUP BY server_uuid
),
published AS (
    SELECT server_name, min(time) AS published
    FROM events
    WHERE run = (SELECT run FROM log_cursor) AND type = 'schedule.published' AND store = 'schedules'
    GROUP BY server_name
)
SELECT
    v.server_uuid, v.server_name AS vm, v.present, s.added, s.attached, s.configuring, p.published,
    least(r.since, v.waived) AS ready,
    CASE WHEN lower(v.state) = 'failed' THEN v.state_since END AS failed,
    (
        SELECT e.time FROM events AS e JOIN vm ON vm.removed_seq = e.seq
        WHERE NOT v.present AND vm.run = v.run AND vm.server_uuid = v.server_uuid
    ) AS removed
FROM all_vms AS v
JOIN steps AS s ON s.server_uuid = v.server_uuid
LEFT JOIN published AS p ON p.server_name = v.server_name
LEFT JOIN ready AS r ON r.server_uuid = v.server_uuid
WHERE v.run = (SELECT run FROM log_cursor)
