-- Who did what, in the order in which it was told. Each row has the hash of the one before it, and
-- one over all of its own columns. What an entry is about may be gone: rows refer to nothing.
CREATE TABLE audit_entries (
    sequence INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    action TEXT NOT NULL,
    actor_type TEXT NOT NULL,
    actor_id TEXT,
    actor_name TEXT,
    api_key_id TEXT,
    api_key_owner_id TEXT,
    client_address TEXT,
    method TEXT,
    path TEXT,
    status INTEGER,
    object_type TEXT,
    object_id TEXT,
    endpoint_id TEXT,
    model TEXT,
    request_id TEXT,
    detail TEXT,
    count INTEGER NOT NULL,
    previous_hash TEXT NOT NULL,
    hash TEXT NOT NULL
);

CREATE INDEX audit_entries_by_time ON audit_entries (at);
CREATE INDEX audit_entries_by_actor ON audit_entries (actor_type, actor_id);
CREATE INDEX audit_entries_by_method ON audit_entries (method);

-- The two ends of the chain: the last entry that was written, and the last that retention took.
CREATE TABLE audit_marks (
    name TEXT NOT NULL PRIMARY KEY,
    sequence INTEGER NOT NULL CHECK (typeof(sequence) = 'integer'),
    hash TEXT NOT NULL
);

INSERT INTO audit_marks VALUES
    ('head', 0, '0000000000000000000000000000000000000000000000000000000000000000'),
    ('anchor', 0, '0000000000000000000000000000000000000000000000000000000000000000');

-- Against mistakes, not against whoever may drop a trigger: that is what the hashes are for.
CREATE TRIGGER audit_entries_are_appended BEFORE INSERT ON audit_entries
WHEN NEW.sequence <= (SELECT sequence FROM audit_marks WHERE name = 'head')
BEGIN
    SELECT RAISE(ABORT, 'audit entries are only ever appended');
END;

CREATE TRIGGER audit_entries_never_change BEFORE UPDATE ON audit_entries
BEGIN
    SELECT RAISE(ABORT, 'audit entries never change');
END;

CREATE TRIGGER audit_entries_stay BEFORE DELETE ON audit_entries
WHEN OLD.sequence > COALESCE((SELECT sequence FROM audit_marks WHERE name = 'anchor'), 0)
BEGIN
    SELECT RAISE(ABORT, 'audit entries stay until retention takes them');
END;

CREATE TRIGGER audit_marks_stay BEFORE DELETE ON audit_marks
BEGIN
    SELECT RAISE(ABORT, 'the ends of the audit log stay');
END;

CREATE TRIGGER audit_marks_move_on BEFORE UPDATE ON audit_marks
WHEN NEW.sequence <= OLD.sequence OR NEW.name <> OLD.name
BEGIN
    SELECT RAISE(ABORT, 'the ends of the audit log only move on');
END;
