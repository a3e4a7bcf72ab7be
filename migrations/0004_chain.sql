-- What serin wrote, link by link: each entry of the journal has a link with keyed digests of itself and of the rows that
-- were written with it. The key is in no database; a link's mac is of the one before it, too.

CREATE TABLE chain (
    link   INTEGER PRIMARY KEY NOT NULL,
    kind   TEXT NOT NULL CHECK (kind IN ('anchor', 'entry', 'note', 'prune', 'break', 'repair')),
    seq    INTEGER UNIQUE,             -- the entry
    digest BLOB,                       -- of the entry
    told   TEXT NOT NULL,              -- why, where there is no entry
    before BLOB NOT NULL,              -- the mac of the link before
    mac    BLOB NOT NULL,
    pruned BLOB,                       -- vouches that serin itself removed the entry
    bridge BLOB,                       -- vouches that serin itself removed the links before it
    CHECK ((kind = 'entry') = (seq IS NOT NULL)),
    CHECK ((kind = 'entry') = (digest IS NOT NULL))
) STRICT;
CREATE INDEX chain_without_entry ON chain (link) WHERE pruned IS NOT NULL OR kind IN ('note', 'prune');

CREATE TABLE row_digests (
    kind   TEXT    NOT NULL,           -- what the row is
    key    TEXT    NOT NULL,           -- which one, as a JSON array
    link   INTEGER NOT NULL REFERENCES chain (link) ON DELETE CASCADE,
    digest BLOB,                       -- NULL where the row was deleted
    PRIMARY KEY (kind, key, link)
) STRICT, WITHOUT ROWID;
CREATE INDEX row_digests_of_link ON row_digests (link);

CREATE TRIGGER chain_by_serin_only_1 BEFORE INSERT ON chain WHEN serin_writer() IS NOT 1
BEGIN SELECT RAISE(ABORT, 'only serin writes its store'); END;
CREATE TRIGGER chain_by_serin_only_2 BEFORE UPDATE ON chain WHEN serin_writer() IS NOT 1
BEGIN SELECT RAISE(ABORT, 'only serin writes its store'); END;
CREATE TRIGGER chain_by_serin_only_3 BEFORE DELETE ON chain WHEN serin_writer() IS NOT 1
BEGIN SELECT RAISE(ABORT, 'only serin writes its store'); END;
CREATE TRIGGER row_digests_by_serin_only_1 BEFORE INSERT ON row_digests WHEN serin_writer() IS NOT 1
BEGIN SELECT RAISE(ABORT, 'only serin writes its store'); END;
CREATE TRIGGER row_digests_by_serin_only_2 BEFORE UPDATE ON row_digests WHEN serin_writer() IS NOT 1
BEGIN SELECT RAISE(ABORT, 'only serin writes its store'); END;
CREATE TRIGGER row_digests_by_serin_only_3 BEFORE DELETE ON row_digests WHEN serin_writer() IS NOT 1
BEGIN SELECT RAISE(ABORT, 'only serin writes its store'); END;
CREATE TRIGGER functions_by_serin_only_1 BEFORE INSERT ON functions WHEN serin_writer() IS NOT 1
BEGIN SELECT RAISE(ABORT, 'only serin writes its store'); END;
CREATE TRIGGER functions_by_serin_only_2 BEFORE UPDATE ON functions WHEN serin_writer() IS NOT 1
BEGIN SELECT RAISE(ABORT, 'only serin writes its store'); END;
CREATE TRIGGER functions_by_serin_only_3 BEFORE DELETE ON functions WHEN serin_writer() IS NOT 1
BEGIN SELECT RAISE(ABORT, 'only serin writes its store'); END;
CREATE TRIGGER policies_by_serin_only_1 BEFORE INSERT ON policies WHEN serin_writer() IS NOT 1
BEGIN SELECT RAISE(ABORT, 'only serin writes its store'); END;
CREATE TRIGGER policies_by_serin_only_2 BEFORE UPDATE ON policies WHEN serin_writer() IS NOT 1
BEGIN SELECT RAISE(ABORT, 'only serin writes its store'); END;
CREATE TRIGGER policies_by_serin_only_3 BEFORE DELETE ON policies WHEN serin_writer() IS NOT 1
BEGIN SELECT RAISE(ABORT, 'only serin writes its store'); END;
CREATE TRIGGER plans_by_serin_only_1 BEFORE INSERT ON plans WHEN serin_writer() IS NOT 1
BEGIN SELECT RAISE(ABORT, 'only serin writes its store'); END;
CREATE TRIGGER plans_by_serin_only_2 BEFORE UPDATE ON plans WHEN serin_writer() IS NOT 1
BEGIN SELECT RAISE(ABORT, 'only serin writes its store'); END;
CREATE TRIGGER plans_by_serin_only_3 BEFORE DELETE ON plans WHEN serin_writer() IS NOT 1
BEGIN SELECT RAISE(ABORT, 'only serin writes its store'); END;
CREATE TRIGGER remembered_by_serin_only_1 BEFORE INSERT ON remembered WHEN serin_writer() IS NOT 1
BEGIN SELECT RAISE(ABORT, 'only serin writes its store'); END;
CREATE TRIGGER remembered_by_serin_only_2 BEFORE UPDATE ON remembered WHEN serin_writer() IS NOT 1
BEGIN SELECT RAISE(ABORT, 'only serin writes its store'); END;
CREATE TRIGGER remembered_by_serin_only_3 BEFORE DELETE ON remembered WHEN serin_writer() IS NOT 1
BEGIN SELECT RAISE(ABORT, 'only serin writes its store'); END;
CREATE TRIGGER idempotency_by_serin_only_1 BEFORE INSERT ON idempotency WHEN serin_writer() IS NOT 1
BEGIN SELECT RAISE(ABORT, 'only serin writes its store'); END;
CREATE TRIGGER idempotency_by_serin_only_2 BEFORE UPDATE ON idempotency WHEN serin_writer() IS NOT 1
BEGIN SELECT RAISE(ABORT, 'only serin writes its store'); END;
CREATE TRIGGER idempotency_by_serin_only_3 BEFORE DELETE ON idempotency WHEN serin_writer() IS NOT 1
BEGIN SELECT RAISE(ABORT, 'only serin writes its store'); END;
CREATE TRIGGER meta_by_serin_only_1 BEFORE INSERT ON meta WHEN serin_writer() IS NOT 1
BEGIN SELECT RAISE(ABORT, 'only serin writes its store'); END;
CREATE TRIGGER meta_by_serin_only_2 BEFORE UPDATE ON meta WHEN serin_writer() IS NOT 1
BEGIN SELECT RAISE(ABORT, 'only serin writes its store'); END;
CREATE TRIGGER meta_by_serin_only_3 BEFORE DELETE ON meta WHEN serin_writer() IS NOT 1
BEGIN SELECT RAISE(ABORT, 'only serin writes its store'); END;
CREATE TRIGGER counts_by_serin_only_3 BEFORE DELETE ON counts WHEN serin_writer() IS NOT 1
BEGIN SELECT RAISE(ABORT, 'only serin writes its store'); END;
