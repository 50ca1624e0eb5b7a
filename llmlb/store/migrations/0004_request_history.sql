CREATE TABLE request_history (
    id TEXT NOT NULL PRIMARY KEY,
    timestamp TEXT NOT NULL,
    request_type TEXT NOT NULL,
    model TEXT NOT NULL,
    endpoint_id TEXT,
    endpoint_name TEXT,
    endpoint_ip TEXT,
    client_ip TEXT,
    request_body TEXT,
    response_body TEXT,
    duration_ms REAL NOT NULL,
    status TEXT NOT NULL,
    error_message TEXT,
    completed_at TEXT NOT NULL,
    input_tokens INTEGER,
    output_tokens INTEGER,
    total_tokens INTEGER,
    api_key_id TEXT
);

CREATE INDEX request_history_by_time ON request_history (timestamp);
CREATE INDEX request_history_by_endpoint ON request_history (endpoint_id, timestamp);
CREATE INDEX request_history_by_model ON request_history (model, timestamp);
