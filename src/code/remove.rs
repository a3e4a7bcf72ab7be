//! Removes trees that strangers' code has made: as deep, as closed and as oddly named as it liked.
//!
//! It goes down no further than one level: what lies deeper is moved up first. So neither the stack nor descriptors
//! limit how deep a tree may be, and no path becomes too long. Links are not followed.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, chmod, fstat, openat, renameat, unlinkat};
use rustix::io::Errno;

/// How many names of a directory are looked at together.
const NAMES_MAX: usize = 4096;

/// Removes a tree, of which the owner may not be able to read or write every directory.
pub fn remove_unpacked(place: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(place)?.is_dir() {
        return fs::remove_file(place);
    }
    let top = open(CWD, place.as_os_str().as_bytes())?;
    let mut number = 0;
    loop {
        let some = names(&top)?;
        if some.is_empty() {
            return Ok(unlinkat(CWD, place, AtFlags::REMOVEDIR)?);
        }
        for name in some {
            if !is_unlinked(&top, &name)? {
                empty(&open(&top, name.as_bytes())?, &top, &mut number)?;
                unlinkat(&top, &name, AtFlags::REMOVEDIR)?;
            }
        }
    }
}

/// Removes what is in a directory, and moves the directories in it up, under numbers for names.
fn empty(inner: &OwnedFd, top: &OwnedFd, number: &mut u64) -> io::Result<()> {
    loop {
        let some = names(inner)?;
        if some.is_empty() {
            return Ok(());
        }
        for name in some {
            if is_unlinked(inner, &name)? {
                continue;
            }
            // Who moves a directory changes it, too: its `..` is another one then.
            drop(open(inner, name.as_bytes())?);
            loop {
                *number += 1;
                match renameat(inner, &name, top, format!(".{number}")) {
                    Ok(()) => break,
                    // Something there has that name already; an empty directory would have been replaced.
                    Err(Errno::NOTDIR | Errno::NOTEMPTY | Errno::EXIST) => {}
                    Err(why) => return Err(why.into()),
                }
            }
        }
    }
}

/// Removes what is no directory; false if it is one.
fn is_unlinked(directory: &OwnedFd, name: &CString) -> io::Result<bool> {
    match unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) => Ok(true),
        Err(Errno::ISDIR) => Ok(false),
        Err(why) => Err(why.into()),
    }
}

/// Opens a directory to be emptied, and makes it one that its owner may empty.
fn open(parent: impl AsFd, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Found without being read, so that exactly this one is changed, whatever its name stands for by then.
    let found = openat(parent, name, flags | OFlags::PATH, Mode::empty())?;
    let mode = Mode::from_raw_mode(fstat(&found)?.st_mode);
    if !mode.contains(Mode::RWXU) {
        // Of another owner's, root needs none of it; whatever cannot be opened cannot be emptied, which is told then.
        let _ = chmod(format!("/proc/self/fd/{}", found.as_raw_fd()), Mode::RWXU);
    }
    Ok(openat(&found, c".", flags, Mode::empty())?)
}

/// Some of what is in a directory: few enough for memory, however many there are.
fn names(directory: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
        if names.len() == NAMES_MAX {
            break;
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use rustix::fs::mkdirat;

    use super::*;

    /// Within less stack than a level each would want.
    fn removed(place: &Path) -> io::Result<()> {
        let place = place.to_owned();
        let thread = std::thread::Builder::new().stack_size(256 << 10);
        thread.spawn(move || remove_unpacked(&place)).unwrap().join().unwrap()
    }

    #[test]
    fn no_tree_is_too_deep_to_be_removed() {
        // In memory, where there is that: a disk takes its time for each directory.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let place = dir.path().join("deep");
        fs::create_dir(&place).unwrap();
        let mut at = open(CWD, place.as_os_str().as_bytes()).unwrap();
        for _ in 0..20_000 {
            mkdirat(&at, "d", Mode::RWXU).unwrap();
            at = open(&at, b"d").unwrap();
        }
        removed(&place).unwrap();
        assert!(fs::symlink_metadata(&place).is_err());
    }

    #[test]
    fn nothing_in_a_tree_keeps_it_and_nothing_outside_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        let (place, outside) = (dir.path().join("tree"), dir.path().join("outside"));
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "kept").unwrap();
        fs::set_permissions(&outside, fs::Permissions::from_mode(0o500)).unwrap();
        // Names such as those that what is moved up is given.
        for path in ["a/.0/.1/.2", ".0/.0/.0", ".1", "b/c/d", "b/\u{202e}\n"] {
            fs::create_dir_all(place.join(path)).unwrap();
        }
        for path in [".3", "a/.4", "b/c/file"] {
            fs::write(place.join(path), "x").unwrap();
        }
        symlink(&outside, place.join("link")).unwrap();
        symlink(&outside, place.join("b/c/d/link")).unwrap();
        for path in ["b/c/d", "b/c", "a/.0", ".1"] {
            fs::set_permissions(place.join(path), fs::Permissions::from_mode(0o000)).unwrap();
        }
        removed(&place).unwrap();
        assert!(fs::symlink_metadata(&place).is_err());
        assert_eq!(fs::read(outside.join("kept")).unwrap(), b"kept");
        assert_eq!(fs::metadata(&outside).unwrap().permissions().mode() & 0o777, 0o500);
        removed(&outside).unwrap();
        assert!(removed(&outside).is_err(), "it is gone");
    }
}
