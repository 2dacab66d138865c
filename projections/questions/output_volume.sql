-- How much did every VM write, on which stream? Bytes that were captured twice count once.
WITH pieces AS (
    SELECT
        server_name, server_uuid, entry, attempt, stream, size,
        first_byte + size AS after,
        greatest(first_byte, coalesce(max(first_byte + size) OVER (
            PARTITION BY server_uuid, entry, attempt, stream ORDER BY first_byte, seq
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ), 0)) AS fresh
    FROM output
)
SELECT server_name, stream, sum(greatest(after - fresh, 0))::BIGINT AS bytes, count(*) AS pieces,
    count(DISTINCT (entry, attempt)) AS executions
FROM pieces
GROUP BY server_name, server_uuid, stream
ORDER BY bytes DESC, server_name, stream
