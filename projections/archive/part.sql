-- The rows of one Parquet file of an archive: the columns of `events` but for the body, which is in the message, and the message itself.
-- `events` is empty, and names the columns that no event of this file fills; `said` is what the messages say.
SELECT * EXCLUDE (body) FROM (SELECT * FROM events UNION ALL BY NAME SELECT * FROM said)
