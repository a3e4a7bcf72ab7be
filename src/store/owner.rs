//! One daemon a data directory: an advisory lock, with a note of who holds it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::StoreError;

/// The lock file's name within the data directory.
const LOCK_FILE: &str = "serin.lock";

/// Who holds a directory, as they said; `None` when nobody does.
pub fn holder_of(dir: &Path) -> Option<String> {
    let mut file = File::open(dir.join(LOCK_FILE)).ok()?;
    if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        return None;
    }
    Some(note_in(&mut file))
}

fn note_in(file: &mut File) -> String {
    let mut text = String::new();
    // A note that cannot be read says as little as none.
    let _ = file.read_to_string(&mut text);
    if text.trim().is_empty() { "another process".to_owned() } else { text.trim().to_owned() }
}

/// The lock on a data directory; released when dropped, or when the process dies.
#[derive(Debug)]
pub struct Ownership {
    file: File,
    path: PathBuf,
}

impl Ownership {
    /// Takes the directory or says at once who has it.
    pub fn take(dir: &Path, holder: &str) -> Result<Ownership, StoreError> {
        let path = dir.join(LOCK_FILE);
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(StoreError::file("open the lock file", &path))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(StoreError::Held { dir: dir.to_owned(), holder: note_in(&mut file) });
        }
        let mut ownership = Ownership { file, path };
        ownership.note(holder)?;
        Ok(ownership)
    }

    /// Rewrites the note of who holds the directory.
    pub fn note(&mut self, holder: &str) -> Result<(), StoreError> {
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(holder.as_bytes())
        };
        write(&mut self.file).map_err(StoreError::file("write the lock file", &self.path))
    }
}
