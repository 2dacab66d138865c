-- How many anomalies of each kind the run has.
SELECT kind, count(*) AS events, min(seq) AS first_sequence
FROM anomalies
WHERE run = (SELECT run FROM log_cursor)
GROUP BY kind
ORDER BY events DESC, kind
