-- Which run is it, and from when to when (microseconds since 1970) is there something recorded of it?
SELECT
    c.run, c.name, r.guests, r.end_reason, e.events, e.first, e.last,
    epoch_us(c.launch_time) AS launched, epoch_us(c.start_time) AS started, epoch_us(c.ended) AS ended
FROM current_run AS c
LEFT JOIN runs AS r ON r.run = c.run
CROSS JOIN (
    SELECT epoch_us(min(time)) AS first, epoch_us(max(time)) AS last, count(*) AS events
    FROM events WHERE run = (SELECT run FROM log_cursor)
) AS e
