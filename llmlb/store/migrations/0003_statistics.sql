-- What an endpoint has done outlives it, so these rows do not refer to endpoints.
CREATE TABLE daily_statistics (
    endpoint_id TEXT NOT NULL,
    model TEXT NOT NULL,
    api TEXT NOT NULL,
    day TEXT NOT NULL,
    total_requests INTEGER NOT NULL,
    successful_requests INTEGER NOT NULL,
    failed_requests INTEGER NOT NULL,
    cancelled_requests INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    total_tokens INTEGER NOT NULL,
    total_duration_ms REAL NOT NULL,
    PRIMARY KEY (endpoint_id, model, api, day)
);

CREATE TABLE model_latencies (
    endpoint_id TEXT NOT NULL REFERENCES endpoints (id) ON DELETE CASCADE,
    model TEXT NOT NULL,
    api TEXT NOT NULL,
    latency_ms REAL NOT NULL,
    PRIMARY KEY (endpoint_id, model, api)
);
