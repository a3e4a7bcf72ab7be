-- The database of asynchronous invocations, events.db: what was accepted and is not done yet.

CREATE TABLE events (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT    NOT NULL,  -- the request's, a UUID
    function    TEXT    NOT NULL,
    qualifier   TEXT,              -- an alias or a version; null is the bare function
    arn         TEXT    NOT NULL,
    trace       TEXT    NOT NULL,  -- headers, as JSON
    hops        INTEGER NOT NULL,
    accepted_at INTEGER NOT NULL,  -- milliseconds since 1970
    due_at      INTEGER NOT NULL,
    failures    INTEGER NOT NULL,
    owed        TEXT,              -- what destinations are still to be told, as JSON; then the payload is gone
    payload     BLOB    NOT NULL
) STRICT;
