-- How many VMs the barrier of the current run still waits for.
SELECT count(*) AS not_ready FROM vms WHERE NOT ready
