-- When guests came back from a reboot, in microseconds since 1970 (UTC).
SELECT server_uuid, epoch_us(time) AS moment FROM reboots ORDER BY seq
