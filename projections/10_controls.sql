-- projection: controls
-- What operators did to running schedules: pauses and resumes, of one VM or of all.

-- section: table
CREATE TABLE control (
    seq         BIGINT NOT NULL,
    run         INTEGER NOT NULL,
    time        TIMESTAMPTZ NOT NULL,
    action      VARCHAR NOT NULL,
    server_uuid VARCHAR,
    duration    DOUBLE,
    producer    VARCHAR NOT NULL
);
COMMENT ON TABLE control IS 'Every pause and resume by an operator, in every run; the view controls has the current run';
COMMENT ON COLUMN control.seq IS 'Sequence of the event';
COMMENT ON COLUMN control.run IS 'Number of the run';
COMMENT ON COLUMN control.time IS 'When it was ordered';
COMMENT ON COLUMN control.action IS 'paused or resumed';
COMMENT ON COLUMN control.server_uuid IS 'The VM; empty for all of them';
COMMENT ON COLUMN control.duration IS 'Length of the pause in seconds; empty for one that lasts until it is resumed';
COMMENT ON COLUMN control.producer IS 'Who ordered it';

-- section: fold on experiment.paused, experiment.resumed, vm.paused, vm.resumed
INSERT INTO control
SELECT seq, run, time, split_part(type, '.', 2), server_uuid, duration, producer
FROM batch
WHERE type IN ('experiment.paused', 'experiment.resumed', 'vm.paused', 'vm.resumed')
ORDER BY seq;

-- section: as of
CREATE VIEW control AS SELECT * FROM $present.control WHERE seq <= $sequence;

-- section: views
CREATE VIEW controls AS
SELECT c.run, c.time, c.action, vm.added.server_name AS server_name, c.duration, c.producer, c.server_uuid, c.seq
FROM control AS c
LEFT JOIN vm ON vm.run = c.run AND vm.server_uuid = c.server_uuid
WHERE c.run = (SELECT run FROM log_cursor);
COMMENT ON VIEW controls IS 'Every pause and resume by an operator, in the current run';
COMMENT ON COLUMN controls.run IS 'Number of the run';
COMMENT ON COLUMN controls.time IS 'When it was ordered';
COMMENT ON COLUMN controls.action IS 'paused or resumed';
COMMENT ON COLUMN controls.server_name IS 'Name of the VM; empty for all of them';
COMMENT ON COLUMN controls.duration IS 'Length of the pause in seconds; empty for one that lasts until it is resumed';
COMMENT ON COLUMN controls.producer IS 'Who ordered it';
COMMENT ON COLUMN controls.server_uuid IS 'Identity of the VM; empty for all of them';
COMMENT ON COLUMN controls.seq IS 'Sequence of the event';
