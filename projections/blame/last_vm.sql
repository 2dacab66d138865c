-- Whom did the start wait for? The VM that was ready last, or one that is not ready yet.
-- parameter vm: the VM of this name instead
SELECT v.server_uuid, v.vm, epoch_us(v.ready - s.begun) / 1e6 AS ready_after
FROM blame_vms AS v, blame_span AS s
WHERE $vm::VARCHAR IS NULL OR v.vm = $vm::VARCHAR
-- Who was removed before the start, or was never ready, did not hold up a start that came all the same.
ORDER BY
    coalesce(v.removed <= s.until, false), (v.ready IS NULL AND s.start IS NULL) DESC, v.ready DESC NULLS LAST, v.added DESC,
    v.vm, v.server_uuid
LIMIT 1
