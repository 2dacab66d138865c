-- Which entries needed more than one attempt, and how did each attempt end?
SELECT server_name, entry, attempt, status, exit_code, reboot, reason, started, duration
FROM attempts
QUALIFY max(attempt) OVER (PARTITION BY server_uuid, entry) > 1
ORDER BY server_name, entry, attempt
