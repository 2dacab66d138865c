-- Which executions did a resume, or the start (source 0), let go? Of each VM the first after it, as its handler and the clocks tell it.
WITH let_go AS (
    SELECT a.server_uuid, a.started_seq, a.started, greatest(one.seq, every.seq) AS source
    FROM attempts AS a
    ASOF LEFT JOIN (SELECT seq, server_uuid FROM controls WHERE action = 'resumed' AND server_uuid IS NOT NULL) AS one
        ON one.server_uuid = a.server_uuid AND one.seq < a.started_seq
    ASOF LEFT JOIN (SELECT seq, run FROM controls WHERE action = 'resumed' AND server_uuid IS NULL) AS every
        ON every.run = a.run AND every.seq < a.started_seq
    WHERE a.started_seq IS NOT NULL
),
firsts AS (
    SELECT min(started_seq) AS started_seq, arg_min(started, started_seq) AS started, source
    FROM let_go WHERE source IS NOT NULL
    GROUP BY server_uuid, source
)
SELECT f.source, f.started_seq
FROM firsts AS f JOIN control AS c ON c.seq = f.source
WHERE f.started >= c.time

UNION ALL
SELECT 0, arg_min(a.started_seq, (a.started, a.started_seq))
FROM attempts AS a JOIN current_run AS c ON a.started >= c.start_time
WHERE a.scheduled_second > 0
GROUP BY a.server_uuid
ORDER BY source, started_seq
