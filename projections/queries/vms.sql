-- The VMs of the current run, as the interface reports them.
-- parameter state: only VMs in exactly this state
-- parameter state_contains: only VMs whose state contains this text, whatever its case
-- parameter time: only VMs that are at this time, as a decimal string
-- parameter server_uuid: only the VM with this identity
-- parameter server_name: only VMs of this name
SELECT
    server_uuid, server_name, control_ip, state, vm_time AS current_time,
    ready, state_since, state_reason, agent_host, agent_path, agent_engine, added_seq
FROM vms
WHERE ($state::VARCHAR IS NULL OR state = $state::VARCHAR)
    AND ($state_contains::VARCHAR IS NULL OR contains(lower(state), lower($state_contains::VARCHAR)))
    AND ($time::VARCHAR IS NULL OR vm_time = $time::VARCHAR)
    AND ($server_uuid::VARCHAR IS NULL OR server_uuid = $server_uuid::VARCHAR)
    AND ($server_name::VARCHAR IS NULL OR server_name = $server_name::VARCHAR)
ORDER BY added_seq
