-- The schedules of the current run, without their entries.
-- parameter server_name: only of the VM of this name
SELECT server_name, entries, ip, published, seq, entries_object, opaque_object FROM schedules
WHERE $server_name::VARCHAR IS NULL OR server_name = $server_name::VARCHAR
ORDER BY server_name
