-- What went wrong? Executions that ended with another exit code than 0, could not be launched or were lost, with their last words.
WITH words AS (
    SELECT server_uuid, entry, attempt, arg_max(text, line) AS last_error
    FROM output_lines WHERE stream = 'stderr'
    GROUP BY server_uuid, entry, attempt
)
SELECT a.server_name, a.entry, a.attempt, a.status, a.exit_code, a.signal, a.timed_out, a.reason, w.last_error, a.ended
FROM attempts AS a
LEFT JOIN words AS w ON w.server_uuid = a.server_uuid AND w.entry = a.entry AND w.attempt = a.attempt
WHERE a.status IN ('failed', 'lost') OR (a.status = 'finished' AND a.exit_code <> 0 AND NOT a.reboot)
ORDER BY a.ended_seq
