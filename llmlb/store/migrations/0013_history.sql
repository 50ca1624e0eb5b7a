-- The history is made anew: with all that is recorded of a request now, and with a number for each
-- row that stays what it is, as a rowid without a name does not (VACUUM may number rows anew). What
-- is long stands apart, so that a search reads few pages.
ALTER TABLE request_history RENAME TO older_history;

DROP INDEX request_history_by_time;
DROP INDEX request_history_by_endpoint;
DROP INDEX request_history_by_model;

CREATE TABLE request_history (
    sequence INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    timestamp TEXT NOT NULL,
    completed_at TEXT NOT NULL,
    request_id TEXT,
    request_type TEXT NOT NULL,
    path TEXT,
    stream INTEGER,
    model TEXT NOT NULL,
    known_model INTEGER,
    served_model TEXT,
    endpoint_id TEXT,
    endpoint_name TEXT,
    endpoint_ip TEXT,
    only_endpoint INTEGER,
    api_key_id TEXT,
    user_id TEXT,
    client_ip TEXT,
    client_group TEXT,
    outcome TEXT NOT NULL,
    http_status INTEGER,
    error_code TEXT,
    error_message TEXT,
    attempts INTEGER,
    waited_ms REAL,
    duration_ms REAL NOT NULL,
    time_to_first_token_ms REAL,
    input_tokens INTEGER,
    output_tokens INTEGER,
    total_tokens INTEGER,
    tokens_estimated INTEGER,
    tokens_per_s REAL,
    request_bytes INTEGER,
    response_bytes INTEGER,
    has_bodies INTEGER NOT NULL,
    kept_bytes INTEGER NOT NULL
);

-- What is read of one request only.
CREATE TABLE request_details (
    sequence INTEGER PRIMARY KEY REFERENCES request_history (sequence) ON DELETE CASCADE,
    decision TEXT,
    request_body TEXT,
    response_body TEXT
);

-- How much there is, which would take long to count.
CREATE TABLE history_size (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    requests INTEGER NOT NULL,
    bytes INTEGER NOT NULL
);

INSERT INTO history_size VALUES (1, 0, 0);

-- Which models were asked for: what a part of a name is looked for in.
CREATE TABLE history_models (
    model TEXT NOT NULL PRIMARY KEY,
    requests INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TRIGGER request_history_grows AFTER INSERT ON request_history
BEGIN
    UPDATE history_size SET requests = requests + 1, bytes = bytes + NEW.kept_bytes;
    INSERT INTO history_models VALUES (NEW.model, 1)
        ON CONFLICT (model) DO UPDATE SET requests = requests + 1;
END;

CREATE TRIGGER request_history_shrinks AFTER DELETE ON request_history
BEGIN
    UPDATE history_size SET requests = requests - 1, bytes = bytes - OLD.kept_bytes;
    UPDATE history_models SET requests = requests - 1 WHERE model = OLD.model;
    DELETE FROM history_models WHERE model = OLD.model AND requests <= 0;
END;

INSERT INTO request_history (
    id, timestamp, completed_at, request_type, model, endpoint_id, endpoint_name, endpoint_ip,
    api_key_id, client_ip, client_group, outcome, error_message, duration_ms,
    input_tokens, output_tokens, total_tokens, has_bodies, kept_bytes
)
SELECT
    id, timestamp, completed_at, request_type, model, endpoint_id, endpoint_name, endpoint_ip,
    api_key_id, client_ip, client_group(client_ip),
    CASE status WHEN 'success' THEN 'succeeded' ELSE 'failed' END, error_message, duration_ms,
    input_tokens, output_tokens, total_tokens,
    request_body IS NOT NULL OR response_body IS NOT NULL,
    1000 + LENGTH(CAST(COALESCE(request_body, '') AS BLOB))
        + LENGTH(CAST(COALESCE(response_body, '') AS BLOB))
FROM older_history
ORDER BY timestamp, id;

INSERT INTO request_details (sequence, request_body, response_body)
SELECT new.sequence, old.request_body, old.response_body
FROM older_history AS old JOIN request_history AS new ON new.id = old.id
WHERE old.request_body IS NOT NULL OR old.response_body IS NOT NULL;

DROP TABLE older_history;

-- Each ends in the time and, as every index does, in the number: the order in which rows are shown.
-- The last one has all that the figures of clients are made of.
CREATE INDEX request_history_by_time ON request_history (timestamp);
CREATE INDEX request_history_by_model ON request_history (model, timestamp);
CREATE INDEX request_history_by_outcome ON request_history (outcome, timestamp);
CREATE INDEX request_history_by_endpoint ON request_history (endpoint_id, timestamp)
    WHERE endpoint_id IS NOT NULL;
CREATE INDEX request_history_by_key ON request_history (api_key_id, timestamp)
    WHERE api_key_id IS NOT NULL;
CREATE INDEX request_history_by_error ON request_history (error_code, timestamp)
    WHERE error_code IS NOT NULL;
CREATE INDEX request_history_by_request_id ON request_history (request_id, timestamp)
    WHERE request_id IS NOT NULL;
CREATE INDEX request_history_by_client ON request_history (client_group, timestamp)
    WHERE client_group IS NOT NULL;
CREATE INDEX request_history_of_clients ON request_history (timestamp, client_group, model)
    WHERE client_group IS NOT NULL;

-- What operators set on the dashboard.
CREATE TABLE dashboard_settings (
    key TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL,
    updated_at TEXT NOT NULL
);
