-- Every run that the log holds.
-- parameter run: only the run of this number
SELECT * FROM runs WHERE $run::INTEGER IS NULL OR run = $run::INTEGER ORDER BY run
