-- The run in one row: what it is called, its moments in microseconds since 1970 (UTC), its events, its VMs and how many were ready.
SELECT
    r.run, r.name, r.guests, r.first_seq, r.last_seq, r.events, r.end_reason, c.start_buffer,
    epoch_us(r.begun) AS begun,
    epoch_us(r.launch_time) AS launched,
    epoch_us(r.start_time) AS start,
    epoch_us(r.ended) AS ended,
    epoch_us(r.last_event) AS last_event,
    epoch_us((SELECT max(time) FROM events WHERE run = r.run)) AS last_moment,
    epoch_us((SELECT min(time) FROM events WHERE run = r.run AND type = 'vm.added')) AS first_added,
    coalesce(b.vms, 0) AS vms,
    coalesce(b.ready, 0) AS ready,
    coalesce(b.failed, 0) AS failed
FROM current_run AS c
JOIN runs AS r ON r.run = c.run
LEFT JOIN barrier AS b ON b.run = c.run
