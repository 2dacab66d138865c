-- Every event of the run in order, with times in microseconds since 1970.
SELECT seq, epoch_us(stored) AS stored, epoch_us(time) AS time, id, producer, type, version, known, subject, body
FROM events
WHERE run = (SELECT run FROM log_cursor)
ORDER BY seq
