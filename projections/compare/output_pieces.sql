-- The captured pieces of the outputs that may differ, of one side, in order: where each is, and how large.
-- parameter side: a or b
SELECT o.number, c.first_byte, coalesce(e.size, 0) AS size, c.rowid AS place
FROM output_chunk AS c
JOIN memory.main.side_attempts AS t
    ON t.side = $side AND t.server_uuid = c.server_uuid AND t.entry = c.entry AND t.attempt = c.attempt
JOIN memory.main.output_candidates AS o ON o.vm = t.vm AND o.entry = t.entry AND o.nth = t.nth AND o.stream = c.stream
JOIN events AS e ON e.seq = c.seq
WHERE c.run = (SELECT run FROM log_cursor)
ORDER BY o.number, c.first_byte, c.seq
