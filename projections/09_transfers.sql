-- projection: transfers
-- The files that were copied out of guests.

-- section: table
CREATE TABLE transfer (
    seq         BIGINT NOT NULL,
    run         INTEGER NOT NULL,
    time        TIMESTAMPTZ NOT NULL,
    server_uuid VARCHAR NOT NULL,
    entry       VARCHAR NOT NULL,
    guest_path  VARCHAR NOT NULL,
    host_path   VARCHAR NOT NULL,
    size        BIGINT,
    sha256      VARCHAR NOT NULL
);
COMMENT ON TABLE transfer IS 'Every file that was copied out of a guest, in every run; the view transfers has the current run';
COMMENT ON COLUMN transfer.seq IS 'Sequence of the event';
COMMENT ON COLUMN transfer.run IS 'Number of the run';
COMMENT ON COLUMN transfer.time IS 'When it was copied';
COMMENT ON COLUMN transfer.server_uuid IS 'The VM';
COMMENT ON COLUMN transfer.entry IS 'Id of the schedule entry that asked for it';
COMMENT ON COLUMN transfer.guest_path IS 'Where it was in the guest';
COMMENT ON COLUMN transfer.host_path IS 'Where the copy is on the host of the handler';
COMMENT ON COLUMN transfer.size IS 'Number of bytes';
COMMENT ON COLUMN transfer.sha256 IS 'SHA-256 of the copy';

-- section: fold on vm.file_transferred
INSERT INTO transfer
SELECT seq, run, time, server_uuid, entry, guest_path, host_path, size, sha256
FROM batch
WHERE type = 'vm.file_transferred'
ORDER BY seq;

-- section: as of
CREATE VIEW transfer AS SELECT * FROM $present.transfer WHERE seq <= $sequence;

-- section: views
CREATE VIEW transfers AS
SELECT
    t.run, vm.added.server_name AS server_name, t.entry, t.guest_path, t.host_path, t.size, t.sha256, t.time,
    t.server_uuid, t.seq
FROM transfer AS t
LEFT JOIN vm ON vm.run = t.run AND vm.server_uuid = t.server_uuid
WHERE t.run = (SELECT run FROM log_cursor);
COMMENT ON VIEW transfers IS 'Every file that was copied out of a guest, in the current run';
COMMENT ON COLUMN transfers.run IS 'Number of the run';
COMMENT ON COLUMN transfers.server_name IS 'Name of the VM';
COMMENT ON COLUMN transfers.entry IS 'Id of the schedule entry that asked for it';
COMMENT ON COLUMN transfers.guest_path IS 'Where it was in the guest';
COMMENT ON COLUMN transfers.host_path IS 'Where the copy is on the host of the handler';
COMMENT ON COLUMN transfers.size IS 'Number of bytes';
COMMENT ON COLUMN transfers.sha256 IS 'SHA-256 of the copy';
COMMENT ON COLUMN transfers.time IS 'When it was copied';
COMMENT ON COLUMN transfers.server_uuid IS 'Identity of the VM';
COMMENT ON COLUMN transfers.seq IS 'Sequence of the event';
