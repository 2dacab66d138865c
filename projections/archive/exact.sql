-- Where the messages of one Parquet file of an archive wait, beside the rows of `events` that were made of them.
CREATE OR REPLACE TABLE exact (stored_ns BIGINT NOT NULL, payload BLOB NOT NULL, chain UINTEGER NOT NULL)
