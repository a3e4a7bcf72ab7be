//! A database's file and its write-ahead log, as they are looked at before SQLite is: two bytes say how long the first is.

use crate::store::header_of;

/// Whatever they are, they are looked at without a trace.
pub(super) fn run(data: &[u8]) {
    let Some((length, rest)) = data.split_first_chunk::<2>() else { return };
    let (database, log) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
    let Ok(dir) = tempfile::tempdir() else { return };
    let path = dir.path().join("serin.db");
    std::fs::write(&path, database).expect("a directory that was just made takes files");
    std::fs::write(dir.path().join("serin.db-wal"), log).expect("and another");
    let said = header_of(&path);
    assert_eq!(header_of(&path), said);
    assert_eq!(std::fs::read(&path).expect("it is there"), database);
    assert_eq!(std::fs::read_dir(dir.path()).expect("it is there").count(), 2);
}
