-- projection: anomalies
-- Events that contradict what came before them, or that this version of vmr does not know. Nothing is dropped: they are in
-- `events`, and here is the list of them. Nothing is folded for it; it is read off the events when somebody asks.

-- section: views
CREATE VIEW anomalies AS
SELECT seq, run, time, 'unknown event' AS kind, type, server_uuid,
    'type ' || type || ' version ' || version || ' is not known to this vmr' AS detail
FROM events
WHERE NOT known

UNION ALL
SELECT e.seq, e.run, e.time, 'absent VM', e.type, e.server_uuid,
    CASE WHEN b.seq IS NULL THEN 'the VM was not added before' ELSE 'the VM was removed before' END
FROM (
    SELECT seq, run, time, type, server_uuid FROM events
    WHERE type LIKE 'vm.%' AND type <> 'vm.added' AND known
) AS e
ASOF LEFT JOIN (
    SELECT seq, run, server_uuid, type FROM events WHERE type IN ('vm.added', 'vm.removed')
) AS b ON e.run = b.run AND e.server_uuid = b.server_uuid AND e.seq > b.seq
LEFT JOIN run_record AS r ON r.run = e.run
WHERE b.seq IS NULL OR b.type = 'vm.removed' OR (b.seq < r.vms_cleared_seq AND e.seq > r.vms_cleared_seq)

UNION ALL
SELECT e.seq, e.run, e.time, 'second end', e.type, e.server_uuid,
    'attempt ' || e.attempt || ' of ' || e.entry || ' had ended before'
FROM events AS e
JOIN attempt AS a
    ON a.run = e.run AND a.server_uuid = e.server_uuid AND a.entry = e.entry AND a.attempt = e.attempt
WHERE e.type IN ('vm.entry_finished', 'vm.entry_failed', 'vm.entry_lost') AND e.seq > a.finish.seq

UNION ALL
SELECT a.finish.seq, a.run, a.finish.time, 'end without start', 'vm.entry_' || a.finish.status, a.server_uuid,
    'attempt ' || a.attempt || ' of ' || a.entry || ' ended and was not started before'
FROM attempt AS a
WHERE a.finish.seq < coalesce(a.start.seq, a.finish.seq + 1) AND a.finish.status <> 'failed'

UNION ALL
SELECT seq, run, time, 'output of another size', 'vm.output_captured', server_uuid,
    'the event says ' || size || ' bytes and holds ' || octet_length(data)
FROM (SELECT c.*, e.size FROM output_chunk AS c JOIN events AS e ON e.seq = c.seq)
WHERE octet_length(data) <> size

UNION ALL
SELECT seq, run, time, 'output missing', 'vm.output_captured', server_uuid,
    (first_byte - covered) || ' bytes of ' || stream || ' before byte ' || first_byte || ' of attempt ' || attempt || ' of ' || entry
FROM (
    SELECT *, coalesce(max(first_byte + octet_length(data)) OVER (
        PARTITION BY run, server_uuid, entry, attempt, stream ORDER BY first_byte, seq
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ), 0) AS covered
    FROM output_chunk
)
WHERE first_byte > covered
ORDER BY seq, kind;
COMMENT ON VIEW anomalies IS 'Events that contradict what came before them, or that are not known; of every run';
COMMENT ON COLUMN anomalies.seq IS 'Sequence of the event';
COMMENT ON COLUMN anomalies.run IS 'Number of the run';
COMMENT ON COLUMN anomalies.time IS 'When it happened';
COMMENT ON COLUMN anomalies.kind IS 'What is odd: unknown event, absent VM, second end, end without start, output of another size, output missing';
COMMENT ON COLUMN anomalies.type IS 'Type of the event';
COMMENT ON COLUMN anomalies.server_uuid IS 'The VM';
COMMENT ON COLUMN anomalies.detail IS 'The particulars';
