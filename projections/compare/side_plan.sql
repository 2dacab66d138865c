-- What one side's schedules hold: to tell what was never reached from what was never asked for.
SELECT DISTINCT server_name AS vm, entry FROM schedule_entries WHERE entry IS NOT NULL
