-- projection: handlers
-- Which handler served which VM, from when to when. A handler that attaches fences off the one before.

-- section: table
CREATE TABLE handler_change (
    seq         BIGINT NOT NULL,
    run         INTEGER NOT NULL,
    time        TIMESTAMPTZ NOT NULL,
    server_uuid VARCHAR NOT NULL,
    attached    BOOLEAN NOT NULL,
    handler     VARCHAR NOT NULL,
    host        VARCHAR,
    reason      VARCHAR
);
COMMENT ON TABLE handler_change IS 'Every time that a handler took a VM or let it go; read the views handlers and handler_history';
COMMENT ON COLUMN handler_change.seq IS 'Sequence of the event';
COMMENT ON COLUMN handler_change.run IS 'Number of the run';
COMMENT ON COLUMN handler_change.time IS 'When';
COMMENT ON COLUMN handler_change.server_uuid IS 'The VM';
COMMENT ON COLUMN handler_change.attached IS 'Whether the handler took the VM; otherwise it let it go';
COMMENT ON COLUMN handler_change.handler IS 'Identity of the handler';
COMMENT ON COLUMN handler_change.host IS 'Where it runs';
COMMENT ON COLUMN handler_change.reason IS 'Why it let the VM go';

-- section: fold on vm.handler_attached, vm.handler_detached
INSERT INTO handler_change
SELECT seq, run, time, server_uuid, type = 'vm.handler_attached', handler, host, reason
FROM batch
WHERE type IN ('vm.handler_attached', 'vm.handler_detached')
ORDER BY seq;

-- section: as of
CREATE VIEW handler_change AS SELECT * FROM $present.handler_change WHERE seq <= $sequence;

-- section: views
CREATE VIEW handler_history AS
SELECT
    h.run, vm.added.server_name AS server_name, h.handler, h.host, h.time AS since, h.until, h.server_uuid,
    h.seq AS from_seq, h.until_seq
FROM (
    SELECT *, lead(time) OVER following AS until, lead(seq) OVER following AS until_seq
    FROM (
        -- A handler that was fenced off may still say that it lets go: that ends nothing.
        SELECT * FROM handler_change
        QUALIFY attached OR handler = last_value(CASE WHEN attached THEN handler END IGNORE NULLS) OVER (
            PARTITION BY run, server_uuid ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        )
    )
    WINDOW following AS (PARTITION BY run, server_uuid ORDER BY seq)
) AS h
LEFT JOIN vm ON vm.run = h.run AND vm.server_uuid = h.server_uuid
WHERE h.attached;
COMMENT ON VIEW handler_history IS 'Which handler served which VM, from when to when, in every run';
COMMENT ON COLUMN handler_history.run IS 'Number of the run';
COMMENT ON COLUMN handler_history.server_name IS 'Name of the VM';
COMMENT ON COLUMN handler_history.handler IS 'Identity of the handler';
COMMENT ON COLUMN handler_history.host IS 'Where the handler runs';
COMMENT ON COLUMN handler_history.since IS 'From when';
COMMENT ON COLUMN handler_history.until IS 'To when; empty while it serves it';
COMMENT ON COLUMN handler_history.server_uuid IS 'Identity of the VM';
COMMENT ON COLUMN handler_history.from_seq IS 'Sequence of the event with which it took the VM';
COMMENT ON COLUMN handler_history.until_seq IS 'Sequence of the event that ended it';

CREATE VIEW handlers AS
SELECT server_name, handler, host, since, server_uuid
FROM handler_history
WHERE run = (SELECT run FROM log_cursor) AND until_seq IS NULL;
COMMENT ON VIEW handlers IS 'Which handler serves which VM of the current run, now';
COMMENT ON COLUMN handlers.server_name IS 'Name of the VM';
COMMENT ON COLUMN handlers.handler IS 'Identity of the handler';
COMMENT ON COLUMN handlers.host IS 'Where the handler runs';
COMMENT ON COLUMN handlers.since IS 'Since when';
COMMENT ON COLUMN handlers.server_uuid IS 'Identity of the VM';
