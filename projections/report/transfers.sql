-- The files that were copied out of guests; the moment is in microseconds since 1970 (UTC).
SELECT server_uuid, entry, guest_path, size, sha256, epoch_us(time) AS moment
FROM transfers
ORDER BY seq
