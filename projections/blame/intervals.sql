-- What is known of each VM's time: from when to when it was in what. They overlap, and leave gaps. An end that is empty is not known.
WITH execution AS (
    SELECT
        a.server_uuid, a.entry, a.attempt, a.started, a.ended, a.due, a.reboot, a.started_seq, a.ended_seq,
        coalesce(e.kind, CASE WHEN a.directory = '' THEN 'files' ELSE 'program' END) AS kind,
        -- When the program itself began: the guest measured how long it ran, and may say anything.
        CASE WHEN d.finish.duration < epoch_us(a.ended - a.started) / 1e6
            THEN a.ended - to_microseconds((greatest(d.finish.duration, 0) * 1e6)::BIGINT) ELSE a.started END AS began,
        lead(a.started) OVER again AS started_again
    FROM attempts AS a
    JOIN attempt AS d ON d.run = a.run AND d.server_uuid = a.server_uuid AND d.entry = a.entry AND d.attempt = a.attempt
    LEFT JOIN schedule_entries AS e ON e.server_name = a.server_name AND e.entry = a.entry
    WHERE a.started IS NOT NULL
    WINDOW again AS (PARTITION BY a.server_uuid, a.entry ORDER BY a.attempt)
),
steps AS (
    SELECT server_uuid, type, state, time, lead(time) OVER (PARTITION BY server_uuid ORDER BY seq) AS next
    FROM events
    WHERE run = (SELECT run FROM log_cursor)
        AND type IN ('vm.state_set', 'vm.time_ticked', 'vm.entry_started', 'vm.entry_failed', 'vm.waived')
),
held AS (
    -- A finite pause is not shortened by a resume; one without an end is ended by the first.
    SELECT
        c.server_uuid, c.time AS since,
        CASE WHEN c.duration IS NOT NULL THEN c.time + to_microseconds((least(c.duration, 1e9) * 1e6)::BIGINT) ELSE (
            SELECT min(r.time) FROM controls AS r
            WHERE r.action = 'resumed' AND r.seq > c.seq
                AND (r.server_uuid IS NULL OR c.server_uuid IS NULL OR r.server_uuid = c.server_uuid)
        ) END AS until
    FROM controls AS c
    WHERE c.action = 'paused'
)
SELECT server_uuid, 'removed' AS kind, NULL AS entry, NULL::BIGINT AS attempt, removed AS since, NULL::TIMESTAMPTZ AS until
FROM blame_vms WHERE removed IS NOT NULL
UNION ALL
SELECT server_uuid, 'failed', NULL, NULL, failed, NULL FROM blame_vms WHERE failed IS NOT NULL
UNION ALL
SELECT v.server_uuid, 'start_buffer', NULL, NULL, greatest(v.ready, s.reported), s.until
FROM blame_vms AS v, blame_span AS s WHERE v.ready <= s.until AND s.start IS NOT NULL
UNION ALL
SELECT v.server_uuid, 'barrier', NULL, NULL, v.ready, coalesce(s.reported, s.until)
FROM blame_vms AS v, blame_span AS s WHERE v.ready IS NOT NULL
UNION ALL
SELECT
    server_uuid,
    CASE kind WHEN 'program' THEN 'running' WHEN 'transfer' THEN 'copies' WHEN 'files' THEN 'files' ELSE 'pause' END,
    entry, attempt, began, ended
FROM execution
UNION ALL
SELECT server_uuid, 'launch', entry, attempt, started, began FROM execution WHERE kind = 'program' AND began > started
UNION ALL
SELECT x.server_uuid, 'reboot', x.entry, x.attempt, x.ended, coalesce(min(r.time), x.started_again)
FROM execution AS x
LEFT JOIN reboots AS r ON r.server_uuid = x.server_uuid AND r.seq > x.ended_seq
WHERE x.reboot
GROUP BY x.server_uuid, x.entry, x.attempt, x.ended, x.started_again
UNION ALL
SELECT server_uuid, 'agent', NULL, NULL, greatest(attached, published), coalesce(configuring, ready, failed)
FROM blame_vms WHERE attached IS NOT NULL
UNION ALL
SELECT server_uuid, 'schedule', NULL, NULL, attached, coalesce(published, configuring, ready, failed)
FROM blame_vms WHERE attached IS NOT NULL AND (published IS NULL OR published > attached)
UNION ALL
SELECT server_uuid, 'handler', NULL, NULL, added, coalesce(attached, configuring, ready, failed) FROM blame_vms
UNION ALL
SELECT server_uuid, 'handler', NULL, NULL, time, next
FROM (
    SELECT server_uuid, type, time, lead(time) OVER (PARTITION BY server_uuid ORDER BY seq) AS next
    FROM events
    WHERE run = (SELECT run FROM log_cursor) AND type IN ('vm.handler_attached', 'vm.handler_detached')
)
WHERE type = 'vm.handler_detached'
UNION ALL
SELECT v.server_uuid, 'preparing', NULL, NULL, s.begun, v.added FROM blame_vms AS v, blame_span AS s
UNION ALL
SELECT v.server_uuid, 'pause', NULL, NULL, h.since, h.until
FROM held AS h
JOIN blame_vms AS v ON h.server_uuid IS NULL OR h.server_uuid = v.server_uuid
UNION ALL
SELECT server_uuid, 'retry', entry, attempt, ended, started_again
FROM execution WHERE started_again IS NOT NULL AND NOT coalesce(reboot, false)
UNION ALL
SELECT server_uuid, 'files', NULL, NULL, time, next FROM steps WHERE type = 'vm.state_set' AND lower(state) = 'configuring'
UNION ALL
SELECT server_uuid, 'late', entry, attempt, due, started FROM execution WHERE started > due
