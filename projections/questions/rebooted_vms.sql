-- Which VMs rebooted, which entries asked for it, and how long were they away?
SELECT
    r.server_name, r.time AS back, r.entries,
    -- By itself, a guest goes down at no recorded moment.
    max(a.ended) AS asked, epoch_us(r.time - max(a.ended)) / 1e6 AS seconds_away
FROM reboots AS r
LEFT JOIN attempts AS a
    ON a.server_uuid = r.server_uuid AND list_contains(r.entries, a.entry) AND a.reboot AND a.ended_seq < r.seq
GROUP BY r.server_name, r.time, r.entries, r.seq
ORDER BY r.seq
