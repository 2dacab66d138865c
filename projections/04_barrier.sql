-- projection: barrier
-- The barrier at time 0: the experiment starts when every VM is ready. Nothing is folded for it; it is read off the VMs.

-- section: views
CREATE VIEW not_ready AS
SELECT server_name, server_uuid, state, state_since AS since, state_reason AS reason, vm_time
FROM vms
WHERE NOT ready
ORDER BY since, server_name;
COMMENT ON VIEW not_ready IS 'The VMs that the barrier of the current run still waits for, the longest first';
COMMENT ON COLUMN not_ready.server_name IS 'Name of the VM';
COMMENT ON COLUMN not_ready.server_uuid IS 'Identity of the VM';
COMMENT ON COLUMN not_ready.state IS 'The state that it is in';
COMMENT ON COLUMN not_ready.since IS 'Since when it has been in this state';
COMMENT ON COLUMN not_ready.reason IS 'Why it got into this state; may be empty';
COMMENT ON COLUMN not_ready.vm_time IS 'Time of its schedule that it has reached';

CREATE VIEW barrier AS
SELECT
    run,
    count(*) AS vms,
    count(*) FILTER (ready) AS ready,
    count(*) FILTER (NOT ready) AS not_ready,
    count(*) FILTER (lower(state) = 'failed') AS failed,
    min(state_since) FILTER (ready) AS first_ready,
    max(state_since) FILTER (ready) AS last_ready
FROM all_vms
WHERE present
GROUP BY run
ORDER BY run;
COMMENT ON VIEW barrier IS 'How many VMs of each run are ready, as they stood at its end; for the current run, now';
COMMENT ON COLUMN barrier.run IS 'Number of the run';
COMMENT ON COLUMN barrier.vms IS 'Number of VMs';
COMMENT ON COLUMN barrier.ready IS 'Number of VMs that are ready: configured or n/a';
COMMENT ON COLUMN barrier.not_ready IS 'Number of VMs that are not';
COMMENT ON COLUMN barrier.failed IS 'Number of VMs that failed; they are not ready';
COMMENT ON COLUMN barrier.first_ready IS 'When the first of the ready VMs became so';
COMMENT ON COLUMN barrier.last_ready IS 'When the last of the ready VMs became so';
