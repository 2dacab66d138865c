-- The bytes of some captured pieces.
-- parameter places: where they are
SELECT c.rowid, c.data FROM output_chunk AS c WHERE c.rowid IN (SELECT unnest($places::BIGINT[]))
