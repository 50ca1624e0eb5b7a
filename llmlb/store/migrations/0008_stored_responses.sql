-- Which endpoint made which stored response or conversation. An entry outlives its endpoint, so
-- that whoever asks for it is told that the endpoint is gone: these rows do not refer to endpoints.
CREATE TABLE stored_responses (
    sequence INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    endpoint_id TEXT NOT NULL,
    owner TEXT,
    made_at TEXT NOT NULL
);
