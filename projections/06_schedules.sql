-- projection: schedules
-- The schedules, by name of the VM, and what is in them. A schedule is replaced as a whole; its sequence is its version, and every
-- version of its entries is kept. Entries that were too large for an event are in the object store and are not listed here. Schedules
-- in a namespace of their own (`store`) are nobody's to run, and not here.

-- section: table
CREATE TABLE schedule (
    run             INTEGER NOT NULL,
    server_name     VARCHAR NOT NULL,
    removed         BOOLEAN NOT NULL,
    seq             BIGINT NOT NULL,
    time            TIMESTAMPTZ NOT NULL,
    ip              VARCHAR,
    entries         INTEGER,
    entries_object  VARCHAR,
    opaque_object   VARCHAR
);
COMMENT ON TABLE schedule IS 'The last that was said of each schedule of each run; read the view schedules';
COMMENT ON COLUMN schedule.run IS 'Number of the run';
COMMENT ON COLUMN schedule.server_name IS 'Name of the VM';
COMMENT ON COLUMN schedule.removed IS 'Whether it was removed';
COMMENT ON COLUMN schedule.seq IS 'Sequence of the event that says so: the version';
COMMENT ON COLUMN schedule.time IS 'When it was published, or removed';
COMMENT ON COLUMN schedule.ip IS 'Address of the VM, kept for the publisher';
COMMENT ON COLUMN schedule.entries IS 'Number of entries; empty when they are in the object store';
COMMENT ON COLUMN schedule.entries_object IS 'SHA-256 of the entries in the object store, when they were too large for an event';
COMMENT ON COLUMN schedule.opaque_object IS 'SHA-256 of bytes in the object store that are no schedule of vmr';

CREATE TABLE schedule_entry (
    run            INTEGER NOT NULL,
    server_name    VARCHAR NOT NULL,
    seq            BIGINT NOT NULL,
    position       INTEGER NOT NULL,
    entry          VARCHAR,
    scheduled_time VARCHAR,
    kind           VARCHAR NOT NULL,
    executable     VARCHAR,
    arguments      VARCHAR,
    definition     JSON NOT NULL
);
COMMENT ON TABLE schedule_entry IS 'Every entry of every version of every schedule';
COMMENT ON COLUMN schedule_entry.run IS 'Number of the run';
COMMENT ON COLUMN schedule_entry.server_name IS 'Name of the VM';
COMMENT ON COLUMN schedule_entry.seq IS 'Sequence of the schedule: its version';
COMMENT ON COLUMN schedule_entry.position IS 'Place in the schedule, from 1';
COMMENT ON COLUMN schedule_entry.entry IS 'Id of the entry, unique within the VM';
COMMENT ON COLUMN schedule_entry.scheduled_time IS 'When it is due, as a decimal string: seconds after the start, or an order before it';
COMMENT ON COLUMN schedule_entry.kind IS 'program, transfer, pause, break, resume or files';
COMMENT ON COLUMN schedule_entry.executable IS 'What it runs';
COMMENT ON COLUMN schedule_entry.arguments IS 'The command line after the executable';
COMMENT ON COLUMN schedule_entry.definition IS 'The whole entry as JSON';

-- section: fold on schedule.published, schedule.removed
MERGE INTO schedule AS s
USING (
    SELECT
        run, server_name, type = 'schedule.removed' AS removed, seq, time, ip,
        CASE
            WHEN type = 'schedule.published' AND NOT json_exists(body, '$.entries_object') AND NOT json_exists(body, '$.opaque')
                THEN coalesce(json_array_length(body, '$.entries'), 0)::INTEGER
        END AS entries,
        body->>'$.entries_object.sha256' AS entries_object,
        body->>'$.opaque.sha256' AS opaque_object
    FROM batch
    WHERE type LIKE 'schedule.%' AND store = 'schedules'
    QUALIFY row_number() OVER (PARTITION BY run, server_name ORDER BY seq DESC) = 1
) AS b
ON s.run = b.run AND s.server_name = b.server_name
WHEN MATCHED THEN UPDATE SET
    removed = b.removed, seq = b.seq, time = b.time, ip = b.ip,
    entries = b.entries, entries_object = b.entries_object, opaque_object = b.opaque_object
WHEN NOT MATCHED THEN INSERT VALUES (
    b.run, b.server_name, b.removed, b.seq, b.time, b.ip, b.entries, b.entries_object, b.opaque_object
);

INSERT INTO schedule_entry
SELECT
    run, server_name, seq, position, e->>'$.id', e->>'$.start_time',
    CASE
        WHEN json_exists(e, '$.executable') THEN 'program'
        WHEN json_exists(e, '$.transfer') THEN 'transfer'
        WHEN json_exists(e, '$.pause.duration') THEN 'pause'
        WHEN json_exists(e, '$.pause') THEN 'break'
        WHEN json_exists(e, '$.resume') THEN 'resume'
        ELSE 'files'
    END,
    e->>'$.executable', coalesce(e->>'$.arguments', ''), e
FROM (
    SELECT
        run, server_name, seq,
        unnest(list) AS e,
        generate_subscripts(list, 1)::INTEGER AS position
    FROM (
        SELECT run, server_name, seq, (body->'$.entries')::JSON[] AS list
        FROM batch WHERE type = 'schedule.published' AND store = 'schedules'
    )
);

-- section: views
CREATE VIEW all_schedules AS
SELECT
    s.run, s.server_name, s.entries, s.ip, s.time AS published, s.seq, s.entries_object, s.opaque_object,
    NOT s.removed AND s.seq > coalesce(r.schedules_cleared_seq, 0) AS present
FROM schedule AS s
LEFT JOIN run_record AS r ON r.run = s.run;
COMMENT ON VIEW all_schedules IS 'The last schedule of every VM of every run';
COMMENT ON COLUMN all_schedules.run IS 'Number of the run';
COMMENT ON COLUMN all_schedules.server_name IS 'Name of the VM';
COMMENT ON COLUMN all_schedules.entries IS 'Number of entries; empty when they are in the object store';
COMMENT ON COLUMN all_schedules.ip IS 'Address of the VM, kept for the publisher';
COMMENT ON COLUMN all_schedules.published IS 'When it was published';
COMMENT ON COLUMN all_schedules.seq IS 'Sequence of the event: the version';
COMMENT ON COLUMN all_schedules.entries_object IS 'SHA-256 of the entries in the object store, when they were too large for an event';
COMMENT ON COLUMN all_schedules.opaque_object IS 'SHA-256 of bytes in the object store that are no schedule of vmr';
COMMENT ON COLUMN all_schedules.present IS 'Whether it was there to the end of the run: neither removed nor cleared';

CREATE VIEW schedules AS
SELECT * EXCLUDE (present) FROM all_schedules
WHERE run = (SELECT run FROM log_cursor) AND present;
COMMENT ON VIEW schedules IS 'The schedules of the current run, by name of the VM';
COMMENT ON COLUMN schedules.run IS 'Number of the run';
COMMENT ON COLUMN schedules.server_name IS 'Name of the VM';
COMMENT ON COLUMN schedules.entries IS 'Number of entries; empty when they are in the object store';
COMMENT ON COLUMN schedules.ip IS 'Address of the VM, kept for the publisher';
COMMENT ON COLUMN schedules.published IS 'When it was published';
COMMENT ON COLUMN schedules.seq IS 'Sequence of the event: the version';
COMMENT ON COLUMN schedules.entries_object IS 'SHA-256 of the entries in the object store, when they were too large for an event';
COMMENT ON COLUMN schedules.opaque_object IS 'SHA-256 of bytes in the object store that are no schedule of vmr';

CREATE VIEW schedule_entries AS
SELECT
    e.run, e.server_name, e.entry, e.scheduled_time,
    CASE e.scheduled_time WHEN '-inf' THEN '-infinity'::DOUBLE ELSE try_cast(e.scheduled_time AS DOUBLE) END AS scheduled_second,
    e.kind, e.executable, e.arguments, e.position, e.seq, e.definition
FROM schedule_entry AS e
JOIN schedules AS s ON s.run = e.run AND s.server_name = e.server_name AND s.seq = e.seq;
COMMENT ON VIEW schedule_entries IS 'What is in the schedules of the current run: what is planned, not what ran';
COMMENT ON COLUMN schedule_entries.run IS 'Number of the run';
COMMENT ON COLUMN schedule_entries.server_name IS 'Name of the VM';
COMMENT ON COLUMN schedule_entries.entry IS 'Id of the entry, unique within the VM';
COMMENT ON COLUMN schedule_entries.scheduled_time IS 'When it is due, as a decimal string: seconds after the start, or an order before it';
COMMENT ON COLUMN schedule_entries.scheduled_second IS 'The same as a number, to sort and compare by';
COMMENT ON COLUMN schedule_entries.kind IS 'program, transfer, pause, break, resume or files';
COMMENT ON COLUMN schedule_entries.executable IS 'What it runs';
COMMENT ON COLUMN schedule_entries.arguments IS 'The command line after the executable';
COMMENT ON COLUMN schedule_entries.position IS 'Place in the schedule, from 1';
COMMENT ON COLUMN schedule_entries.seq IS 'Sequence of the schedule: its version';
COMMENT ON COLUMN schedule_entries.definition IS 'The whole entry as JSON';
