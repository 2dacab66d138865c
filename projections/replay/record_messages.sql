-- The events of a read model as messages: the file of a read model keeps their parts, not their bytes.
SELECT
    seq,
    epoch_us(stored) * 1000 AS stored_ns,
    subject,
    type,
    server_uuid,
    server_name,
    encode(
        '{"id":' || to_json(id) || ',"time":"' || strftime(time, '%Y-%m-%dT%H:%M:%S.%fZ') || '","producer":' || to_json(producer)
        || ',"version":' || coalesce(version, 9223372036854775807) || ',"body":' || body || '}'
    ) AS payload
FROM record.events
