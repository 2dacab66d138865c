-- Which files were copied out of each VM, and when were they there?
SELECT server_uuid, 'transfers' AS track, guest_path AS name, epoch_us(time) AS since, epoch_us(time) AS until, entry, host_path, size, sha256, seq
FROM transfers
ORDER BY server_uuid, since, seq
