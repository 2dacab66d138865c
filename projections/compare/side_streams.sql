-- What each execution of one side wrote, as a hash over its captured pieces: where two hashes are equal, so are the bytes.
-- parameter side: a or b
SELECT
    t.vm, t.entry, t.nth, c.stream,
    sha256(string_agg(c.first_byte || ' ' || sha256(c.data), ',' ORDER BY c.first_byte, c.seq)) AS hash
FROM output_chunk AS c
JOIN memory.main.side_attempts AS t
    ON t.side = $side AND t.server_uuid = c.server_uuid AND t.entry = c.entry AND t.attempt = c.attempt
WHERE c.run = (SELECT run FROM log_cursor)
GROUP BY t.vm, t.entry, t.nth, c.stream
