-- How far every VM of a run has come: what is planned, what ran, and how it ended.
-- parameter run: number of the run; the current one when left out
WITH chosen AS (
    SELECT coalesce($run::INTEGER, (SELECT run FROM log_cursor)) AS run
),
latest AS (
    SELECT server_uuid, entry, arg_max(status, attempt) AS status, arg_max(exit_code, attempt) AS exit_code, count(*) AS attempts,
        min(started) AS started, max(ended) AS ended
    FROM all_attempts WHERE run = (SELECT run FROM chosen)
    GROUP BY server_uuid, entry
),
ran AS (
    SELECT
        server_uuid,
        sum(attempts)::BIGINT AS attempts,
        count(*) FILTER (status = 'running') AS running,
        count(*) FILTER (status = 'finished') AS finished,
        count(*) FILTER (status = 'failed') AS failed,
        count(*) FILTER (status = 'lost') AS lost,
        count(*) FILTER (status = 'finished' AND exit_code <> 0) AS nonzero,
        min(started) AS first_started,
        max(ended) AS last_ended
    FROM latest GROUP BY server_uuid
),
planned AS (
    SELECT server_name, entries FROM all_schedules WHERE run = (SELECT run FROM chosen) AND present
)
SELECT
    v.server_name, v.server_uuid, v.state, v.vm_time, p.entries,
    coalesce(r.attempts, 0) AS attempts, coalesce(r.running, 0) AS running, coalesce(r.finished, 0) AS finished,
    coalesce(r.failed, 0) AS failed, coalesce(r.lost, 0) AS lost, coalesce(r.nonzero, 0) AS nonzero,
    r.first_started, r.last_ended
FROM all_vms AS v
LEFT JOIN ran AS r ON r.server_uuid = v.server_uuid
LEFT JOIN planned AS p ON p.server_name = v.server_name
WHERE v.run = (SELECT run FROM chosen) AND v.present
ORDER BY v.added_seq
