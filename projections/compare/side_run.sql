-- What is compared: the run of one side, and how long its parts took. It begins with the first event after everything was cleared:
-- how long nobody did anything before says nothing about it.
WITH first AS (
    SELECT arg_min(time, seq) AS begun FROM events
    WHERE run = (SELECT run FROM log_cursor) AND type <> 'experiment.cleared'
)
SELECT
    r.run, r.name, r.guests, coalesce(f.begun, r.begun) AS begun, r.launch_time, r.start_time, r.ended, r.end_reason, r.last_event,
    r.events, r.vms, r.attempts, r.finished, r.failed, r.lost,
    epoch_us(r.start_time - coalesce(f.begun, r.begun)) / 1e6 AS seconds_to_start,
    epoch_us(coalesce(r.ended, r.last_event) - coalesce(f.begun, r.begun)) / 1e6 AS seconds
FROM runs AS r, first AS f
WHERE r.run = (SELECT run FROM log_cursor)
