-- In which order did the VMs become ready? Those whose place changed, the most first; seconds count from the beginning of each run.
WITH both_ready AS (
    SELECT
        a.vm, a.ready_after AS ready_after_a, b.ready_after AS ready_after_b,
        row_number() OVER (ORDER BY a.ready_after, a.vm) AS place_a,
        row_number() OVER (ORDER BY b.ready_after, b.vm) AS place_b
    FROM side_vms AS a
    JOIN side_vms AS b ON b.vm = a.vm AND b.side = 'b'
    WHERE a.side = 'a' AND a.ready_after IS NOT NULL AND b.ready_after IS NOT NULL
)
SELECT vm, place_a, place_b, ready_after_a, ready_after_b
FROM both_ready
WHERE place_a <> place_b
ORDER BY abs(place_a - place_b) DESC, vm
