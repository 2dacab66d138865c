-- In which state was each VM, from when to when? A clock that went back between two states does not take the first back.
WITH forward AS (
    SELECT
        server_uuid, state, reason, from_seq, until_seq,
        max(since) OVER (PARTITION BY server_uuid ORDER BY from_seq ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS since,
        until
    FROM vm_state_history
    WHERE run = (SELECT run FROM log_cursor)
)
SELECT
    server_uuid, 'state' AS track, state AS name, epoch_us(since) AS since, CASE WHEN until IS NOT NULL THEN epoch_us(greatest(since, until)) END AS until,
    nullif(reason, '') AS reason, from_seq AS seq
FROM forward
ORDER BY server_uuid, from_seq
