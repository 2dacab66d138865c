-- Which entries came into a schedule only after the experiment had started, and did they run?
WITH first_seen AS (
    SELECT run, server_name, entry, min(seq) AS seq, arg_min(kind, seq) AS kind, arg_min(executable, seq) AS executable
    FROM schedule_entry
    WHERE run = (SELECT run FROM log_cursor)
    GROUP BY run, server_name, entry
)
SELECT f.server_name, f.entry, f.kind, f.executable, e.time AS added, epoch_us(e.time - c.start_time) / 1e6 AS second,
    coalesce(a.status, 'never ran') AS status, a.exit_code, f.seq
FROM first_seen AS f
JOIN events AS e ON e.seq = f.seq
JOIN current_run AS c ON e.time > c.start_time
LEFT JOIN (SELECT * FROM attempts QUALIFY row_number() OVER (PARTITION BY server_name, entry ORDER BY attempt DESC) = 1) AS a
    ON a.server_name = f.server_name AND a.entry = f.entry
ORDER BY f.seq, f.entry
