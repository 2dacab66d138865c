-- Every execution of every entry, with its outcome in one word; moments are microseconds since 1970 (UTC).
-- What wrote though it was never started has the outcome `unknown`.
WITH known AS (
    SELECT server_uuid, entry, attempt FROM attempts
    UNION SELECT server_uuid, entry, attempt FROM output
)
SELECT
    k.server_uuid, k.entry, k.attempt,
    CASE
        WHEN a.status IS NULL THEN 'unknown'
        WHEN a.status = 'failed' THEN 'not_launched'
        WHEN a.status IN ('lost', 'running') THEN a.status
        WHEN a.timed_out THEN 'timed_out'
        WHEN a.reboot THEN 'rebooted'
        WHEN a.exit_code <> 0 THEN 'exit_code'
        ELSE 'done'
    END AS outcome,
    a.exit_code, a.signal,
    epoch_us(a.due) AS due,
    epoch_us(a.started) AS started,
    epoch_us(a.ended) AS ended,
    a.duration, a.lateness, a.reason, a.stdout_size, a.stderr_size
FROM known AS k
LEFT JOIN attempts AS a ON a.server_uuid = k.server_uuid AND a.entry = k.entry AND a.attempt = k.attempt
ORDER BY k.server_uuid, k.entry, k.attempt
