-- What a text is found by, beside models and request ids: the names under which models were served
-- where these are not what was asked for, and the names of endpoints. The last two are of the few
-- requests that have something to read, which are looked through one by one.
CREATE INDEX request_history_by_served_model ON request_history (served_model, timestamp)
    WHERE served_model <> model;
CREATE INDEX request_history_by_endpoint_name ON request_history (endpoint_name, timestamp)
    WHERE endpoint_name IS NOT NULL;
CREATE INDEX request_history_with_errors ON request_history (timestamp)
    WHERE error_code IS NOT NULL OR error_message IS NOT NULL;
CREATE INDEX request_history_with_bodies ON request_history (timestamp) WHERE has_bodies;
