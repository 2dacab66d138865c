-- How long was every VM in each state, by the time of the last event?
-- parameter state: only this state
SELECT
    server_name, state, count(*) AS times,
    sum(epoch_us(coalesce(until, last) - since))::BIGINT / 1e6 AS seconds
FROM vm_state_history, (SELECT time AS last FROM events ORDER BY seq DESC LIMIT 1)
WHERE run = (SELECT run FROM log_cursor) AND ($state::VARCHAR IS NULL OR state = $state::VARCHAR)
GROUP BY server_name, server_uuid, state
ORDER BY server_name, seconds DESC, state
