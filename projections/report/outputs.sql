-- What every execution wrote on each stream: how much, and the pieces of its beginning and of its end. Bytes that were captured
-- twice count once, and no byte is in two pieces.
-- parameter bytes: how many bytes of the beginning, and how many of the end
WITH covered AS (
    SELECT
        server_uuid, entry, attempt, stream, data, first_byte, seq,
        first_byte + octet_length(data) AS after,
        coalesce(max(first_byte + octet_length(data)) OVER (
            PARTITION BY server_uuid, entry, attempt, stream ORDER BY first_byte, seq
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ), 0) AS covered,
        max(first_byte + octet_length(data)) OVER (PARTITION BY server_uuid, entry, attempt, stream) AS size
    FROM output
),
wanted AS (
    -- The beginning, and of what comes after it the end.
    SELECT *, greatest(first_byte, covered, 0) AS low, least(after, $bytes::BIGINT) AS high FROM covered
    UNION ALL
    SELECT *, greatest(first_byte, covered, $bytes::BIGINT, size - $bytes::BIGINT) AS low, after AS high FROM covered
)
SELECT server_uuid, entry, attempt, stream, size, low AS place, data[1 + low - first_byte:high - first_byte] AS data
FROM wanted
WHERE low < high
ORDER BY server_uuid, entry, attempt, stream, low, seq
