-- How many events are odd, by kind, in a run.
-- parameter run: number of the run; the current one when left out
SELECT kind, count(*) AS events, min(seq) AS first_seq, max(seq) AS last_seq, arg_min(detail, seq) AS example FROM anomalies
WHERE run = coalesce($run::INTEGER, (SELECT run FROM log_cursor))
GROUP BY kind ORDER BY kind
