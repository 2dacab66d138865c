-- Which files were copied out of guests, and in which of them is the content the same?
-- parameter server_name: only of the VM of this name
SELECT server_name, entry, guest_path, host_path, size, sha256, count(*) OVER (PARTITION BY sha256) AS same_content, time
FROM transfers
WHERE $server_name::VARCHAR IS NULL OR server_name = $server_name::VARCHAR
ORDER BY seq
