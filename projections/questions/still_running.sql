-- What is still running, and for how long, by the time of the last event?
SELECT server_name, entry, attempt, started, epoch_us(last - started) / 1e6 AS seconds, directory
FROM attempts, (SELECT time AS last FROM events ORDER BY seq DESC LIMIT 1)
WHERE status = 'running'
ORDER BY started_seq
