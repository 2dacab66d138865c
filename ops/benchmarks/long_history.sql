-- Events $first to $last of a long run, as rows of the table events: $vms VMs are added, given a schedule and a handler, and then
-- execute an entry a second, with output, results, times and states. It depends on nothing but these numbers.
INSERT INTO events BY NAME
WITH numbered AS (
    SELECT
        seq,
        -- Every VM does something in each phase of each round; seven phases have events of every VM, the last of every eighth.
        seq - 2 - 3 * $vms AS place,
        $vms * 6 AS regular,
        $vms // 8 AS odd
    FROM range($first, $last + 1) AS r(seq)
),
placed AS (
    SELECT
        seq,
        place // (regular + odd) AS round,
        place % (regular + odd) AS rest
    FROM numbered
),
told AS (
    SELECT
        seq, round,
        CASE
            WHEN seq = 1 THEN 'experiment.launched'
            WHEN seq < 2 + $vms THEN 'vm.added'
            WHEN seq < 2 + 2 * $vms THEN 'schedule.published'
            WHEN seq < 2 + 3 * $vms THEN 'vm.handler_attached'
            WHEN rest >= 6 * $vms THEN 'vm.state_set'
            ELSE ['vm.time_ticked', 'vm.entry_started', 'vm.output_captured', 'vm.output_captured', 'vm.entry_finished', 'vm.time_ticked'][rest // $vms + 1]
        END AS type,
        CASE
            WHEN seq < 2 + 3 * $vms THEN (seq - 2) % $vms
            WHEN rest >= 6 * $vms THEN (rest - 6 * $vms) * 8 + round % 8
            ELSE rest % $vms
        END AS vm,
        rest // $vms AS phase
    FROM placed
),
worded AS (
    SELECT
        *,
        md5(vm::VARCHAR) AS vm_hash,
        md5(seq::VARCHAR) AS hash,
        -- One VM of seven runs programs that take three rounds; its first one ends four times, which are contradictions as they occur.
        greatest(0, CASE WHEN type = 'vm.entry_finished' AND vm % 7 = 0 THEN round - 3 ELSE round END) + 1 AS executed,
        make_timestamptz(1769860800000000 + greatest(round, 0) * 1000000 + greatest(phase, 0) * 120000 + vm * 30 + (hash(seq) % 30)::BIGINT) AS time
    FROM told
),
named AS (
    SELECT
        *,
        substr(vm_hash, 1, 8) || '-' || substr(vm_hash, 9, 4) || '-4' || substr(vm_hash, 14, 3) || '-a' || substr(vm_hash, 18, 3) || '-'
            || substr(vm_hash, 21, 12) AS uuid,
        'host-' || vm || '.example' AS host,
        executed || '/fetch' AS id,
        CASE phase WHEN 2
            THEN rpad('{"time": 0.' || hash(seq) % 1000 || ', "url": "http://server/file-' || hash(seq) % 97 || '", "bytes": ' || hash(vm) % 100000 || '}', 79, ' ')
            ELSE rpad('done: ' || round, 19, ' ')
        END || chr(10) AS said
    FROM worded
)
SELECT
    seq,
    1 AS run,
    time,
    time + to_microseconds(900 + (hash(seq) % 200)::BIGINT) AS stored,
    lower(lpad(to_hex(epoch_ms(time) // 65536), 8, '0')) || '-' || lower(lpad(to_hex(epoch_ms(time) % 65536), 4, '0')) || '-7' || substr(hash, 1, 3)
        || '-9' || substr(hash, 4, 3) || '-' || substr(hash, 7, 12) AS id,
    CASE WHEN type LIKE 'vm.%' AND type <> 'vm.added' THEN 'handler@lab1:5120' ELSE 'build@lab1:77' END AS producer,
    type,
    1 AS version,
    TRUE AS known,
    CASE split_part(type, '.', 1)
        WHEN 'experiment' THEN 'vmr.bench.' || type
        WHEN 'schedule' THEN 'vmr.bench.schedule.' || replace(host, '.', '=2E') || '.published'
        ELSE 'vmr.bench.vm.' || uuid || '.' || split_part(type, '.', 2)
    END AS subject,
    CASE WHEN type LIKE 'vm.%' THEN uuid END AS server_uuid,
    CASE WHEN type IN ('vm.added', 'schedule.published') THEN host END AS server_name,
    CASE WHEN type LIKE 'vm.entry%' OR type = 'vm.output_captured' THEN id END AS entry,
    CASE WHEN type LIKE 'vm.entry%' OR type = 'vm.output_captured' THEN 1 END AS attempt,
    CASE type WHEN 'vm.added' THEN 'uninitialized' WHEN 'vm.state_set' THEN ['configuring', 'configured'][round % 2 + 1] END AS state,
    CASE type WHEN 'vm.added' THEN '' WHEN 'vm.time_ticked' THEN (round + phase / 10)::VARCHAR END AS vm_time,
    CASE type WHEN 'vm.state_set' THEN '' END AS reason,
    CASE type WHEN 'vm.entry_started' THEN 'fetch' WHEN 'experiment.launched' THEN 'bench' END AS name,
    CASE type WHEN 'vm.entry_started' THEN executed::VARCHAR END AS scheduled_time,
    CASE type WHEN 'vm.entry_started' THEN time_bucket(INTERVAL 1 SECOND, time) END AS due,
    CASE type WHEN 'vm.entry_started' THEN '/var/launch/' || id END AS directory,
    CASE type WHEN 'vm.output_captured' THEN 'stdout' END AS stream,
    CASE type WHEN 'vm.output_captured' THEN CASE phase WHEN 2 THEN 0 ELSE 80 END END AS first_byte,
    CASE type WHEN 'vm.output_captured' THEN strlen(said) END AS size,
    CASE type WHEN 'vm.entry_finished' THEN CASE WHEN hash(seq) % 50 = 0 THEN 1 ELSE 0 END END AS exit_code,
    CASE type WHEN 'vm.entry_finished' THEN 100 END AS stdout_size,
    CASE type WHEN 'vm.entry_finished' THEN 0 END AS stderr_size,
    CASE type WHEN 'vm.entry_finished' THEN FALSE END AS reboot,
    CASE type WHEN 'vm.entry_finished' THEN FALSE END AS timed_out,
    CASE type WHEN 'vm.entry_finished' THEN (hash(seq) % 3000)::BIGINT / 1000 END AS duration,
    CASE type WHEN 'vm.added' THEN '' END AS control_ip,
    CASE type WHEN 'vm.handler_attached' THEN '01a0b0c0-handler' END AS handler,
    CASE type WHEN 'vm.handler_attached' THEN 'lab1' END AS host,
    CASE type WHEN 'vm.entry_started' THEN '' END AS boot_id,
    CASE type WHEN 'schedule.published' THEN 'schedules' END AS store,
    CASE type WHEN 'experiment.launched' THEN TIMESTAMPTZ '2026-01-31 12:00:00+00' END AS launch_time,
    CASE type WHEN 'experiment.launched' THEN 60.0 END AS start_buffer,
    CASE type WHEN 'experiment.launched' THEN '' END AS guests,
    CASE type WHEN 'experiment.launched' THEN 'wait' END AS failed_vms,
    '{"type":"' || type || '",' || CASE type
        WHEN 'experiment.launched' THEN '"launch_time":"2026-01-31T12:00:00Z","name":"bench"'
        WHEN 'schedule.published' THEN '"server_name":"' || host || '","entries":[{"id":"1/fetch","start_time":1,"executable":"/usr/bin/fetch"}]'
        WHEN 'vm.added' THEN '"server_name":"' || host || '","server_uuid":"' || uuid || '"'
        WHEN 'vm.handler_attached' THEN '"handler":"01a0b0c0-handler","host":"lab1","server_uuid":"' || uuid || '"'
        WHEN 'vm.state_set' THEN '"state":"' || ['configuring', 'configured'][round % 2 + 1] || '","server_uuid":"' || uuid || '"'
        WHEN 'vm.time_ticked' THEN '"current_time":"' || (round + phase / 10)::VARCHAR || '","server_uuid":"' || uuid || '"'
        WHEN 'vm.entry_started' THEN '"name":"fetch","start_time":"' || executed || '","due":"' || strftime(time_bucket(INTERVAL 1 SECOND, time), '%Y-%m-%dT%H:%M:%SZ')
            || '","directory":"/var/launch/' || id || '","server_uuid":"' || uuid || '","entry":"' || id || '","attempt":1'
        WHEN 'vm.output_captured' THEN '"stream":"stdout","offset":' || CASE phase WHEN 2 THEN 0 ELSE 80 END || ',"size":' || strlen(said)
            || ',"text":' || to_json(said)::VARCHAR || ',"server_uuid":"' || uuid || '","entry":"' || id || '","attempt":1'
        WHEN 'vm.entry_finished' THEN '"exit_code":' || CASE WHEN hash(seq) % 50 = 0 THEN 1 ELSE 0 END || ',"stdout_size":100,"duration":'
            || (hash(seq) % 3000)::BIGINT / 1000 || ',"server_uuid":"' || uuid || '","entry":"' || id || '","attempt":1'
    END || '}' AS body
FROM named
