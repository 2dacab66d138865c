-- Every VM of the run, also those that were removed or cleared away, and those that events speak of though they were never added.
WITH spoken_of AS (
    SELECT DISTINCT server_uuid FROM events
    WHERE run = (SELECT run FROM log_cursor) AND server_uuid IS NOT NULL
)
SELECT
    s.server_uuid, v.server_name, v.state, v.state_reason, v.ready, v.vm_time, v.control_ip,
    coalesce(h.host, v.agent_host) AS host,
    v.waived IS NOT NULL AS waived,
    v.present
FROM spoken_of AS s
LEFT JOIN all_vms AS v ON v.server_uuid = s.server_uuid AND v.run = (SELECT run FROM log_cursor)
LEFT JOIN handlers AS h ON h.server_uuid = s.server_uuid
ORDER BY s.server_uuid
