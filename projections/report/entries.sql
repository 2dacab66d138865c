-- Every entry of every VM: those of its schedule, and those that ran or wrote though its schedule does not hold them (any more).
WITH planned AS (
    SELECT v.server_uuid, e.entry, e.scheduled_time, e.scheduled_second, e.kind, e.executable, e.arguments, e.position
    FROM schedule_entries AS e
    JOIN vms AS v ON v.server_name = e.server_name
    WHERE e.entry IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY v.server_uuid, e.entry ORDER BY e.position) = 1
),
ran AS (
    SELECT
        server_uuid, entry,
        arg_min(scheduled_time, attempt) AS scheduled_time,
        arg_min(scheduled_second, attempt) AS scheduled_second
    FROM attempts
    GROUP BY server_uuid, entry
),
known AS (
    SELECT server_uuid, entry FROM planned
    UNION SELECT server_uuid, entry FROM ran
    UNION SELECT server_uuid, entry FROM output
)
SELECT
    k.server_uuid, k.entry,
    coalesce(p.scheduled_time, r.scheduled_time) AS scheduled_time,
    p.kind,
    concat_ws(' ', p.executable, nullif(p.arguments, '')) AS command
FROM known AS k
LEFT JOIN planned AS p ON p.server_uuid = k.server_uuid AND p.entry = k.entry
LEFT JOIN ran AS r ON r.server_uuid = k.server_uuid AND r.entry = k.entry
ORDER BY k.server_uuid, coalesce(p.scheduled_second, r.scheduled_second) NULLS LAST, p.position NULLS LAST, k.entry
