-- Which entries of the schedules never ran?
-- parameter server_name: only of the VM of this name
SELECT e.server_name, e.entry, e.kind, e.executable, v.state, v.vm_time
FROM schedule_entries AS e
LEFT JOIN vms AS v ON v.server_name = e.server_name
WHERE ($server_name::VARCHAR IS NULL OR e.server_name = $server_name::VARCHAR)
    AND NOT EXISTS (
        FROM attempts AS a WHERE a.server_name = e.server_name AND a.entry = e.entry AND a.started IS NOT NULL
    )
ORDER BY e.server_name, e.position
