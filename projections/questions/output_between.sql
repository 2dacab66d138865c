-- What did a VM's programs write between two moments? Piece by piece, in the order of the record.
-- parameter server_name: the VM; all of them when left out
-- parameter since: from this time on, such as 2026-01-31T12:00:05Z
-- parameter until: up to this time, and not at it
SELECT time, server_name, entry, attempt, stream, first_byte, coalesce(try(decode(data)), data::VARCHAR) AS text
FROM output
WHERE ($server_name::VARCHAR IS NULL OR server_name = $server_name::VARCHAR)
    AND ($since::TIMESTAMPTZ IS NULL OR time >= $since::TIMESTAMPTZ)
    AND ($until::TIMESTAMPTZ IS NULL OR time < $until::TIMESTAMPTZ)
ORDER BY seq
