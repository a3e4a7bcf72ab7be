-- Invocations that say nothing themselves, many in a row: their lines are made when they are read.
CREATE TABLE runs (
    id       INTEGER PRIMARY KEY,  -- the number of the last of their lines; those before are theirs, too
    function INTEGER NOT NULL,
    stream   INTEGER NOT NULL,
    first_at INTEGER NOT NULL,     -- milliseconds since 1970, of their lines
    last_at  INTEGER NOT NULL,
    packed   BLOB    NOT NULL      -- of each 32 bytes: its id, when it ended in milliseconds, how many microseconds it took
) STRICT;
CREATE INDEX runs_by_first_time ON runs (function, first_at, id);
CREATE INDEX runs_by_last_time ON runs (function, last_at, id);
