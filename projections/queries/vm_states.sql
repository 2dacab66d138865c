-- The state of every VM of the current run.
SELECT server_uuid, server_name, state FROM vms ORDER BY added_seq
