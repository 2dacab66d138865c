-- Where the events lie that somebody wants to read, and how many they are.
-- parameter first: sequence of the first
-- parameter last: sequence of the last
-- parameter types: only events of these types
-- parameter uuids: only events of the VMs of these uuids, and what is said of the names in "names"
-- parameter names: the names of these VMs, for the events of their schedules
SELECT min(seq) AS first, max(seq) AS last, count(*) AS events
FROM memory.main.recorded
WHERE seq BETWEEN $first::BIGINT AND $last::BIGINT
    AND ($types::VARCHAR[] IS NULL OR list_contains($types::VARCHAR[], type))
    AND (
        $uuids::VARCHAR[] IS NULL
        OR list_contains($uuids::VARCHAR[], server_uuid)
        OR (server_uuid IS NULL AND list_contains($names::VARCHAR[], server_name))
    )
