-- projection: runs
-- The runs of the experiment: when each began, was launched, started and ended, and how much happened in it.
-- The start is the EARLIEST started event of the run, so that everybody who reports one agrees. Clearing the times forgets launch
-- and start; the next report counts again.

-- section: table
CREATE TABLE run_record (
    run                   INTEGER NOT NULL,
    launched              STRUCT(seq BIGINT, launch_time TIMESTAMPTZ, name VARCHAR, start_buffer DOUBLE, guests VARCHAR, failed_vms VARCHAR),
    started               STRUCT(seq BIGINT, start_time TIMESTAMPTZ),
    ended                 STRUCT(seq BIGINT, time TIMESTAMPTZ, reason VARCHAR),
    vms_cleared_seq       BIGINT,
    schedules_cleared_seq BIGINT,
    times_cleared_seq     BIGINT
);
COMMENT ON TABLE run_record IS 'What experiment events say of each run; read the views runs and current_run';
COMMENT ON COLUMN run_record.run IS 'Number of the run, from 1';
COMMENT ON COLUMN run_record.launched IS 'The last report of the launch since the times were cleared';
COMMENT ON COLUMN run_record.started IS 'The earliest report of the start since the times were cleared';
COMMENT ON COLUMN run_record.ended IS 'The last report of the end';
COMMENT ON COLUMN run_record.vms_cleared_seq IS 'Sequence of the last event that cleared the VMs';
COMMENT ON COLUMN run_record.schedules_cleared_seq IS 'Sequence of the last event that cleared the schedules';
COMMENT ON COLUMN run_record.times_cleared_seq IS 'Sequence of the last event that cleared launch and start';

-- section: fold on experiment.cleared, experiment.launched, experiment.started, experiment.ended
MERGE INTO run_record AS r
USING (
    WITH scoped AS (
        SELECT *, coalesce(body->'$.scope', '["vms", "schedules", "times"]') AS scope
        FROM batch
        WHERE type IN ('experiment.cleared', 'experiment.launched', 'experiment.started', 'experiment.ended')
    ),
    cleared AS (
        SELECT
            *,
            max(seq) FILTER (type = 'experiment.cleared' AND json_contains(scope, '"times"')) OVER (PARTITION BY run) AS times_cleared
        FROM scoped
    )
    SELECT
        run,
        arg_max({seq: seq, launch_time: launch_time, name: name, start_buffer: start_buffer, guests: guests, failed_vms: failed_vms}, seq)
            FILTER (type = 'experiment.launched' AND seq > coalesce(times_cleared, 0)) AS launched,
        arg_min({seq: seq, start_time: start_time}, seq)
            FILTER (type = 'experiment.started' AND seq > coalesce(times_cleared, 0)) AS started,
        arg_max({seq: seq, time: time, reason: reason}, seq) FILTER (type = 'experiment.ended') AS ended,
        max(seq) FILTER (type = 'experiment.cleared' AND json_contains(scope, '"vms"')) AS vms_cleared_seq,
        max(seq) FILTER (type = 'experiment.cleared' AND json_contains(scope, '"schedules"')) AS schedules_cleared_seq,
        max(times_cleared) AS times_cleared_seq
    FROM cleared
    GROUP BY run
) AS b
ON r.run = b.run
WHEN MATCHED THEN UPDATE SET
    launched = CASE WHEN b.times_cleared_seq IS NULL THEN coalesce(b.launched, r.launched) ELSE b.launched END,
    started = CASE WHEN b.times_cleared_seq IS NULL THEN coalesce(r.started, b.started) ELSE b.started END,
    ended = coalesce(b.ended, r.ended),
    vms_cleared_seq = coalesce(b.vms_cleared_seq, r.vms_cleared_seq),
    schedules_cleared_seq = coalesce(b.schedules_cleared_seq, r.schedules_cleared_seq),
    times_cleared_seq = coalesce(b.times_cleared_seq, r.times_cleared_seq)
WHEN NOT MATCHED THEN INSERT VALUES (
    b.run, b.launched, b.started, b.ended, b.vms_cleared_seq, b.schedules_cleared_seq, b.times_cleared_seq
);

-- section: views
CREATE VIEW current_run AS
SELECT
    c.run,
    r.launched.launch_time AS launch_time,
    r.started.start_time AS start_time,
    r.ended.time AS ended,
    r.launched.name AS name,
    r.launched.start_buffer AS start_buffer,
    r.launched.failed_vms AS failed_vms
FROM log_cursor AS c
LEFT JOIN run_record AS r ON r.run = c.run;
COMMENT ON VIEW current_run IS 'The run that is going on, or was the last: always one row';
COMMENT ON COLUMN current_run.run IS 'Number of the run; 0 before the first event';
COMMENT ON COLUMN current_run.launch_time IS 'When the experiment was launched, as reported last';
COMMENT ON COLUMN current_run.start_time IS 'The start: time 0 of every schedule, by the earliest report; empty before it is known';
COMMENT ON COLUMN current_run.ended IS 'When it was ended';
COMMENT ON COLUMN current_run.name IS 'Name of the experiment';
COMMENT ON COLUMN current_run.start_buffer IS 'Seconds between the last VM being configured and the start';
COMMENT ON COLUMN current_run.failed_vms IS 'What becomes of VMs that fail before the start: wait, the barrier waits for them, or waive, it goes on without';

CREATE VIEW runs AS
SELECT
    e.run,
    r.launched.name AS name,
    r.launched.guests AS guests,
    r.launched.failed_vms AS failed_vms,
    e.begun,
    r.launched.launch_time AS launch_time,
    r.started.start_time AS start_time,
    r.ended.time AS ended,
    r.ended.reason AS end_reason,
    e.last_event,
    e.first_seq,
    e.last_seq,
    e.events,
    e.vms,
    e.attempts,
    e.finished,
    e.failed,
    e.lost
FROM (
    SELECT
        run,
        arg_min(time, seq) AS begun,
        arg_max(time, seq) AS last_event,
        min(seq) AS first_seq,
        max(seq) AS last_seq,
        count(*) AS events,
        count(DISTINCT server_uuid) FILTER (type = 'vm.added') AS vms,
        count(DISTINCT (server_uuid, entry, attempt)) FILTER (type = 'vm.entry_started') AS attempts,
        count(*) FILTER (type = 'vm.entry_finished') AS finished,
        count(*) FILTER (type = 'vm.entry_failed') AS failed,
        count(*) FILTER (type = 'vm.entry_lost') AS lost
    FROM events
    GROUP BY run
) AS e
LEFT JOIN run_record AS r ON r.run = e.run
ORDER BY e.run;
COMMENT ON VIEW runs IS 'Every run of the experiment that the log holds';
COMMENT ON COLUMN runs.run IS 'Number of the run, from 1';
COMMENT ON COLUMN runs.name IS 'Name of the experiment';
COMMENT ON COLUMN runs.guests IS 'Which kind of guests it runs on';
COMMENT ON COLUMN runs.failed_vms IS 'What becomes of VMs that fail before the start: wait, the barrier waits for them, or waive, it goes on without';
COMMENT ON COLUMN runs.begun IS 'Time of its first event';
COMMENT ON COLUMN runs.launch_time IS 'When the experiment was launched, as reported last';
COMMENT ON COLUMN runs.start_time IS 'The start: time 0 of every schedule, by the earliest report';
COMMENT ON COLUMN runs.ended IS 'When it was ended';
COMMENT ON COLUMN runs.end_reason IS 'Why it was ended';
COMMENT ON COLUMN runs.last_event IS 'Time of its last event';
COMMENT ON COLUMN runs.first_seq IS 'Sequence of its first event';
COMMENT ON COLUMN runs.last_seq IS 'Sequence of its last event';
COMMENT ON COLUMN runs.events IS 'Number of events';
COMMENT ON COLUMN runs.vms IS 'Number of different VMs that were added';
COMMENT ON COLUMN runs.attempts IS 'Number of different attempts that were started';
COMMENT ON COLUMN runs.finished IS 'Number of attempts that ended by themselves';
COMMENT ON COLUMN runs.failed IS 'Number of attempts that could not be launched';
COMMENT ON COLUMN runs.lost IS 'Number of attempts whose end cannot be known';
