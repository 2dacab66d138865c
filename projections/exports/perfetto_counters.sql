-- How many VMs were ready, and how many programs were running, after every moment at which that changed?
WITH said AS (
    SELECT server_uuid, seq, time, type, state FROM events
    WHERE run = (SELECT run FROM log_cursor) AND type IN ('vm.added', 'vm.removed', 'vm.state_set', 'vm.waived')
    UNION ALL
    SELECT v.server_uuid, e.seq, e.time, 'vm.removed', NULL
    FROM events AS e JOIN vm AS v ON v.run = e.run
    WHERE e.run = (SELECT run FROM log_cursor) AND e.type = 'experiment.cleared'
        AND json_contains(coalesce(e.body->'$.scope', '["vms"]'), '"vms"')
),
known AS (
    SELECT
        server_uuid, seq, time,
        last_value(CASE type WHEN 'vm.added' THEN true WHEN 'vm.removed' THEN false END IGNORE NULLS) OVER so_far AS present,
        last_value(state IGNORE NULLS) OVER so_far AS state,
        last_value(CASE type WHEN 'vm.added' THEN false WHEN 'vm.waived' THEN true END IGNORE NULLS) OVER so_far AS waived
    FROM said
    WINDOW so_far AS (PARTITION BY server_uuid ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
),
kinds AS (
    SELECT server_name, entry, arg_max(kind, seq) AS kind FROM schedule_entry
    WHERE run = (SELECT run FROM log_cursor) GROUP BY server_name, entry
),
programs AS (
    SELECT a.started_seq, a.started, a.ended_seq, a.ended
    FROM attempts AS a LEFT JOIN kinds AS k ON k.server_name = a.server_name AND k.entry = a.entry
    WHERE a.started IS NOT NULL AND coalesce(k.kind = 'program', a.directory <> '')
),
changes AS (
    SELECT
        'ready VMs' AS counter, seq,
        max(epoch_us(time)) OVER (ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS moment,
        ready - lag(ready, 1, 0) OVER (PARTITION BY server_uuid ORDER BY seq) AS change
    FROM (SELECT *, (coalesce(present, false) AND (lower(state) IN ('configured', 'n/a') OR coalesce(waived, false)))::INTEGER AS ready FROM known)

    UNION ALL
    SELECT 'running programs', started_seq, epoch_us(started), 1 FROM programs
    UNION ALL
    SELECT 'running programs', ended_seq, epoch_us(greatest(started, ended)), -1 FROM programs WHERE ended IS NOT NULL
)
SELECT counter, moment, sum(sum(change)) OVER (PARTITION BY counter ORDER BY moment)::BIGINT AS value
FROM changes
GROUP BY counter, moment
HAVING sum(change) <> 0 OR counter = 'running programs'
ORDER BY counter, moment
