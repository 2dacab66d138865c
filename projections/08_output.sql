-- projection: output
-- What programs wrote, byte for byte, as pieces; put together as lines; and the lines that are JSON, as JSON.
-- A piece may begin or end anywhere, in the middle of a line or of a character. Bytes that were captured twice count once.

-- section: table
CREATE TABLE output_chunk (
    seq         BIGINT NOT NULL,
    run         INTEGER NOT NULL,
    time        TIMESTAMPTZ NOT NULL,
    server_uuid VARCHAR NOT NULL,
    entry       VARCHAR NOT NULL,
    attempt     BIGINT NOT NULL,
    stream      VARCHAR NOT NULL,
    first_byte  BIGINT NOT NULL,
    data        BLOB NOT NULL
);
COMMENT ON TABLE output_chunk IS 'Every captured piece of output; read the views output, output_lines and output_json_lines';
COMMENT ON COLUMN output_chunk.seq IS 'Sequence of the event';
COMMENT ON COLUMN output_chunk.run IS 'Number of the run';
COMMENT ON COLUMN output_chunk.time IS 'When it was captured';
COMMENT ON COLUMN output_chunk.server_uuid IS 'The VM';
COMMENT ON COLUMN output_chunk.entry IS 'Id of the schedule entry';
COMMENT ON COLUMN output_chunk.attempt IS 'Which execution of the entry, from 1';
COMMENT ON COLUMN output_chunk.stream IS 'stdout or stderr';
COMMENT ON COLUMN output_chunk.first_byte IS 'Position of the first byte in the stream of the attempt, from 0';
COMMENT ON COLUMN output_chunk.data IS 'The bytes';

-- section: fold on vm.output_captured
INSERT INTO output_chunk
SELECT
    seq, run, time, server_uuid, entry, attempt, stream, first_byte,
    CASE
        WHEN json_exists(body, '$.data') THEN from_base64(body->>'$.data')
        ELSE encode(coalesce(body->>'$.text', ''))
    END
FROM batch
WHERE type = 'vm.output_captured' AND attempt IS NOT NULL AND first_byte IS NOT NULL
ORDER BY seq;

-- section: as of
CREATE VIEW output_chunk AS SELECT * FROM $present.output_chunk WHERE seq <= $sequence;

-- section: views
CREATE VIEW all_output AS
SELECT
    c.run, vm.added.server_name AS server_name, c.entry, c.attempt, c.stream, c.first_byte,
    octet_length(c.data) AS size, c.data, c.time, c.server_uuid, c.seq
FROM output_chunk AS c
LEFT JOIN vm ON vm.run = c.run AND vm.server_uuid = c.server_uuid;
COMMENT ON VIEW all_output IS 'Every captured piece of output, in every run';
COMMENT ON COLUMN all_output.run IS 'Number of the run';
COMMENT ON COLUMN all_output.server_name IS 'Name of the VM';
COMMENT ON COLUMN all_output.entry IS 'Id of the schedule entry';
COMMENT ON COLUMN all_output.attempt IS 'Which execution of the entry, from 1';
COMMENT ON COLUMN all_output.stream IS 'stdout or stderr';
COMMENT ON COLUMN all_output.first_byte IS 'Position of the first byte in the stream of the attempt, from 0';
COMMENT ON COLUMN all_output.size IS 'Number of bytes';
COMMENT ON COLUMN all_output.data IS 'The bytes';
COMMENT ON COLUMN all_output.time IS 'When it was captured';
COMMENT ON COLUMN all_output.server_uuid IS 'Identity of the VM';
COMMENT ON COLUMN all_output.seq IS 'Sequence of the event';

CREATE VIEW output AS
SELECT * FROM all_output WHERE run = (SELECT run FROM log_cursor);
COMMENT ON VIEW output IS 'Every captured piece of output, in the current run';
COMMENT ON COLUMN output.run IS 'Number of the run';
COMMENT ON COLUMN output.server_name IS 'Name of the VM';
COMMENT ON COLUMN output.entry IS 'Id of the schedule entry';
COMMENT ON COLUMN output.attempt IS 'Which execution of the entry, from 1';
COMMENT ON COLUMN output.stream IS 'stdout or stderr';
COMMENT ON COLUMN output.first_byte IS 'Position of the first byte in the stream of the attempt, from 0';
COMMENT ON COLUMN output.size IS 'Number of bytes';
COMMENT ON COLUMN output.data IS 'The bytes';
COMMENT ON COLUMN output.time IS 'When it was captured';
COMMENT ON COLUMN output.server_uuid IS 'Identity of the VM';
COMMENT ON COLUMN output.seq IS 'Sequence of the event';

-- Bytes are put together as text in which every byte outside printable ASCII is \xNN (DuckDB's own form of a blob, in which a
-- backslash is \x5C): it can be joined, and cut at line ends (\x0A), whatever the bytes are.
CREATE VIEW all_output_lines AS
WITH covered AS (
    SELECT
        *,
        coalesce(max(first_byte + octet_length(data)) OVER (
            PARTITION BY run, server_uuid, entry, attempt, stream ORDER BY first_byte, seq
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ), 0) AS covered
    FROM output_chunk
),
fresh AS (
    SELECT
        * EXCLUDE (data, covered),
        data[1 + greatest(0, covered - first_byte):] AS data
    FROM covered
),
split AS (
    SELECT
        run, server_uuid, entry, attempt, stream,
        max(time) AS time,
        string_split(string_agg(data::VARCHAR, '' ORDER BY first_byte, seq), '\x0A') AS parts
    FROM fresh
    GROUP BY run, server_uuid, entry, attempt, stream
),
numbered AS (
    SELECT
        * EXCLUDE (parts),
        len(parts) AS last,
        unnest(parts) AS raw,
        generate_subscripts(parts, 1)::INTEGER AS line
    FROM split
),
bare AS (
    SELECT * EXCLUDE (raw), line < last AS complete, regexp_replace(raw, '(\\x0D)+$', '') AS raw
    FROM numbered
    WHERE line < last OR raw <> ''
)
SELECT
    b.run, vm.added.server_name AS server_name, b.entry, b.attempt, b.stream, b.line,
    coalesce(
        try(decode(b.raw::BLOB)),
        -- Some byte is no UTF-8: take the line apart into characters and stray bytes, and put U+FFFD for each stray byte.
        array_to_string(list_transform(
            regexp_extract_all(
                b.raw,
                '\\xF[0-9A-F](?:\\x[89AB][0-9A-F]){3}|\\xE[0-9A-F](?:\\x[89AB][0-9A-F]){2}|'
                || '\\x[CD][0-9A-F]\\x[89AB][0-9A-F]|\\x[0-9A-F]{2}|[^\\]'
            ),
            lambda piece: coalesce(try(decode(piece::BLOB)), repeat('�', len(piece) // 4))
        ), '')
    ) AS text,
    b.complete, b.time, b.server_uuid
FROM bare AS b
LEFT JOIN vm ON vm.run = b.run AND vm.server_uuid = b.server_uuid;
COMMENT ON VIEW all_output_lines IS 'Output line by line, in every run';
COMMENT ON COLUMN all_output_lines.run IS 'Number of the run';
COMMENT ON COLUMN all_output_lines.server_name IS 'Name of the VM';
COMMENT ON COLUMN all_output_lines.entry IS 'Id of the schedule entry';
COMMENT ON COLUMN all_output_lines.attempt IS 'Which execution of the entry, from 1';
COMMENT ON COLUMN all_output_lines.stream IS 'stdout or stderr';
COMMENT ON COLUMN all_output_lines.line IS 'Number of the line in the stream of the attempt, from 1';
COMMENT ON COLUMN all_output_lines.text IS 'The line without its end; bytes that are no UTF-8 are shown as U+FFFD';
COMMENT ON COLUMN all_output_lines.complete IS 'Whether the line was ended, and not only begun';
COMMENT ON COLUMN all_output_lines.time IS 'When the last piece of this stream was captured';
COMMENT ON COLUMN all_output_lines.server_uuid IS 'Identity of the VM';

CREATE VIEW output_lines AS
SELECT * FROM all_output_lines WHERE run = (SELECT run FROM log_cursor);
COMMENT ON VIEW output_lines IS 'Output line by line, in the current run';
COMMENT ON COLUMN output_lines.run IS 'Number of the run';
COMMENT ON COLUMN output_lines.server_name IS 'Name of the VM';
COMMENT ON COLUMN output_lines.entry IS 'Id of the schedule entry';
COMMENT ON COLUMN output_lines.attempt IS 'Which execution of the entry, from 1';
COMMENT ON COLUMN output_lines.stream IS 'stdout or stderr';
COMMENT ON COLUMN output_lines.line IS 'Number of the line in the stream of the attempt, from 1';
COMMENT ON COLUMN output_lines.text IS 'The line without its end; bytes that are no UTF-8 are shown as U+FFFD';
COMMENT ON COLUMN output_lines.complete IS 'Whether the line was ended, and not only begun';
COMMENT ON COLUMN output_lines.time IS 'When the last piece of this stream was captured';
COMMENT ON COLUMN output_lines.server_uuid IS 'Identity of the VM';

CREATE VIEW output_json_lines AS
SELECT
    run, server_name, entry, attempt, stream, line,
    CASE WHEN json_valid(text) THEN text::JSON END AS json,
    complete, time, server_uuid
FROM output_lines
WHERE json_valid(text) AND regexp_matches(text, '^\s*(?:[{\["0-9]|-[0-9]|true|false|null)');
COMMENT ON VIEW output_json_lines IS 'The lines of the current run that are JSON: objects, and also bare numbers, strings and lists';
COMMENT ON COLUMN output_json_lines.run IS 'Number of the run';
COMMENT ON COLUMN output_json_lines.server_name IS 'Name of the VM';
COMMENT ON COLUMN output_json_lines.entry IS 'Id of the schedule entry';
COMMENT ON COLUMN output_json_lines.attempt IS 'Which execution of the entry, from 1';
COMMENT ON COLUMN output_json_lines.stream IS 'stdout or stderr';
COMMENT ON COLUMN output_json_lines.line IS 'Number of the line in the stream of the attempt, from 1';
COMMENT ON COLUMN output_json_lines.json IS 'The line as JSON: json->>''key'' takes a value out of it';
COMMENT ON COLUMN output_json_lines.complete IS 'Whether the line was ended, and not only begun';
COMMENT ON COLUMN output_json_lines.time IS 'When the last piece of this stream was captured';
COMMENT ON COLUMN output_json_lines.server_uuid IS 'Identity of the VM';
