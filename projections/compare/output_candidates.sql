-- Which outputs may differ: the pieces that were captured are not the same. They may still add up to the same bytes.
SELECT
    row_number() OVER (ORDER BY p.vm, p.scheduled_second, p.entry, p.nth, s.stream DESC) AS number,
    p.vm, p.entry, p.nth, s.stream
FROM pairs AS p
JOIN (
    SELECT vm, entry, nth, stream FROM side_streams
    GROUP BY vm, entry, nth, stream
    HAVING count(*) = 1 OR count(DISTINCT hash) > 1
) AS s USING (vm, entry, nth)
WHERE p.in_a AND p.in_b
