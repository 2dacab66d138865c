-- What programs wrote, line by line, in a run.
-- parameter run: number of the run; the current one when left out
-- parameter server_name: only of the VM of this name
-- parameter entry: only of this entry
-- parameter attempt: only of this execution
-- parameter stream: stdout or stderr
SELECT server_name, entry, attempt, stream, line, text, complete, time FROM all_output_lines
WHERE run = coalesce($run::INTEGER, (SELECT run FROM log_cursor))
    AND ($server_name::VARCHAR IS NULL OR server_name = $server_name::VARCHAR)
    AND ($entry::VARCHAR IS NULL OR entry = $entry::VARCHAR)
    AND ($attempt::BIGINT IS NULL OR attempt = $attempt::BIGINT)
    AND ($stream::VARCHAR IS NULL OR stream = $stream::VARCHAR)
ORDER BY server_name, entry, attempt, stream DESC, line
