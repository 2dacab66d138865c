-- Every state that every VM was in, with the moment (microseconds since 1970, UTC) from which it was.
SELECT server_uuid, epoch_us(since) AS since, state, reason
FROM vm_state_history
WHERE run = (SELECT run FROM log_cursor)
ORDER BY server_uuid, from_seq
