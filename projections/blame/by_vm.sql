-- Where the time of each VM went; those that were ready last come first.
SELECT
    v.server_uuid, v.vm, s.phase, epoch_us(v.ready - any_value(p.begun)) / 1e6 AS ready_after,
    s.what.kind AS kind, sum(epoch_us(s.until - s.since))::BIGINT / 1e6 AS seconds
FROM blame_segments AS s
JOIN blame_vms AS v ON v.server_uuid = s.server_uuid
JOIN blame_kinds AS k ON k.kind = s.what.kind
CROSS JOIN blame_span AS p
GROUP BY v.vm, v.server_uuid, v.ready, s.phase, s.what.kind, k.place
ORDER BY v.ready DESC NULLS FIRST, v.vm, v.server_uuid, s.phase DESC, k.place
