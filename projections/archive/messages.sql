-- The events of one Parquet file of an archive, exactly as the log had them.
-- parameter path: the file
SELECT seq, stored_ns, subject, payload, chain FROM read_parquet($path)
