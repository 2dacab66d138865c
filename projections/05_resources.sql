-- projection: resources
-- The files in the resource stores: which content has which name. Resources outlive runs.

-- section: table
CREATE TABLE resource (
    store       VARCHAR NOT NULL,
    name        VARCHAR NOT NULL,
    removed     BOOLEAN NOT NULL,
    seq         BIGINT NOT NULL,
    time        TIMESTAMPTZ NOT NULL,
    run         INTEGER NOT NULL,
    sha256      VARCHAR,
    size        BIGINT
);
COMMENT ON TABLE resource IS 'The last that was said of each resource; read the view resources';
COMMENT ON COLUMN resource.store IS 'Name of the resource store';
COMMENT ON COLUMN resource.name IS 'Name of the file in it';
COMMENT ON COLUMN resource.removed IS 'Whether it was removed';
COMMENT ON COLUMN resource.seq IS 'Sequence of the event that says so';
COMMENT ON COLUMN resource.time IS 'When it was uploaded, or removed';
COMMENT ON COLUMN resource.run IS 'Number of the run in which it was';
COMMENT ON COLUMN resource.sha256 IS 'SHA-256 of the content: its name in the object store';
COMMENT ON COLUMN resource.size IS 'Length in bytes';

-- section: fold on resource.uploaded, resource.removed
MERGE INTO resource AS r
USING (
    SELECT
        store, name, type = 'resource.removed' AS removed, seq, time, run,
        body->>'$.object.sha256' AS sha256, (body->>'$.object.size')::BIGINT AS size
    FROM batch
    WHERE type LIKE 'resource.%'
    QUALIFY row_number() OVER (PARTITION BY store, name ORDER BY seq DESC) = 1
) AS b
ON r.store = b.store AND r.name = b.name
WHEN MATCHED THEN UPDATE SET
    removed = b.removed, seq = b.seq, time = b.time, run = b.run, sha256 = b.sha256, size = b.size
WHEN NOT MATCHED THEN INSERT VALUES (b.store, b.name, b.removed, b.seq, b.time, b.run, b.sha256, b.size);

-- section: views
CREATE VIEW resources AS
SELECT store, name, size, sha256, time AS uploaded, run, seq
FROM resource
WHERE NOT removed
ORDER BY store, name;
COMMENT ON VIEW resources IS 'The files that the resource stores hold now';
COMMENT ON COLUMN resources.store IS 'Name of the resource store';
COMMENT ON COLUMN resources.name IS 'Name of the file in it';
COMMENT ON COLUMN resources.size IS 'Length in bytes';
COMMENT ON COLUMN resources.sha256 IS 'SHA-256 of the content: its name in the object store';
COMMENT ON COLUMN resources.uploaded IS 'When it was uploaded';
COMMENT ON COLUMN resources.run IS 'Number of the run in which it was uploaded';
COMMENT ON COLUMN resources.seq IS 'Sequence of the event that says so';
