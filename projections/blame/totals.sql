-- Where the time of all VMs went: seconds summed over the VMs, and the VM of which it took most.
WITH each AS (
    SELECT s.phase, s.what.kind AS kind, v.vm, sum(epoch_us(s.until - s.since))::BIGINT AS us
    FROM blame_segments AS s
    JOIN blame_vms AS v ON v.server_uuid = s.server_uuid
    GROUP BY s.phase, s.what.kind, v.vm, v.server_uuid
)
SELECT
    e.phase, e.kind, k.title, count(*) AS vms,
    sum(e.us)::BIGINT / 1e6 AS seconds,
    sum(e.us)::DOUBLE / sum(sum(e.us)) OVER (PARTITION BY e.phase)::DOUBLE AS share,
    quantile_cont(e.us, 0.5) / 1e6 AS median,
    max(e.us) / 1e6 AS most,
    min_by(e.vm, {us: -e.us, vm: e.vm}) AS most_of
FROM each AS e
JOIN blame_kinds AS k ON k.kind = e.kind
GROUP BY e.phase, e.kind, k.title, k.place
ORDER BY e.phase DESC, seconds DESC, k.place
