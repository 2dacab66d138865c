-- projection: vms
-- The VMs: what each is, its state and its time; now, and over all of its history.
-- Every column keeps the last word said on it. A state or time of a VM that was never added has no effect, and one that comes
-- after the VM was removed brings nothing back (the view anomalies shows both).

-- section: table
CREATE TABLE vm (
    run         INTEGER NOT NULL,
    server_uuid VARCHAR NOT NULL,
    added       STRUCT(
        seq BIGINT, time TIMESTAMPTZ, server_name VARCHAR, control_ip VARCHAR,
        agent_host VARCHAR, agent_path VARCHAR, agent_engine VARCHAR
    ) NOT NULL,
    state       STRUCT(seq BIGINT, time TIMESTAMPTZ, state VARCHAR, reason VARCHAR) NOT NULL,
    vm_time     STRUCT(seq BIGINT, time TIMESTAMPTZ, vm_time VARCHAR) NOT NULL,
    removed_seq BIGINT,
    waived      STRUCT(seq BIGINT, time TIMESTAMPTZ, reason VARCHAR)
);
COMMENT ON TABLE vm IS 'The last that was said of each VM of each run; read the views vms and all_vms';
COMMENT ON COLUMN vm.run IS 'Number of the run';
COMMENT ON COLUMN vm.server_uuid IS 'The VM';
COMMENT ON COLUMN vm.added IS 'What was said when it was added, the last time that it was';
COMMENT ON COLUMN vm.state IS 'Its state, and since when';
COMMENT ON COLUMN vm.vm_time IS 'The time of its schedule that it has reached, and since when';
COMMENT ON COLUMN vm.removed_seq IS 'Sequence of the last event that removed it';
COMMENT ON COLUMN vm.waived IS 'Since when, and why, the experiment does not wait for it; nothing when it does';

-- section: fold on vm.added, vm.removed
MERGE INTO vm
USING (
    SELECT
        run,
        server_uuid,
        arg_max({
            seq: seq, time: time, server_name: server_name, control_ip: control_ip,
            agent_host: body->>'$.agent.host', agent_path: body->>'$.agent.path',
            agent_engine: CASE WHEN json_exists(body, '$.agent.path') THEN coalesce(body->>'$.agent.engine', 'QemuVM') END
        }, seq) FILTER (type = 'vm.added') AS added,
        arg_max({seq: seq, time: time, state: state, reason: ''}, seq) FILTER (type = 'vm.added') AS state,
        arg_max({seq: seq, time: time, vm_time: vm_time}, seq) FILTER (type = 'vm.added') AS vm_time,
        min(seq) FILTER (type = 'vm.added') AS first_added_seq,
        max(seq) FILTER (type = 'vm.removed') AS removed_seq
    FROM batch
    WHERE type IN ('vm.added', 'vm.removed')
    GROUP BY run, server_uuid
) AS b
ON vm.run = b.run AND vm.server_uuid = b.server_uuid
WHEN MATCHED THEN UPDATE SET
    added = coalesce(b.added, vm.added),
    state = coalesce(b.state, vm.state),
    vm_time = coalesce(b.vm_time, vm.vm_time),
    removed_seq = coalesce(b.removed_seq, vm.removed_seq),
    waived = CASE WHEN b.added IS NULL THEN vm.waived END -- who is added anew is waited for again
WHEN NOT MATCHED AND b.added IS NOT NULL THEN INSERT VALUES (
    b.run, b.server_uuid, b.added, b.state, b.vm_time, CASE WHEN b.removed_seq > b.first_added_seq THEN b.removed_seq END, NULL
);

-- section: fold on vm.state_set
UPDATE vm SET state = b.state
FROM (
    SELECT run, server_uuid, arg_max({seq: seq, time: time, state: state, reason: reason}, seq) AS state
    FROM batch
    WHERE type = 'vm.state_set'
    GROUP BY run, server_uuid
) AS b
-- One that came before the VM was added (again) in the same batch is behind what the fold above has set.
WHERE vm.run = b.run AND vm.server_uuid = b.server_uuid AND b.state.seq > vm.state.seq;

-- section: fold on vm.time_ticked
UPDATE vm SET vm_time = b.vm_time
FROM (
    SELECT run, server_uuid, arg_max({seq: seq, time: time, vm_time: vm_time}, seq) AS vm_time
    FROM batch
    WHERE type = 'vm.time_ticked'
    GROUP BY run, server_uuid
) AS b
WHERE vm.run = b.run AND vm.server_uuid = b.server_uuid AND b.vm_time.seq > vm.vm_time.seq;

-- section: fold on vm.waived
UPDATE vm SET waived = b.waived
FROM (
    SELECT run, server_uuid, arg_max({seq: seq, time: time, reason: reason}, seq) AS waived
    FROM batch
    WHERE type = 'vm.waived'
    GROUP BY run, server_uuid
) AS b
WHERE vm.run = b.run AND vm.server_uuid = b.server_uuid AND b.waived.seq > vm.added.seq;

-- section: views
CREATE VIEW all_vms AS
SELECT
    vm.run,
    vm.server_uuid,
    vm.added.server_name AS server_name,
    vm.added.control_ip AS control_ip,
    vm.state.state AS state,
    lower(vm.state.state) IN ('configured', 'n/a') OR vm.waived IS NOT NULL AS ready,
    vm.state.time AS state_since,
    vm.state.reason AS state_reason,
    vm.vm_time.vm_time AS vm_time,
    vm.waived.time AS waived,
    vm.added.agent_host AS agent_host,
    vm.added.agent_path AS agent_path,
    vm.added.agent_engine AS agent_engine,
    vm.added.time AS added,
    vm.added.seq AS added_seq,
    vm.added.seq > greatest(coalesce(vm.removed_seq, 0), coalesce(r.vms_cleared_seq, 0)) AS present
FROM vm
LEFT JOIN run_record AS r ON r.run = vm.run;
COMMENT ON VIEW all_vms IS 'Every VM of every run, in the last state that was told of it';
COMMENT ON COLUMN all_vms.run IS 'Number of the run';
COMMENT ON COLUMN all_vms.server_uuid IS 'Identity of the VM';
COMMENT ON COLUMN all_vms.server_name IS 'Name of the VM; its schedule is found by it';
COMMENT ON COLUMN all_vms.control_ip IS 'Address on the control network; may be empty';
COMMENT ON COLUMN all_vms.state IS 'State: uninitialized, configuring, configured, failed, n/a, or any other word';
COMMENT ON COLUMN all_vms.ready IS 'Whether the barrier counts it as ready: configured and n/a are, and who is waived';
COMMENT ON COLUMN all_vms.state_since IS 'When it got into this state';
COMMENT ON COLUMN all_vms.state_reason IS 'Why it got into this state; may be empty';
COMMENT ON COLUMN all_vms.vm_time IS 'Time of its schedule that it has reached, as a decimal string; empty before the first contact';
COMMENT ON COLUMN all_vms.waived IS 'Since when the experiment does not wait for it; empty when it does';
COMMENT ON COLUMN all_vms.agent_host IS 'Host of the handler that serves it';
COMMENT ON COLUMN all_vms.agent_path IS 'Socket of its guest agent on that host';
COMMENT ON COLUMN all_vms.agent_engine IS 'Driver that talks to its guest agent';
COMMENT ON COLUMN all_vms.added IS 'When it was added, the last time that it was';
COMMENT ON COLUMN all_vms.added_seq IS 'Sequence of that event';
COMMENT ON COLUMN all_vms.present IS 'Whether it was part of the run to the end: neither removed nor cleared';

CREATE VIEW vms AS
SELECT * EXCLUDE (present) FROM all_vms
WHERE run = (SELECT run FROM log_cursor) AND present;
COMMENT ON VIEW vms IS 'The VMs of the current run, now';
COMMENT ON COLUMN vms.run IS 'Number of the run';
COMMENT ON COLUMN vms.server_uuid IS 'Identity of the VM';
COMMENT ON COLUMN vms.server_name IS 'Name of the VM; its schedule is found by it';
COMMENT ON COLUMN vms.control_ip IS 'Address on the control network; may be empty';
COMMENT ON COLUMN vms.state IS 'State: uninitialized, configuring, configured, failed, n/a, or any other word';
COMMENT ON COLUMN vms.ready IS 'Whether the barrier counts it as ready: configured and n/a are, and who is waived';
COMMENT ON COLUMN vms.state_since IS 'When it got into this state';
COMMENT ON COLUMN vms.state_reason IS 'Why it got into this state; may be empty';
COMMENT ON COLUMN vms.vm_time IS 'Time of its schedule that it has reached, as a decimal string; empty before the first contact';
COMMENT ON COLUMN vms.waived IS 'Since when the experiment does not wait for it; empty when it does';
COMMENT ON COLUMN vms.agent_host IS 'Host of the handler that serves it';
COMMENT ON COLUMN vms.agent_path IS 'Socket of its guest agent on that host';
COMMENT ON COLUMN vms.agent_engine IS 'Driver that talks to its guest agent';
COMMENT ON COLUMN vms.added IS 'When it was added, the last time that it was';
COMMENT ON COLUMN vms.added_seq IS 'Sequence of that event';

CREATE VIEW vm_state_history AS
SELECT
    h.run,
    h.server_uuid,
    vm.added.server_name AS server_name,
    h.state,
    h.reason,
    h.seq AS from_seq,
    h.until_seq,
    h.time AS since,
    h.until,
    epoch_us(h.until - h.time) / 1e6 AS seconds
FROM (
    SELECT
        *,
        lead(seq) OVER following AS until_seq,
        lead(time) OVER following AS until
    FROM events
    WHERE type IN ('vm.added', 'vm.state_set', 'vm.removed')
    WINDOW following AS (PARTITION BY run, server_uuid ORDER BY seq)
) AS h
LEFT JOIN vm ON vm.run = h.run AND vm.server_uuid = h.server_uuid
WHERE h.type <> 'vm.removed';
COMMENT ON VIEW vm_state_history IS 'Every state that every VM of every run was in, from when to when';
COMMENT ON COLUMN vm_state_history.run IS 'Number of the run';
COMMENT ON COLUMN vm_state_history.server_uuid IS 'Identity of the VM';
COMMENT ON COLUMN vm_state_history.server_name IS 'Name of the VM';
COMMENT ON COLUMN vm_state_history.state IS 'The state';
COMMENT ON COLUMN vm_state_history.reason IS 'Why';
COMMENT ON COLUMN vm_state_history.from_seq IS 'Sequence of the event that set it';
COMMENT ON COLUMN vm_state_history.until_seq IS 'Sequence of the event that ended it; empty for the last state';
COMMENT ON COLUMN vm_state_history.since IS 'From when';
COMMENT ON COLUMN vm_state_history.until IS 'To when; empty for the last state';
COMMENT ON COLUMN vm_state_history.seconds IS 'How long';

CREATE VIEW vm_time_history AS
SELECT
    h.run,
    h.server_uuid,
    vm.added.server_name AS server_name,
    h.vm_time,
    h.seq AS from_seq,
    lead(h.seq) OVER following AS until_seq,
    h.time AS since,
    lead(h.time) OVER following AS until
FROM events AS h
LEFT JOIN vm ON vm.run = h.run AND vm.server_uuid = h.server_uuid
WHERE h.type IN ('vm.added', 'vm.time_ticked')
WINDOW following AS (PARTITION BY h.run, h.server_uuid ORDER BY h.seq);
COMMENT ON VIEW vm_time_history IS 'When every VM of every run reached each time of its schedule';
COMMENT ON COLUMN vm_time_history.run IS 'Number of the run';
COMMENT ON COLUMN vm_time_history.server_uuid IS 'Identity of the VM';
COMMENT ON COLUMN vm_time_history.server_name IS 'Name of the VM';
COMMENT ON COLUMN vm_time_history.vm_time IS 'The time of the schedule, as a decimal string; empty before the first contact';
COMMENT ON COLUMN vm_time_history.from_seq IS 'Sequence of the event that says so';
COMMENT ON COLUMN vm_time_history.until_seq IS 'Sequence of the next such event of the VM';
COMMENT ON COLUMN vm_time_history.since IS 'When it was reached';
COMMENT ON COLUMN vm_time_history.until IS 'When the next was reached';
