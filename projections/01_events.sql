-- projection: events
-- Every event of the log, in the order of the log. The projector fills this table while it decodes, and no other fold writes to
-- it: all other projections are folds over a range of it (called `batch`), so rebuilding one of them is its fold over all of it.
-- Fields of bodies that hold one value have a column of their own; `body` has the whole body as JSON.

-- section: table
CREATE TABLE events (
    seq            BIGINT      NOT NULL,
    run            INTEGER     NOT NULL,
    time           TIMESTAMPTZ NOT NULL,
    stored         TIMESTAMPTZ NOT NULL,
    id             VARCHAR     NOT NULL,
    producer       VARCHAR     NOT NULL,
    type           VARCHAR     NOT NULL,
    version        BIGINT,
    known          BOOLEAN     NOT NULL,
    subject        VARCHAR     NOT NULL,
    server_uuid    VARCHAR,
    server_name    VARCHAR,
    entry          VARCHAR,
    attempt        BIGINT,
    state          VARCHAR,
    vm_time        VARCHAR,
    reason         VARCHAR,
    name           VARCHAR,
    scheduled_time VARCHAR,
    due            TIMESTAMPTZ,
    directory      VARCHAR,
    stream         VARCHAR,
    first_byte     BIGINT,
    size           BIGINT,
    exit_code      BIGINT,
    stdout_size    BIGINT,
    stderr_size    BIGINT,
    reboot         BOOLEAN,
    timed_out      BOOLEAN,
    duration       DOUBLE,
    error          VARCHAR,
    control_ip     VARCHAR,
    ip             VARCHAR,
    handler        VARCHAR,
    host           VARCHAR,
    boot_id        VARCHAR,
    guest_path     VARCHAR,
    host_path      VARCHAR,
    sha256         VARCHAR,
    store          VARCHAR,
    launch_time    TIMESTAMPTZ,
    start_time     TIMESTAMPTZ,
    start_buffer   DOUBLE,
    guests         VARCHAR,
    failed_vms     VARCHAR,
    body           JSON        NOT NULL USING COMPRESSION zstd
);
COMMENT ON TABLE events IS 'Every event of the log, one row each, with the fields that people filter on as columns';
COMMENT ON COLUMN events.seq IS 'Sequence: the place of the event in the log, from 1';
COMMENT ON COLUMN events.run IS 'Number of the run, from 1; a run begins at the first event and wherever everything is cleared';
COMMENT ON COLUMN events.time IS 'When it happened, by the clock of its producer';
COMMENT ON COLUMN events.stored IS 'When the log stored it, by the clock of the server';
COMMENT ON COLUMN events.id IS 'Unique id of the event, ordered by time';
COMMENT ON COLUMN events.producer IS 'Who says so';
COMMENT ON COLUMN events.type IS 'What kind of event: <entity>.<event>';
COMMENT ON COLUMN events.version IS 'Schema version of the body';
COMMENT ON COLUMN events.known IS 'Whether this version of vmr knows the type and version; when not, only the body says more';
COMMENT ON COLUMN events.subject IS 'Subject on which it was published';
COMMENT ON COLUMN events.server_uuid IS 'The VM, of vm.* events';
COMMENT ON COLUMN events.server_name IS 'Name of the VM, of vm.added and schedule.* events';
COMMENT ON COLUMN events.entry IS 'Id of the schedule entry';
COMMENT ON COLUMN events.attempt IS 'Which execution of the entry, from 1';
COMMENT ON COLUMN events.state IS 'State that the VM is in from here on';
COMMENT ON COLUMN events.vm_time IS 'Time of its schedule that the VM has reached, as a decimal string';
COMMENT ON COLUMN events.reason IS 'Why';
COMMENT ON COLUMN events.name IS 'Short name of the entry, file name of a resource, or name of the experiment';
COMMENT ON COLUMN events.scheduled_time IS 'Time of the entry in its schedule, as a decimal string';
COMMENT ON COLUMN events.due IS 'When the entry was due, pauses counted; empty in negative time';
COMMENT ON COLUMN events.directory IS 'Working directory in the guest';
COMMENT ON COLUMN events.stream IS 'stdout or stderr';
COMMENT ON COLUMN events.first_byte IS 'Position of the first captured byte in the stream of the attempt, from 0';
COMMENT ON COLUMN events.size IS 'Number of bytes captured or transferred';
COMMENT ON COLUMN events.exit_code IS 'Exit code; 128 + n when signal n ended the program';
COMMENT ON COLUMN events.stdout_size IS 'Bytes that the attempt wrote to standard output';
COMMENT ON COLUMN events.stderr_size IS 'Bytes that the attempt wrote to standard error';
COMMENT ON COLUMN events.reboot IS 'Whether the attempt asks for a reboot of its guest';
COMMENT ON COLUMN events.timed_out IS 'Whether the program was killed because its time was over';
COMMENT ON COLUMN events.duration IS 'Seconds: of the program as the guest measured it, or of a pause';
COMMENT ON COLUMN events.error IS 'Why the attempt could not be launched';
COMMENT ON COLUMN events.control_ip IS 'Address of the VM on the control network';
COMMENT ON COLUMN events.ip IS 'Address of the VM, kept for the publisher of its schedule';
COMMENT ON COLUMN events.handler IS 'Identity of the handler';
COMMENT ON COLUMN events.host IS 'Host of the handler';
COMMENT ON COLUMN events.boot_id IS 'Identity that the guest gives this boot';
COMMENT ON COLUMN events.guest_path IS 'Path of the file in the guest';
COMMENT ON COLUMN events.host_path IS 'Path of the copy on the host of the handler';
COMMENT ON COLUMN events.sha256 IS 'SHA-256 of the copy';
COMMENT ON COLUMN events.store IS 'Name of the resource store, or of the namespace of schedules';
COMMENT ON COLUMN events.launch_time IS 'Launch time of the experiment as reported';
COMMENT ON COLUMN events.start_time IS 'Start time of the experiment as reported';
COMMENT ON COLUMN events.start_buffer IS 'Seconds between the last VM being configured and the start';
COMMENT ON COLUMN events.guests IS 'Which kind of guests the experiment runs on';
COMMENT ON COLUMN events.failed_vms IS 'Whether the experiment waits for VMs that fail before the start, or waives them';
COMMENT ON COLUMN events.body IS 'The whole body as JSON';

CREATE TABLE log_cursor (
    seq BIGINT  NOT NULL,
    run INTEGER NOT NULL
);
INSERT INTO log_cursor VALUES (0, 0);
COMMENT ON TABLE log_cursor IS 'How far this read model has come; moves in the same transaction as the rows that it speaks of';
COMMENT ON COLUMN log_cursor.seq IS 'Sequence of the last event that every table reflects';
COMMENT ON COLUMN log_cursor.run IS 'Number of the current run; 0 before the first event';

CREATE TABLE projections (
    name    VARCHAR   NOT NULL,
    hash    VARCHAR   NOT NULL,
    text    VARCHAR   NOT NULL,
    objects VARCHAR[] NOT NULL
);
COMMENT ON TABLE projections IS 'The projections in this read model, and from which text each was folded';
COMMENT ON COLUMN projections.name IS 'Name of the projection';
COMMENT ON COLUMN projections.hash IS 'SHA-256 of its text; where it differs from the file, the projection is made anew';
COMMENT ON COLUMN projections.text IS 'Its text: what folds it until a newer version of it has caught up';
COMMENT ON COLUMN projections.objects IS 'Names of its tables and views';

CREATE TABLE rebuilds (
    name VARCHAR NOT NULL,
    hash VARCHAR NOT NULL,
    seq  BIGINT  NOT NULL
);
COMMENT ON TABLE rebuilds IS 'The projections that are being folded anew, beside what is answered from; empty otherwise';
COMMENT ON COLUMN rebuilds.name IS 'Name of the projection';
COMMENT ON COLUMN rebuilds.hash IS 'SHA-256 of the text that it is folded by';
COMMENT ON COLUMN rebuilds.seq IS 'Sequence of the last event that is folded so; it takes its place when that is the last of all';
