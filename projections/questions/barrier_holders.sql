-- Who held the barrier, and why? Every VM with the moment from which the start did not wait for it any more, the last first.
WITH ready AS (
    -- The state that each VM was in when the start was reported, or is in before that.
    SELECT h.server_uuid, h.since, h.reason
    FROM vm_state_history AS h
    JOIN log_cursor AS c ON c.run = h.run
    LEFT JOIN run_record AS r ON r.run = h.run
    WHERE lower(h.state) IN ('configured', 'n/a')
        AND h.from_seq <= coalesce(r.started.seq, h.from_seq)
        AND (h.until_seq IS NULL OR h.until_seq > r.started.seq)
)
SELECT
    v.server_name,
    CASE WHEN r.since IS NOT NULL AND r.since <= coalesce(v.waived, r.since) THEN 'ready'
        WHEN v.waived IS NOT NULL THEN 'waived' ELSE 'missing' END AS outcome,
    least(r.since, v.waived) AS since,
    epoch_us(least(r.since, v.waived) - min(least(r.since, v.waived)) OVER ()) / 1e6 AS seconds_after_first,
    v.state,
    coalesce(nullif(w.waived.reason, ''), nullif(r.reason, ''), v.state_reason) AS reason
FROM vms AS v
LEFT JOIN ready AS r ON r.server_uuid = v.server_uuid
LEFT JOIN vm AS w ON w.run = v.run AND w.server_uuid = v.server_uuid
ORDER BY since DESC NULLS FIRST, v.server_name
