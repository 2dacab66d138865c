-- What ran late, and by how much? Pauses are counted in: an entry is due when its VM's clock is there.
-- parameter seconds: only what was later than this; 1 when left out
SELECT server_name, entry, attempt, scheduled_time, due, started, lateness
FROM attempts
WHERE lateness > coalesce($seconds::DOUBLE, 1)
ORDER BY lateness DESC, server_name, entry, attempt
