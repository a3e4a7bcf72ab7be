//! Keys that lie in the data directory, each in a file of its own, so that no copy of the store has them.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// How long a key is.
pub const KEY_BYTES: usize = 32;

/// Takes the key in a file of a directory, which is `fresh` where there is none yet; true if it is.
///
/// The file is its owner's alone, and whole from when it can be seen.
pub fn take(directory: &Path, name: &str, fresh: [u8; KEY_BYTES]) -> io::Result<([u8; KEY_BYTES], bool)> {
    let path = directory.join(name);
    let mut is_fresh = false;
    if !path.exists() {
        let mut draft = tempfile::NamedTempFile::with_prefix_in(".seal-", directory)?;
        draft.write_all(&fresh)?;
        draft.as_file().sync_all()?;
        match draft.persist_noclobber(&path) {
            Ok(_) => {
                File::open(directory)?.sync_all()?;
                is_fresh = true;
            }
            // Another process on this directory was first, and its key counts.
            Err(why) if why.error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(why) => return Err(why.error),
        }
    }
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(&path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok((read(&path)?, is_fresh))
}

/// Reads a key that is there.
pub fn read(path: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let key = fs::read(path)?;
    key.as_slice().try_into().map_err(|_| {
        let why =
            format!("it has {} bytes instead of {KEY_BYTES}; remove it, and a new one is made", key.len());
        io::Error::new(io::ErrorKind::InvalidData, why)
    })
}
