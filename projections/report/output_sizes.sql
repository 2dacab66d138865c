-- How many bytes every execution wrote on each stream, as far as they were captured.
SELECT max(first_byte + size)::BIGINT AS size
FROM output
GROUP BY server_uuid, entry, attempt, stream
ORDER BY size
