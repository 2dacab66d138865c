-- Launch and start of the current run: always one row.
SELECT run, launch_time, start_time, ended, name, start_buffer FROM current_run
