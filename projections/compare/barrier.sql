-- Who was ready first and last in each run, and how alike are the orders? 1 is the same order, 0 none in common, -1 the reverse.
WITH both_ready AS (
    SELECT
        a.vm, a.ready_after AS ready_a, b.ready_after AS ready_b,
        row_number() OVER (ORDER BY a.ready_after, a.vm) AS place_a,
        row_number() OVER (ORDER BY b.ready_after, b.vm) AS place_b
    FROM side_vms AS a
    JOIN side_vms AS b ON b.vm = a.vm AND b.side = 'b'
    WHERE a.side = 'a' AND a.ready_after IS NOT NULL AND b.ready_after IS NOT NULL
)
SELECT
    count(*) AS vms,
    arg_min(vm, place_a) AS first_a, min(ready_a) AS first_ready_a, arg_max(vm, place_a) AS last_a, max(ready_a) AS last_ready_a,
    arg_min(vm, place_b) AS first_b, min(ready_b) AS first_ready_b, arg_max(vm, place_b) AS last_b, max(ready_b) AS last_ready_b,
    CASE WHEN count(*) > 1
        -- Spearman's rank correlation, in whole numbers up to the last step.
        THEN 1 - 6 * sum((place_a - place_b)::HUGEINT ** 2)::DOUBLE / (count(*)::DOUBLE * (count(*)::DOUBLE ** 2 - 1))
    END AS likeness
FROM both_ready
