-- The rows of one Parquet file of an archive: the columns of `events` but for the body, which is in the message, and the message itself.
SELECT events.* EXCLUDE (body), exact.stored_ns, exact.payload, exact.chain
FROM events POSITIONAL JOIN exact
