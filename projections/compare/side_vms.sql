-- The VMs of one side, with the moment from which the start did not wait for each any more. A VM is known by its name: its identity is new in every run.
WITH ready AS (
    -- The state that each VM was in when the start was reported, or is in before that.
    SELECT h.server_uuid, h.since
    FROM vm_state_history AS h
    JOIN log_cursor AS c ON c.run = h.run
    LEFT JOIN run_record AS r ON r.run = h.run
    WHERE lower(h.state) IN ('configured', 'n/a')
        AND h.from_seq <= coalesce(r.started.seq, h.from_seq)
        AND (h.until_seq IS NULL OR h.until_seq > r.started.seq)
)
SELECT
    v.server_name AS vm,
    epoch_us(max(least(r.since, v.waived)) - (
        SELECT arg_min(time, seq) FROM events
        WHERE run = (SELECT run FROM log_cursor) AND type <> 'experiment.cleared'
    )) / 1e6 AS ready_after
FROM all_vms AS v
LEFT JOIN ready AS r ON r.server_uuid = v.server_uuid
WHERE v.run = (SELECT run FROM log_cursor)
GROUP BY v.server_name
