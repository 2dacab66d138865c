-- The time that is accounted for: from the first event (after everything was cleared) to the start, and from there to the end of the run.
-- Where the start is not known, the first part ends with the last event.
WITH heard AS (
    SELECT min(time) AS begun, max(time) AS last FROM events
    WHERE run = (SELECT run FROM log_cursor) AND type <> 'experiment.cleared'
),
known AS (
    SELECT
        c.run, r.launched.name AS name, h.begun, r.started.start_time AS start, s.time AS reported,
        greatest(h.begun, coalesce(r.started.start_time, h.last)) AS until,
        coalesce(r.ended.time, h.last) AS last
    FROM log_cursor AS c, heard AS h
    LEFT JOIN run_record AS r ON r.run = c.run
    LEFT JOIN events AS s ON s.seq = r.started.seq
)
SELECT
    run, name, begun, reported, start, until, greatest(until, last) AS ended,
    epoch_us(until - begun) / 1e6 AS seconds_before,
    CASE WHEN start IS NOT NULL THEN epoch_us(greatest(until, last) - until) / 1e6 ELSE 0 END AS seconds_after
FROM known
WHERE begun IS NOT NULL
