//! What a file says of itself before SQLite touches it: whose it is, and of which schema.
//!
//! Whoever opens a database in WAL mode through SQLite leaves traces beside it. A file that is refused must stay as it
//! was, so its first page is read here, from the write-ahead log where that holds a newer one.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::StoreError;
use crate::store::database::{APPLICATION_ID, SCHEMA_VERSION, beside};

const MAGIC: &[u8; 16] = b"SQLite format 3\0";
const WAL_HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// The file header, and that of the first page of the schema behind it.
const NEEDED_BYTES: usize = 112;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// It is not there, or nothing is in it.
    Absent,
    /// It is no database.
    NoDatabase,
    /// A database.
    Database { application_id: i64, schema: i64, has_tables: bool },
}

/// Looks at a file without a trace.
pub(super) fn read(path: &Path) -> Result<Header, StoreError> {
    let failed = |why| StoreError::file("read", path)(why);
    let mut first = Vec::new();
    // Whoever opens a pipe waits for its other end, unless they say that they do not.
    match File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path) {
        Ok(file) if file.metadata().map_err(failed)?.file_type().is_fifo() => {
            return Err(StoreError::Pipe { path: path.to_owned() });
        }
        Ok(file) => file.take(NEEDED_BYTES as u64).read_to_end(&mut first).map_err(failed)?,
        Err(why) if why.kind() == ErrorKind::NotFound => return Ok(Header::Absent),
        Err(why) => return Err(failed(why)),
    };
    if first.is_empty() {
        return Ok(Header::Absent);
    }
    if first.len() < NEEDED_BYTES || !first.starts_with(MAGIC) {
        return Ok(Header::NoDatabase);
    }
    // A log that cannot be read is SQLite's to complain about.
    if let Some(newer) = first_page_in_wal(&beside(path, "-wal")).ok().flatten()
        && newer.starts_with(MAGIC)
    {
        first = newer;
    }
    let number =
        |at: usize| i64::from(i32::from_be_bytes([first[at], first[at + 1], first[at + 2], first[at + 3]]));
    let is_leaf = first[100] == 13;
    let cells = u16::from_be_bytes([first[103], first[104]]);
    Ok(Header::Database { application_id: number(68), schema: number(60), has_tables: !is_leaf || cells > 0 })
}

/// Checks that a file is serin's, and of a schema this binary knows; a file that is not there is nobody else's.
pub(super) fn check(path: &Path) -> Result<Header, StoreError> {
    let header = read(path)?;
    match header {
        Header::NoDatabase => Err(StoreError::Foreign { path: path.to_owned() }),
        Header::Database { application_id, has_tables, .. }
            if application_id != APPLICATION_ID && has_tables =>
        {
            Err(StoreError::Foreign { path: path.to_owned() })
        }
        Header::Database { schema, .. } if schema > SCHEMA_VERSION => {
            Err(StoreError::NewerSchema { path: path.to_owned(), found: schema, known: SCHEMA_VERSION })
        }
        Header::Absent | Header::Database { .. } => Ok(header),
    }
}

/// What a check found in which files, so that a long log is read a second time only if it is another one by then.
pub(super) struct Checked {
    files: [Option<Stamp>; 2],
    header: Header,
}

/// Device, inode, length, and when anything of a file was changed last: nobody can set that back.
type Stamp = (u64, u64, u64, i64, i64);

impl Checked {
    /// Checks a file.
    pub(super) fn now(path: &Path) -> Result<Checked, StoreError> {
        // Before they are read: what changes meanwhile is read again.
        let files = stamps(path);
        Ok(Checked { files, header: check(path)? })
    }

    /// Checks it again, unless it is as it was.
    pub(super) fn again(self, path: &Path) -> Result<Header, StoreError> {
        if self.files == stamps(path) { Ok(self.header) } else { check(path) }
    }
}

fn stamps(path: &Path) -> [Option<Stamp>; 2] {
    [path.to_owned(), beside(path, "-wal")].map(|path| {
        let meta = std::fs::metadata(path).ok()?;
        Some((meta.dev(), meta.ino(), meta.len(), meta.ctime(), meta.ctime_nsec()))
    })
}

/// The beginning of the first page as the last transaction in a write-ahead log left it.
fn first_page_in_wal(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    let mut wal = match File::open(path) {
        Ok(file) => file,
        Err(why) if why.kind() == ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(why),
    };
    let mut header = [0; WAL_HEADER_BYTES];
    if wal.read_exact(&mut header).is_err() {
        return Ok(None);
    }
    let word = |bytes: &[u8], at: usize| {
        u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    };
    let page_bytes = word(&header, 8) as usize;
    if word(&header, 0) & !1 != 0x377f_0682 || !(512..=65_536).contains(&page_bytes) {
        return Ok(None);
    }
    let is_big_endian = word(&header, 0) & 1 == 1;
    let mut sum = checksum((0, 0), &header[..24], is_big_endian);
    if sum != (word(&header, 24), word(&header, 28)) {
        return Ok(None);
    }
    let (mut pending, mut committed) = (None, None);
    let mut frame = vec![0; FRAME_HEADER_BYTES + page_bytes];
    wal.seek(SeekFrom::Start(WAL_HEADER_BYTES as u64))?;
    let mut wal = std::io::BufReader::new(wal);
    // A frame that is torn, or left from before the log was begun anew, ends it.
    while wal.read_exact(&mut frame).is_ok() && frame[8..16] == header[16..24] {
        sum = checksum(sum, &frame[..8], is_big_endian);
        sum = checksum(sum, &frame[FRAME_HEADER_BYTES..], is_big_endian);
        if sum != (word(&frame, 16), word(&frame, 20)) {
            break;
        }
        if word(&frame, 0) == 1 {
            pending = Some(frame[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + NEEDED_BYTES].to_vec());
        }
        if word(&frame, 4) != 0 {
            committed = pending.take().or(committed);
        }
    }
    Ok(committed)
}

/// SQLite's checksum of write-ahead logs, <https://www.sqlite.org/fileformat2.html#walformat>.
fn checksum((mut first, mut second): (u32, u32), bytes: &[u8], is_big_endian: bool) -> (u32, u32) {
    let word = if is_big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
    for [a, b, c, d, e, f, g, h] in bytes.as_chunks().0 {
        first = first.wrapping_add(word([*a, *b, *c, *d])).wrapping_add(second);
        second = second.wrapping_add(word([*e, *f, *g, *h])).wrapping_add(first);
    }
    (first, second)
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    #[test]
    fn the_schema_is_read_from_the_log_where_it_is_newer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("serin.db");
        assert_eq!(read(&path).unwrap(), Header::Absent);
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "journal_mode", "wal").unwrap();
        let of = |schema, has_tables| Header::Database { application_id: 7, schema, has_tables };
        connection.execute_batch("PRAGMA application_id = 7; PRAGMA user_version = 1").unwrap();
        assert_eq!(read(&path).unwrap(), of(1, false));
        connection.execute_batch("CREATE TABLE t (x); PRAGMA user_version = 2").unwrap();
        let in_file = std::fs::read(&path).unwrap();
        assert_ne!(in_file[63], 2, "it is in the log alone");
        assert_eq!(read(&path).unwrap(), of(2, true));
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        assert_eq!(read(&path).unwrap(), of(2, true));
        // Frames of a transaction that has not ended count for nothing.
        connection
            .execute_batch("PRAGMA cache_size = 1; BEGIN; PRAGMA user_version = 3; CREATE TABLE u (x)")
            .unwrap();
        assert_eq!(read(&path).unwrap(), of(2, true));
        std::fs::write(
            &path,
            "a text that is long enough to be the head of some database, or so it may seem to whoever \
                               does not look at it",
        )
        .unwrap();
        assert_eq!(read(&path).unwrap(), Header::NoDatabase);
    }
}
