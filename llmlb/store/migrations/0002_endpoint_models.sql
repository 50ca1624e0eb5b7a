CREATE TABLE endpoint_models (
    endpoint_id TEXT NOT NULL REFERENCES endpoints (id) ON DELETE CASCADE,
    model_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    capabilities TEXT NOT NULL,
    max_tokens INTEGER,
    PRIMARY KEY (endpoint_id, model_id)
);
