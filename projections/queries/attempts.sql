-- Every execution of a schedule entry, with how it ended.
-- parameter run: number of the run; the current one when left out
-- parameter server_name: only of the VM of this name
-- parameter entry: only of this entry
-- parameter status: only running, finished, failed or lost ones
SELECT * FROM all_attempts
WHERE run = coalesce($run::INTEGER, (SELECT run FROM log_cursor))
    AND ($server_name::VARCHAR IS NULL OR server_name = $server_name::VARCHAR)
    AND ($entry::VARCHAR IS NULL OR entry = $entry::VARCHAR)
    AND ($status::VARCHAR IS NULL OR status = $status::VARCHAR)
ORDER BY coalesce(started_seq, ended_seq)
