-- What serin keeps. One writer changes it, through serin_writer(), a function that only serin's own writer defines:
-- a hand at the sqlite3 prompt may look but cannot change, and so cannot bypass the journal.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE functions (
    name   TEXT PRIMARY KEY NOT NULL,
    record TEXT NOT NULL CHECK (json_valid(record))
) STRICT, WITHOUT ROWID;

CREATE TABLE versions (
    function TEXT    NOT NULL REFERENCES functions (name),
    number   INTEGER NOT NULL CHECK (number > 0),
    record   TEXT    NOT NULL CHECK (json_valid(record)),
    PRIMARY KEY (function, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE aliases (
    function           TEXT    NOT NULL REFERENCES functions (name),
    name               TEXT    NOT NULL,
    function_version   INTEGER,          -- NULL is $LATEST
    additional_version INTEGER,
    additional_weight  INTEGER CHECK (additional_weight BETWEEN 0 AND 1000000),  -- parts per million
    description        TEXT    NOT NULL,
    revision           INTEGER NOT NULL,
    updated_at         INTEGER NOT NULL, -- milliseconds since 1970
    previous_stable    INTEGER,          -- what a rollback after success restores
    PRIMARY KEY (function, name),
    FOREIGN KEY (function, function_version) REFERENCES versions (function, number),
    FOREIGN KEY (function, additional_version) REFERENCES versions (function, number),
    FOREIGN KEY (function, previous_stable) REFERENCES versions (function, number),
    CHECK ((additional_version IS NULL) = (additional_weight IS NULL)),
    CHECK (additional_version IS NULL OR function_version IS NOT NULL),
    CHECK (additional_version <> function_version)
) STRICT, WITHOUT ROWID;

CREATE TABLE policies (
    function TEXT NOT NULL REFERENCES functions (name),
    scope    TEXT NOT NULL CHECK (scope IN ('function', 'version', 'alias')),
    name     TEXT NOT NULL,              -- empty for the function itself
    record   TEXT NOT NULL CHECK (json_valid(record)),
    PRIMARY KEY (function, scope, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE plans (
    digest        TEXT PRIMARY KEY NOT NULL,
    name          TEXT NOT NULL,
    bytes         BLOB NOT NULL,
    defaults_name TEXT,
    defaults      BLOB,
    CHECK ((defaults_name IS NULL) = (defaults IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE rollouts (
    id          TEXT    PRIMARY KEY NOT NULL,
    function    TEXT    NOT NULL,
    alias       TEXT    NOT NULL,
    phase       TEXT    NOT NULL,
    live        INTEGER NOT NULL CHECK (live IN (0, 1)),
    updated_at  INTEGER NOT NULL,
    plan_digest TEXT    NOT NULL REFERENCES plans (digest),
    record      TEXT    NOT NULL CHECK (json_valid(record)),
    evidence    TEXT CHECK (json_valid(evidence))
) STRICT, WITHOUT ROWID;
CREATE INDEX rollouts_live ON rollouts (id) WHERE live = 1;
CREATE INDEX rollouts_of_alias ON rollouts (function, alias, id);
CREATE INDEX rollouts_ended ON rollouts (updated_at) WHERE live = 0;

-- Versions that were taken out of an alias: no trigger starts them there again.
CREATE TABLE remembered (
    function TEXT    NOT NULL,
    alias    TEXT    NOT NULL,
    version  INTEGER NOT NULL,
    ending   TEXT    NOT NULL CHECK (ending IN ('rolledBack', 'aborted')),
    PRIMARY KEY (function, alias, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    seq      INTEGER PRIMARY KEY NOT NULL,
    at       INTEGER NOT NULL,
    function TEXT    NOT NULL,
    alias    TEXT,
    rollout  TEXT,
    tells_alias INTEGER NOT NULL CHECK (tells_alias IN (0, 1)), -- whether it says what the alias became
    entry    TEXT    NOT NULL CHECK (json_valid(entry))
) STRICT;
CREATE INDEX events_of_alias ON events (function, alias, seq);
CREATE INDEX events_of_rollout ON events (rollout, seq) WHERE rollout IS NOT NULL;
CREATE INDEX events_by_time ON events (at);
CREATE INDEX events_that_tell_aliases ON events (function, alias, seq) WHERE tells_alias = 1;

CREATE TABLE idempotency (
    key         TEXT PRIMARY KEY NOT NULL,
    fingerprint TEXT    NOT NULL,
    reply       TEXT    NOT NULL,
    at          INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_by_time ON idempotency (at);

CREATE TRIGGER events_are_append_only BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;

CREATE TRIGGER events_by_serin_only BEFORE INSERT ON events WHEN serin_writer() IS NOT 1
BEGIN SELECT RAISE(ABORT, 'only serin writes its store'); END;
CREATE TRIGGER events_pruned_by_serin_only BEFORE DELETE ON events WHEN serin_writer() IS NOT 1
BEGIN SELECT RAISE(ABORT, 'only serin writes its store'); END;
CREATE TRIGGER aliases_by_serin_only_1 BEFORE INSERT ON aliases WHEN serin_writer() IS NOT 1
BEGIN SELECT RAISE(ABORT, 'only serin writes its store'); END;
CREATE TRIGGER aliases_by_serin_only_2 BEFORE UPDATE ON aliases WHEN serin_writer() IS NOT 1
BEGIN SELECT RAISE(ABORT, 'only serin writes its store'); END;
CREATE TRIGGER aliases_by_serin_only_3 BEFORE DELETE ON aliases WHEN serin_writer() IS NOT 1
BEGIN SELECT RAISE(ABORT, 'only serin writes its store'); END;
CREATE TRIGGER rollouts_by_serin_only_1 BEFORE INSERT ON rollouts WHEN serin_writer() IS NOT 1
BEGIN SELECT RAISE(ABORT, 'only serin writes its store'); END;
CREATE TRIGGER rollouts_by_serin_only_2 BEFORE UPDATE ON rollouts WHEN serin_writer() IS NOT 1
BEGIN SELECT RAISE(ABORT, 'only serin writes its store'); END;
CREATE TRIGGER rollouts_by_serin_only_3 BEFORE DELETE ON rollouts WHEN serin_writer() IS NOT 1
BEGIN SELECT RAISE(ABORT, 'only serin writes its store'); END;
CREATE TRIGGER versions_by_serin_only_1 BEFORE INSERT ON versions WHEN serin_writer() IS NOT 1
BEGIN SELECT RAISE(ABORT, 'only serin writes its store'); END;
CREATE TRIGGER versions_are_immutable BEFORE UPDATE ON versions
BEGIN SELECT RAISE(ABORT, 'a published version is immutable'); END;
CREATE TRIGGER versions_by_serin_only_2 BEFORE DELETE ON versions WHEN serin_writer() IS NOT 1
BEGIN SELECT RAISE(ABORT, 'only serin writes its store'); END;
