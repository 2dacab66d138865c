-- The files in the resource stores.
-- parameter store: only of this store
-- parameter name: only the file of this name
SELECT store, name, size, sha256, uploaded, run, seq FROM resources
WHERE ($store::VARCHAR IS NULL OR store = $store::VARCHAR) AND ($name::VARCHAR IS NULL OR name = $name::VARCHAR)
ORDER BY store, name
