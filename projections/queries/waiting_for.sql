-- Which VMs the barrier of the current run still waits for, since when and why; the longest first.
-- parameter limit: at most so many of them
SELECT server_name, server_uuid, state, since, reason, vm_time FROM not_ready
ORDER BY since, server_name
LIMIT coalesce($limit::BIGINT, 9223372036854775807)
