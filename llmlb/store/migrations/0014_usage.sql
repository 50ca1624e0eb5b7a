ALTER TABLE daily_statistics ADD COLUMN refused_requests INTEGER NOT NULL DEFAULT 0;
ALTER TABLE daily_statistics ADD COLUMN estimated_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE daily_statistics ADD COLUMN timed_output_tokens INTEGER NOT NULL DEFAULT 0;
-- There was no telling them apart; most of what an endpoint makes belongs to what succeeds.
UPDATE daily_statistics SET timed_output_tokens = output_tokens;

-- Clients' requests, where daily_statistics has attempts. '' stands for no endpoint (nobody was
-- asked), a model that nobody has (clients can make up any number of names), and no key.
CREATE TABLE daily_usage (
    day TEXT NOT NULL,
    endpoint_id TEXT NOT NULL,
    model TEXT NOT NULL,
    api TEXT NOT NULL,
    key_id TEXT NOT NULL,
    total_requests INTEGER NOT NULL,
    successful_requests INTEGER NOT NULL,
    failed_requests INTEGER NOT NULL,
    cancelled_requests INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    total_tokens INTEGER NOT NULL,
    total_duration_ms REAL NOT NULL,
    refused_requests INTEGER NOT NULL,
    estimated_tokens INTEGER NOT NULL,
    timed_output_tokens INTEGER NOT NULL,
    PRIMARY KEY (day, endpoint_id, model, api, key_id)
);

-- Of what came before, attempts are all that is known.
INSERT INTO daily_usage
SELECT day, endpoint_id, model, api, '', total_requests, successful_requests, failed_requests,
       cancelled_requests, input_tokens, output_tokens, total_tokens, total_duration_ms,
       refused_requests, estimated_tokens, timed_output_tokens
FROM daily_statistics;

-- How the clients' requests of one minute ended. Only the last hour is kept.
CREATE TABLE minute_counts (
    minute TEXT NOT NULL PRIMARY KEY,
    success INTEGER NOT NULL,
    error INTEGER NOT NULL,
    cancelled INTEGER NOT NULL
);

-- HdrHistograms of successful attempts; NULL where nothing was measured.
CREATE TABLE daily_speeds (
    sequence INTEGER PRIMARY KEY,
    day TEXT NOT NULL,
    endpoint_id TEXT NOT NULL,
    model TEXT NOT NULL,
    latency BLOB,
    time_to_first_token BLOB,
    tokens_per_s BLOB,
    UNIQUE (day, endpoint_id, model)
);
