-- The time of its schedule that every VM of the current run has reached.
-- parameter time: only VMs that are at this time, as a decimal string
SELECT server_uuid, server_name, vm_time AS current_time FROM vms
WHERE $time::VARCHAR IS NULL OR vm_time = $time::VARCHAR
ORDER BY added_seq
