-- Sequence of the last event that this read model reflects, and number of the current run.
SELECT seq, run FROM log_cursor
