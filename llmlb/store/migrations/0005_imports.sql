-- Files of an older installation that have been imported, and what became of each record.
CREATE TABLE imports (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    file_name TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    imported_at TEXT NOT NULL,
    UNIQUE (file_name, sha256)
);

CREATE TABLE import_records (
    import_id INTEGER NOT NULL REFERENCES imports (id) ON DELETE CASCADE,
    record_number INTEGER NOT NULL,
    record_id TEXT,
    outcome TEXT NOT NULL,
    remark TEXT,
    record TEXT,
    PRIMARY KEY (import_id, record_number)
);

CREATE INDEX import_records_by_id ON import_records (record_id);
