-- What older versions wrote in plaintext and has been encrypted since, and nothing of it is left in the file.
CREATE TABLE erasures (
    what TEXT PRIMARY KEY,
    done_at TEXT NOT NULL
);
