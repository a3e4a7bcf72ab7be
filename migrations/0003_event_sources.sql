-- Event source mappings; they outlive the function they name, as they do on AWS.

CREATE TABLE event_sources (
    id     TEXT PRIMARY KEY NOT NULL,
    record TEXT NOT NULL CHECK (json_valid(record))
) STRICT, WITHOUT ROWID;

CREATE TRIGGER event_sources_by_serin_only_1 BEFORE INSERT ON event_sources WHEN serin_writer() IS NOT 1
BEGIN SELECT RAISE(ABORT, 'only serin writes its store'); END;
CREATE TRIGGER event_sources_by_serin_only_2 BEFORE UPDATE ON event_sources WHEN serin_writer() IS NOT 1
BEGIN SELECT RAISE(ABORT, 'only serin writes its store'); END;
CREATE TRIGGER event_sources_by_serin_only_3 BEFORE DELETE ON event_sources WHEN serin_writer() IS NOT 1
BEGIN SELECT RAISE(ABORT, 'only serin writes its store'); END;
