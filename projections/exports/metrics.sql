-- How much of what was there? One row per metric and value of its label; a metric without a label has one row without a value.
WITH ready AS (
    SELECT v.server_uuid, least(min(h.since) FILTER (lower(h.state) IN ('configured', 'n/a')), any_value(v.waived)) AS since
    FROM vms AS v
    LEFT JOIN vm_state_history AS h ON h.run = v.run AND h.server_uuid = v.server_uuid
    GROUP BY v.server_uuid
),
last_attempts AS (
    SELECT * FROM attempts QUALIFY row_number() OVER (PARTITION BY server_name, server_uuid, entry ORDER BY attempt DESC) = 1
),
outcomes AS (
    SELECT
        CASE
            WHEN a.entry IS NULL THEN 'never_ran'
            WHEN a.status <> 'finished' THEN a.status
            WHEN a.reboot THEN 'asked_for_reboot'
            WHEN coalesce(a.exit_code, 0) = 0 THEN 'succeeded'
            ELSE 'exit_code_not_zero'
        END AS outcome
    FROM (SELECT DISTINCT server_name, entry FROM schedule_entries) AS e
    FULL JOIN last_attempts AS a ON a.server_name = e.server_name AND a.entry = e.entry
),
written AS (
    -- Bytes that were captured twice count once.
    SELECT
        stream,
        first_byte + octet_length(data) - greatest(first_byte, coalesce(max(first_byte + octet_length(data)) OVER (
            PARTITION BY server_uuid, entry, attempt, stream ORDER BY first_byte, seq
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ), 0)) AS fresh
    FROM output
)
SELECT 'vmr_vms' AS metric, state AS label, count(*)::DOUBLE AS value FROM vms GROUP BY state
UNION ALL SELECT 'vmr_vms_ready', NULL, count(*) FILTER (ready) FROM vms
UNION ALL SELECT 'vmr_vms_waived', NULL, count(waived) FROM vms
UNION ALL SELECT 'vmr_entries', outcome, count(*) FROM outcomes GROUP BY outcome
UNION ALL SELECT 'vmr_attempts', status, count(*) FROM attempts GROUP BY status
UNION ALL SELECT 'vmr_events', type, count(*) FROM events WHERE run = (SELECT run FROM log_cursor) GROUP BY type
UNION ALL SELECT 'vmr_anomalies', coalesce(a.kind, k.kind), count(a.seq)
    FROM (VALUES ('unknown event'), ('absent VM'), ('second end'), ('end without start'), ('output of another size'), ('output missing')) AS k(kind)
    FULL JOIN (SELECT kind, seq FROM anomalies WHERE run = (SELECT run FROM log_cursor)) AS a ON a.kind = k.kind
    GROUP BY ALL
UNION ALL SELECT 'vmr_output_bytes', s.stream, coalesce(sum(greatest(w.fresh, 0))::DOUBLE, 0)
    FROM (VALUES ('stdout'), ('stderr')) AS s(stream) LEFT JOIN written AS w ON w.stream = s.stream GROUP BY s.stream
UNION ALL SELECT 'vmr_transferred_bytes', NULL, coalesce(sum(size)::DOUBLE, 0) FROM transfers
UNION ALL SELECT 'vmr_transfers', NULL, count(*) FROM transfers
UNION ALL SELECT 'vmr_reboots', NULL, count(*) FROM reboots
UNION ALL SELECT 'vmr_barrier_seconds', NULL, epoch_us(max(since) - min(since)) / 1e6 FROM ready
UNION ALL SELECT 'vmr_configuration_seconds', NULL, epoch_us(max(r.since) - any_value(c.launch_time)) / 1e6 FROM ready AS r, current_run AS c
UNION ALL SELECT 'vmr_start_timestamp_seconds', NULL, epoch_us(start_time) / 1e6 FROM current_run
UNION ALL SELECT 'vmr_end_timestamp_seconds', NULL, epoch_us(ended) / 1e6 FROM current_run
ORDER BY metric, label
