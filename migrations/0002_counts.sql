-- The counts of rollouts in blocks, for `serin history --counts`; they go when their rollout goes.

CREATE TABLE counts (
    rollout TEXT    NOT NULL REFERENCES rollouts (id) ON DELETE CASCADE,
    start   INTEGER NOT NULL,           -- milliseconds of the daemon's uptime
    blocks  TEXT    NOT NULL,           -- a line a block: end, weight in parts per million, and the four counts
    PRIMARY KEY (rollout, start)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER counts_by_serin_only_1 BEFORE INSERT ON counts WHEN serin_writer() IS NOT 1
BEGIN SELECT RAISE(ABORT, 'only serin writes its store'); END;
CREATE TRIGGER counts_by_serin_only_2 BEFORE UPDATE ON counts WHEN serin_writer() IS NOT 1
BEGIN SELECT RAISE(ABORT, 'only serin writes its store'); END;
