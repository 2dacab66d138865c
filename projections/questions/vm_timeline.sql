-- What happened to a VM, in order, with the seconds before and after the start?
-- parameter server_name: the VM; all of them when left out
SELECT
    e.seq, epoch_us(e.time - c.start_time) / 1e6 AS second, v.server_name, e.type, e.entry, e.attempt,
    coalesce(
        e.state || coalesce(': ' || nullif(e.reason, ''), ''), e.error, e.reason, e.guest_path, e.handler, e.vm_time,
        'exit ' || e.exit_code, e.stream || ' ' || e.size
    ) AS detail
FROM events AS e
JOIN vms AS v ON v.run = e.run AND v.server_uuid = e.server_uuid
CROSS JOIN current_run AS c
WHERE $server_name::VARCHAR IS NULL OR v.server_name = $server_name::VARCHAR
ORDER BY e.seq
