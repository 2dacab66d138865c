-- projection: reboots
-- When guests went down and came back, and which entries asked for it.

-- section: table
CREATE TABLE reboot (
    seq         BIGINT NOT NULL,
    run         INTEGER NOT NULL,
    time        TIMESTAMPTZ NOT NULL,
    server_uuid VARCHAR NOT NULL,
    entries     VARCHAR[] NOT NULL,
    boot_id     VARCHAR NOT NULL
);
COMMENT ON TABLE reboot IS 'Every reboot of a guest, in every run; the view reboots has the current run';
COMMENT ON COLUMN reboot.seq IS 'Sequence of the event';
COMMENT ON COLUMN reboot.run IS 'Number of the run';
COMMENT ON COLUMN reboot.time IS 'When its agent answered again';
COMMENT ON COLUMN reboot.server_uuid IS 'The VM';
COMMENT ON COLUMN reboot.entries IS 'Ids of the entries that asked for it; none when the guest did it by itself';
COMMENT ON COLUMN reboot.boot_id IS 'Identity that the guest gives the new boot; may be empty';

-- section: fold on vm.rebooted
INSERT INTO reboot
SELECT seq, run, time, server_uuid, coalesce(body->>'$.entries[*]', []), boot_id
FROM batch
WHERE type = 'vm.rebooted'
ORDER BY seq;

-- section: as of
CREATE VIEW reboot AS SELECT * FROM $present.reboot WHERE seq <= $sequence;

-- section: views
CREATE VIEW reboots AS
SELECT r.run, vm.added.server_name AS server_name, r.time, r.entries, r.boot_id, r.server_uuid, r.seq
FROM reboot AS r
LEFT JOIN vm ON vm.run = r.run AND vm.server_uuid = r.server_uuid
WHERE r.run = (SELECT run FROM log_cursor);
COMMENT ON VIEW reboots IS 'Every reboot of a guest, in the current run';
COMMENT ON COLUMN reboots.run IS 'Number of the run';
COMMENT ON COLUMN reboots.server_name IS 'Name of the VM';
COMMENT ON COLUMN reboots.time IS 'When its agent answered again';
COMMENT ON COLUMN reboots.entries IS 'Ids of the entries that asked for it; none when the guest did it by itself';
COMMENT ON COLUMN reboots.boot_id IS 'Identity that the guest gives the new boot; may be empty';
COMMENT ON COLUMN reboots.server_uuid IS 'Identity of the VM';
COMMENT ON COLUMN reboots.seq IS 'Sequence of the event';
