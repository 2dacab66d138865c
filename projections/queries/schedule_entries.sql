-- What is planned: the entries of the schedules of the current run.
-- parameter server_name: only of the VM of this name
SELECT server_name, entry, scheduled_time, scheduled_second, kind, executable, arguments, position, seq, definition
FROM schedule_entries
WHERE $server_name::VARCHAR IS NULL OR server_name = $server_name::VARCHAR
ORDER BY server_name, position
