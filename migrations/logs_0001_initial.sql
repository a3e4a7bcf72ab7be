-- The database of logs, logs.db: lines of invocations, and their numbers minute by minute.

CREATE TABLE functions (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE streams (
    id       INTEGER PRIMARY KEY,
    function INTEGER NOT NULL REFERENCES functions (id),
    name     TEXT    NOT NULL,
    version  TEXT    NOT NULL,
    first_at INTEGER NOT NULL,  -- milliseconds since 1970
    last_at  INTEGER NOT NULL,
    last_id  INTEGER NOT NULL,  -- its newest line
    bytes    INTEGER NOT NULL,  -- of all the lines it ever had
    UNIQUE (function, name)
) STRICT;

-- Ids rise in the order in which lines came, and none comes twice; the lowest go first.
CREATE TABLE lines (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    function INTEGER NOT NULL,
    stream   INTEGER NOT NULL,
    at       INTEGER NOT NULL,  -- milliseconds since 1970
    text     TEXT    NOT NULL
) STRICT;
CREATE INDEX lines_by_time ON lines (function, at, id);

CREATE TABLE series (
    id        INTEGER PRIMARY KEY,
    function  TEXT NOT NULL,
    qualifier TEXT NOT NULL,    -- an alias, or the version where it was addressed by number
    version   TEXT NOT NULL,    -- the one that ran
    UNIQUE (function, qualifier, version)
) STRICT;

CREATE TABLE minutes (
    series      INTEGER NOT NULL REFERENCES series (id),
    minute      INTEGER NOT NULL,  -- since 1970
    invocations INTEGER NOT NULL,
    errors      INTEGER NOT NULL,
    throttles   INTEGER NOT NULL,
    sum_us      INTEGER NOT NULL,
    durations   TEXT    NOT NULL,  -- how often each bucket was hit, as in 12:5,13:1
    PRIMARY KEY (series, minute)
) STRICT, WITHOUT ROWID;
CREATE INDEX minutes_by_time ON minutes (minute);
