-- Which VMs does anything say something about, and on which host is each? The last handler's host counts.
SELECT
    e.server_uuid,
    coalesce(vm.added.server_name, e.server_uuid) AS name,
    coalesce(h.host, vm.added.agent_host, '') AS host
FROM (SELECT DISTINCT run, server_uuid FROM events WHERE run = (SELECT run FROM log_cursor) AND server_uuid IS NOT NULL) AS e
LEFT JOIN vm ON vm.run = e.run AND vm.server_uuid = e.server_uuid
LEFT JOIN (
    SELECT run, server_uuid, arg_max(host, from_seq) AS host FROM handler_history GROUP BY run, server_uuid
) AS h ON h.run = e.run AND h.server_uuid = e.server_uuid
ORDER BY e.server_uuid
