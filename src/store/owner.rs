//! One daemon a data directory: an advisory lock, with a note of who holds it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::StoreError;

/// The lock file's name within the data directory.
const LOCK_FILE: &str = "serin.lock";
/// A process that was killed keeps its lock until the kernel has taken it apart, or until a child that it was just making
/// runs its own program.
const DYING_MAX: Duration = Duration::from_secs(10);
/// Between taking the signal and being marked as exiting a killed process looks alive for a moment, so it must look so for
/// longer.
const LIVING_MIN: Duration = Duration::from_millis(300);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Who holds a directory, as they said; `None` when nobody does.
pub fn holder_of(dir: &Path) -> Option<String> {
    let mut file = File::open(dir.join(LOCK_FILE)).ok()?;
    if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        return None;
    }
    Some(note_in(&mut file))
}

/// Whether a directory is held by a process that has ended or is about to: a killed one keeps its sockets and its lock
/// until the last of its threads is gone.
pub fn is_held_by_the_dying(dir: &Path) -> bool {
    holder_of(dir).is_some_and(|note| is_of_the_dying(&note))
}

fn note_in(file: &mut File) -> String {
    let mut text = String::new();
    // A note that cannot be read says as little as none.
    let _ = file.rewind();
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
    /// Takes the directory or says within a second who has it; a holder that is dead or dying is waited for.
    pub fn take(dir: &Path, holder: &str) -> Result<Ownership, StoreError> {
        let path = dir.join(LOCK_FILE);
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true).mode(0o600);
        let opened = options.open(&path);
        // On a disk that takes nothing, a lock file that is there can be locked all the same.
        let opened = opened.or_else(|why| File::open(&path).map_err(|_| why));
        let mut file = opened.map_err(StoreError::file("open the lock file", &path))?;
        let (mut waited, mut lived) = (Duration::ZERO, Duration::ZERO);
        while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let note = note_in(&mut file);
            lived = if is_of_the_dying(&note) { Duration::ZERO } else { lived + LOOK_EVERY };
            if waited >= DYING_MAX || lived >= LIVING_MIN {
                return Err(StoreError::Held { dir: dir.to_owned(), holder: note });
            }
            std::thread::sleep(LOOK_EVERY);
            waited += LOOK_EVERY;
        }
        // On a disk that takes nothing there is no room for a note, and the lock is as good without one.
        let _ = own_like(dir, &path);
        let mut ownership = Ownership { file, path };
        let _ = ownership.note(holder);
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

impl Drop for Ownership {
    fn drop(&mut self) {
        // Closing would not do while a child that is just being made has the file, too.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// Gives a file that root made to whoever owns the directory: the service that runs there must be able to open it.
pub(super) fn own_like(dir: &Path, path: &Path) -> Result<(), StoreError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let give = || {
        let (of_dir, of_file) = (std::fs::metadata(dir)?, std::fs::metadata(path)?);
        if (of_dir.uid(), of_dir.gid()) == (of_file.uid(), of_file.gid()) {
            return Ok(());
        }
        chown(path, Some(of_dir.uid()), Some(of_dir.gid()))
    };
    give().map_err(StoreError::file("give to the owner of the data directory", path))
}

/// Whether the process that a note names has ended or is about to.
fn is_of_the_dying(note: &str) -> bool {
    let pid = note.split("pid ").nth(1).map(|rest| rest.split(|char: char| !char.is_ascii_digit()).next());
    // Nobody has written who it is yet, or there was no room for it: not for long, and it is told then.
    let Some(Some(pid)) = pid else { return false };
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    // The name before it may hold anything, parentheses too.
    // Of a process that is just being taken apart nothing may be left to read.
    let Some((_, rest)) = stat.rsplit_once(')') else { return true };
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let is_dead = matches!(fields.first(), Some(&("Z" | "X" | "x")));
    let flags: u64 = fields.get(6).and_then(|flags| flags.parse().ok()).unwrap_or(0);
    const EXITING: u64 = 0x4;
    is_dead || flags & EXITING != 0 || is_being_killed(pid)
}

fn is_being_killed(pid: &str) -> bool {
    const KILL: u64 = 1 << (libc::SIGKILL - 1);
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return true };
    let pending = status.lines().filter(|line| line.starts_with("SigPnd:") || line.starts_with("ShdPnd:"));
    let mut masks =
        pending.filter_map(|line| u64::from_str_radix(line.split_ascii_whitespace().nth(1)?, 16).ok());
    masks.any(|mask| mask & KILL != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_process_is_told_from_one_that_lives() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let note = format!("serin serve, pid {}, API http://127.0.0.1:1", child.id());
        assert!(!is_of_the_dying(&format!("serin serve, pid {}, API", std::process::id())));
        child.wait().unwrap();
        assert!(is_of_the_dying(&note));
        assert!(!is_of_the_dying("another process"));
    }
}
