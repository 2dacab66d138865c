-- What changed between two sequences? Every VM with its state and time after the one and after the other, and what happened to it.
-- parameter from_seq: the earlier sequence; 0, before everything, when left out
-- parameter to_seq: the later sequence; the last when left out
WITH bounds AS (
    SELECT coalesce($from_seq::BIGINT, 0) AS low, coalesce($to_seq::BIGINT, (SELECT seq FROM log_cursor)) AS high
),
seen AS (
    SELECT
        e.server_uuid,
        arg_max(e.state, e.seq) FILTER (e.seq <= b.low AND e.state IS NOT NULL) AS state_before,
        arg_max(e.state, e.seq) FILTER (e.state IS NOT NULL) AS state_after,
        arg_max(e.vm_time, e.seq) FILTER (e.seq <= b.low AND e.vm_time IS NOT NULL) AS time_before,
        arg_max(e.vm_time, e.seq) FILTER (e.vm_time IS NOT NULL) AS time_after,
        count(*) FILTER (e.seq > b.low) AS events,
        count(*) FILTER (e.seq > b.low AND e.type = 'vm.entry_started') AS started,
        count(*) FILTER (e.seq > b.low AND e.type IN ('vm.entry_finished', 'vm.entry_failed', 'vm.entry_lost')) AS ended,
        count(*) FILTER (e.seq > b.low AND e.type = 'vm.rebooted') AS reboots,
        sum(e.size) FILTER (e.seq > b.low AND e.type = 'vm.output_captured')::BIGINT AS output_bytes
    FROM events AS e, bounds AS b
    WHERE e.server_uuid IS NOT NULL AND e.seq <= b.high
    GROUP BY e.server_uuid
)
SELECT v.server_name, s.state_before, s.state_after, s.time_before, s.time_after, s.started, s.ended, s.reboots,
    coalesce(s.output_bytes, 0) AS output_bytes, s.events, s.server_uuid
FROM seen AS s
LEFT JOIN (SELECT server_uuid, arg_max(server_name, added_seq) AS server_name FROM all_vms GROUP BY server_uuid) AS v
    ON v.server_uuid = s.server_uuid
WHERE s.events > 0
ORDER BY v.server_name, s.server_uuid
