-- projection: attempts
-- Every execution of a schedule entry: when it was due, when it ran, how it ended. A start may be sent again by a handler that was
-- restarted: the first counts. An attempt ends once: the first end counts, and the view anomalies shows any other.

-- section: table
CREATE TABLE attempt (
    run         INTEGER NOT NULL,
    server_uuid VARCHAR NOT NULL,
    entry       VARCHAR NOT NULL,
    attempt     BIGINT NOT NULL,
    start       STRUCT(
        seq BIGINT, time TIMESTAMPTZ, name VARCHAR, scheduled_time VARCHAR, due TIMESTAMPTZ, directory VARCHAR
    ),
    finish      STRUCT(
        seq BIGINT, time TIMESTAMPTZ, status VARCHAR, exit_code BIGINT, duration DOUBLE,
        stdout_size BIGINT, stderr_size BIGINT, reboot BOOLEAN, timed_out BOOLEAN, reason VARCHAR
    )
);
COMMENT ON TABLE attempt IS 'Start and end of every execution of every entry; read the views attempts and all_attempts';
COMMENT ON COLUMN attempt.run IS 'Number of the run';
COMMENT ON COLUMN attempt.server_uuid IS 'The VM';
COMMENT ON COLUMN attempt.entry IS 'Id of the schedule entry';
COMMENT ON COLUMN attempt.attempt IS 'Which execution of the entry, from 1';
COMMENT ON COLUMN attempt.start IS 'What its first start says';
COMMENT ON COLUMN attempt.finish IS 'What its first end says';

-- section: fold on vm.entry_started, vm.entry_finished, vm.entry_failed, vm.entry_lost
MERGE INTO attempt AS a
USING (
    SELECT
        run, server_uuid, entry, attempt,
        arg_min({
            seq: seq, time: time, name: name, scheduled_time: scheduled_time, due: due, directory: directory
        }, seq) FILTER (type = 'vm.entry_started') AS start,
        arg_min({
            seq: seq, time: time, status: replace(type, 'vm.entry_', ''), exit_code: exit_code, duration: duration,
            stdout_size: stdout_size, stderr_size: stderr_size, reboot: reboot, timed_out: timed_out, reason: coalesce(error, reason)
        }, seq) FILTER (type <> 'vm.entry_started') AS finish
    FROM batch
    WHERE type IN ('vm.entry_started', 'vm.entry_finished', 'vm.entry_failed', 'vm.entry_lost') AND attempt IS NOT NULL
    GROUP BY run, server_uuid, entry, attempt
) AS b
ON a.run = b.run AND a.server_uuid = b.server_uuid AND a.entry = b.entry AND a.attempt = b.attempt
WHEN MATCHED THEN UPDATE SET start = coalesce(a.start, b.start), finish = coalesce(a.finish, b.finish)
WHEN NOT MATCHED THEN INSERT VALUES (b.run, b.server_uuid, b.entry, b.attempt, b.start, b.finish);

-- section: as of
-- The first start and the first end count, so that neither is ever replaced: what came later was not there yet.
CREATE VIEW attempt AS
SELECT
    run, server_uuid, entry, attempt,
    CASE WHEN start.seq <= $sequence THEN start END AS start,
    CASE WHEN finish.seq <= $sequence THEN finish END AS finish
FROM $present.attempt
WHERE start.seq <= $sequence OR finish.seq <= $sequence;

-- section: views
CREATE VIEW all_attempts AS
SELECT
    a.run,
    vm.added.server_name AS server_name,
    a.entry,
    a.attempt,
    a.start.name AS name,
    a.start.scheduled_time AS scheduled_time,
    CASE a.start.scheduled_time WHEN '-inf' THEN '-infinity'::DOUBLE ELSE try_cast(a.start.scheduled_time AS DOUBLE) END
        AS scheduled_second,
    coalesce(a.finish.status, 'running') AS status,
    a.finish.exit_code AS exit_code,
    CASE WHEN a.finish.exit_code BETWEEN 129 AND 192 THEN a.finish.exit_code - 128 END AS signal,
    a.start.due AS due,
    a.start.time AS started,
    a.finish.time AS ended,
    coalesce(a.finish.duration, epoch_us(a.finish.time - a.start.time) / 1e6) AS duration,
    epoch_us(a.start.time - a.start.due) / 1e6 AS lateness,
    a.finish.reason AS reason,
    a.finish.reboot AS reboot,
    a.finish.timed_out AS timed_out,
    a.finish.stdout_size AS stdout_size,
    a.finish.stderr_size AS stderr_size,
    a.start.directory AS directory,
    a.server_uuid,
    a.start.seq AS started_seq,
    a.finish.seq AS ended_seq
FROM attempt AS a
LEFT JOIN vm ON vm.run = a.run AND vm.server_uuid = a.server_uuid;
COMMENT ON VIEW all_attempts IS 'Every execution of every schedule entry, in every run';
COMMENT ON COLUMN all_attempts.run IS 'Number of the run';
COMMENT ON COLUMN all_attempts.server_name IS 'Name of the VM';
COMMENT ON COLUMN all_attempts.entry IS 'Id of the schedule entry';
COMMENT ON COLUMN all_attempts.attempt IS 'Which execution of the entry, from 1';
COMMENT ON COLUMN all_attempts.name IS 'Short name of the entry';
COMMENT ON COLUMN all_attempts.scheduled_time IS 'Time of the entry in its schedule, as a decimal string';
COMMENT ON COLUMN all_attempts.scheduled_second IS 'The same as a number, to sort and compare by';
COMMENT ON COLUMN all_attempts.status IS 'running, finished (ended by itself), failed (not launched) or lost (its end cannot be known)';
COMMENT ON COLUMN all_attempts.exit_code IS 'Exit code; 128 + n when signal n ended the program';
COMMENT ON COLUMN all_attempts.signal IS 'The signal that ended the program, by its exit code';
COMMENT ON COLUMN all_attempts.due IS 'When it was due, pauses counted; empty in negative time, which is an order and not a clock';
COMMENT ON COLUMN all_attempts.started IS 'When the handler launched it';
COMMENT ON COLUMN all_attempts.ended IS 'When its end was recorded';
COMMENT ON COLUMN all_attempts.duration IS 'Seconds that it ran: as the guest measured, or from start to end where it did not';
COMMENT ON COLUMN all_attempts.lateness IS 'Seconds between due and started';
COMMENT ON COLUMN all_attempts.reason IS 'Why it failed or was lost';
COMMENT ON COLUMN all_attempts.reboot IS 'Whether it asked for a reboot of its guest';
COMMENT ON COLUMN all_attempts.timed_out IS 'Whether it was killed because its time was over';
COMMENT ON COLUMN all_attempts.stdout_size IS 'Bytes that it wrote to standard output';
COMMENT ON COLUMN all_attempts.stderr_size IS 'Bytes that it wrote to standard error';
COMMENT ON COLUMN all_attempts.directory IS 'Working directory in the guest';
COMMENT ON COLUMN all_attempts.server_uuid IS 'Identity of the VM';
COMMENT ON COLUMN all_attempts.started_seq IS 'Sequence of its first start';
COMMENT ON COLUMN all_attempts.ended_seq IS 'Sequence of its first end';

CREATE VIEW attempts AS
SELECT * FROM all_attempts WHERE run = (SELECT run FROM log_cursor);
COMMENT ON VIEW attempts IS 'Every execution of every schedule entry, in the current run';
COMMENT ON COLUMN attempts.run IS 'Number of the run';
COMMENT ON COLUMN attempts.server_name IS 'Name of the VM';
COMMENT ON COLUMN attempts.entry IS 'Id of the schedule entry';
COMMENT ON COLUMN attempts.attempt IS 'Which execution of the entry, from 1';
COMMENT ON COLUMN attempts.name IS 'Short name of the entry';
COMMENT ON COLUMN attempts.scheduled_time IS 'Time of the entry in its schedule, as a decimal string';
COMMENT ON COLUMN attempts.scheduled_second IS 'The same as a number, to sort and compare by';
COMMENT ON COLUMN attempts.status IS 'running, finished (ended by itself), failed (not launched) or lost (its end cannot be known)';
COMMENT ON COLUMN attempts.exit_code IS 'Exit code; 128 + n when signal n ended the program';
COMMENT ON COLUMN attempts.signal IS 'The signal that ended the program, by its exit code';
COMMENT ON COLUMN attempts.due IS 'When it was due, pauses counted; empty in negative time, which is an order and not a clock';
COMMENT ON COLUMN attempts.started IS 'When the handler launched it';
COMMENT ON COLUMN attempts.ended IS 'When its end was recorded';
COMMENT ON COLUMN attempts.duration IS 'Seconds that it ran: as the guest measured, or from start to end where it did not';
COMMENT ON COLUMN attempts.lateness IS 'Seconds between due and started';
COMMENT ON COLUMN attempts.reason IS 'Why it failed or was lost';
COMMENT ON COLUMN attempts.reboot IS 'Whether it asked for a reboot of its guest';
COMMENT ON COLUMN attempts.timed_out IS 'Whether it was killed because its time was over';
COMMENT ON COLUMN attempts.stdout_size IS 'Bytes that it wrote to standard output';
COMMENT ON COLUMN attempts.stderr_size IS 'Bytes that it wrote to standard error';
COMMENT ON COLUMN attempts.directory IS 'Working directory in the guest';
COMMENT ON COLUMN attempts.server_uuid IS 'Identity of the VM';
COMMENT ON COLUMN attempts.started_seq IS 'Sequence of its first start';
COMMENT ON COLUMN attempts.ended_seq IS 'Sequence of its first end';
