-- Which VMs are only in one of the runs, and how many executions went with them?
SELECT
    min(v.side) AS run, v.vm,
    (SELECT count(*) FROM side_attempts AS t WHERE t.vm = v.vm) AS executions
FROM side_vms AS v
GROUP BY v.vm
HAVING count(DISTINCT v.side) = 1
ORDER BY run, v.vm
