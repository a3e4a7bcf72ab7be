//! One daemon a data directory: an advisory lock, with a note of who holds it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::StoreError;

/// The lock file's name within the data directory.
const LOCK_FILE: &str = "serin.lock";

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
            .open(&path)
            .map_err(StoreError::file("open the lock file", &path))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut text = String::new();
            let _ = file.read_to_string(&mut text);
            let holder =
                if text.trim().is_empty() { "another process".to_owned() } else { text.trim().to_owned() };
            return Err(StoreError::Held { dir: dir.to_owned(), holder });
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
