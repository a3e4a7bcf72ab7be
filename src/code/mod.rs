//! The code of functions: zips in `DATA_DIR/code`, each named by the SHA-256 of its bytes.
//!
//! A zip is checked, written and synced before the commit that names it, and swept once nothing names it any more.
//! Whoever is about to name one, or runs one, holds it meanwhile: what is held is not swept. Code is unpacked on demand, to
//! a place of whoever runs it.

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzed;
mod remove;
mod unpack;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use remove::remove_unpacked;

use serin_core::lambda::process::CodeSha256;

pub use unpack::{UNPACKED_BYTES_MAX, ZipFault};

/// The largest zip that can be uploaded: 50 MiB, as on AWS.
pub const ZIP_BYTES_MAX: usize = 50 << 20;

/// Why code could not be kept or had.
#[derive(Debug, thiserror::Error)]
pub enum CodeError {
    /// The zip cannot be what a function runs.
    #[error(transparent)]
    Zip(#[from] ZipFault),
    /// There is no such code.
    #[error("the code {0} is not in the data directory; upload it again")]
    Absent(String),
    /// The zip is not what it was.
    #[error("{0} is damaged; upload the code again")]
    Damaged(PathBuf),
    /// The disk or the directory refused.
    #[error("cannot {attempt} {path}: {source}")]
    File {
        /// What was tried.
        attempt: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl CodeError {
    /// Whether the disk is full.
    pub fn is_full(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, CodeError::File { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }

    fn file(attempt: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> CodeError {
        let path = path.to_owned();
        move |source| CodeError::File { attempt, path, source }
    }
}

/// The directory of functions' code; cheap to clone.
#[derive(Clone)]
pub struct CodeDirectory(Arc<Shared>);

struct Shared {
    root: PathBuf,
    /// How often each code is held; the lock is also what a sweep excludes new holds by.
    held: Mutex<BTreeMap<CodeSha256, usize>>,
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, BTreeMap<CodeSha256, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps code from being swept for as long as it lives.
pub struct Held {
    shared: Arc<Shared>,
    digest: CodeSha256,
}

impl Held {
    /// Which code.
    pub fn digest(&self) -> CodeSha256 {
        self.digest
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = self.shared.held();
        match held.get_mut(&self.digest) {
            Some(count) if *count > 1 => *count -= 1,
            _ => _ = held.remove(&self.digest),
        }
    }
}

impl CodeDirectory {
    /// Opens the code directory of a data directory, making it if need be, and clears what a crash left unfinished.
    pub fn open(data_dir: &Path) -> Result<CodeDirectory, CodeError> {
        let code = CodeDirectory::open_beside(data_dir)?;
        code.clear_unfinished()?;
        Ok(code)
    }

    /// Opens the code directory while another process may be writing to it.
    pub fn open_beside(data_dir: &Path) -> Result<CodeDirectory, CodeError> {
        let root = data_dir.join("code");
        if !root.exists() {
            // Synced where it is named: what is put below it is to outlast a power loss.
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&root);
            let made = made.and_then(|()| File::open(data_dir)?.sync_all());
            made.map_err(CodeError::file("make the code directory", &root))?;
        }
        Ok(CodeDirectory(Arc::new(Shared { root, held: Mutex::default() })))
    }

    /// Clears what somebody who is gone has left unfinished.
    pub fn clear_unfinished(&self) -> Result<(), CodeError> {
        let root = &self.0.root;
        for entry in fs::read_dir(root).map_err(CodeError::file("read", root))? {
            let path = entry.map_err(CodeError::file("read", root))?.path();
            if digest_of(&path).is_none() {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// Keeps a zip: checks that it unpacks, writes and syncs it, and holds it for the commit that will name it.
    pub fn put(&self, zip: &[u8]) -> Result<Held, CodeError> {
        unpack::check(zip)?;
        let held = self.hold(CodeSha256::of(zip));
        let path = self.zip_path(held.digest);
        if fs::metadata(&path).is_ok_and(|found| found.len() == zip.len() as u64) {
            return Ok(held);
        }
        let root = &self.0.root;
        let mut draft = tempfile::NamedTempFile::with_prefix_in(".uploading-", root)
            .map_err(CodeError::file("write to", root))?;
        let write = |file: &mut File| file.write_all(zip).and_then(|()| file.sync_all());
        write(draft.as_file_mut()).map_err(CodeError::file("write the code", &path))?;
        draft.persist(&path).map_err(|why| CodeError::file("put the code in place as", &path)(why.error))?;
        let sync = File::open(root).and_then(|directory| directory.sync_all());
        sync.map_err(CodeError::file("sync", root))?;
        Ok(held)
    }

    /// Holds code that somebody names already.
    pub fn hold(&self, digest: CodeSha256) -> Held {
        *self.0.held().entry(digest).or_default() += 1;
        Held { shared: Arc::clone(&self.0), digest }
    }

    /// Where the zip is, whether or not it is there.
    pub fn zip_path(&self, digest: CodeSha256) -> PathBuf {
        self.0.root.join(format!("{}.zip", digest.hex()))
    }

    /// Whether the zip is there.
    pub fn has(&self, digest: CodeSha256) -> bool {
        self.zip_path(digest).is_file()
    }

    /// The bytes of a zip.
    pub fn read(&self, digest: CodeSha256) -> Result<Vec<u8>, CodeError> {
        let path = self.zip_path(digest);
        match fs::read(&path) {
            Ok(bytes) if CodeSha256::of(&bytes) == digest => Ok(bytes),
            Ok(_) => Err(CodeError::Damaged(path)),
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => {
                Err(CodeError::Absent(digest.to_string()))
            }
            Err(why) => Err(CodeError::file("read", &path)(why)),
        }
    }

    /// Unpacks a zip to a directory that does not exist yet, and holds it for whoever runs it. Blocks on the disk.
    ///
    /// The daemon's user and the group of `readers` may read it, and nobody may write it.
    pub fn unpack(&self, digest: CodeSha256, place: &Path, readers: Option<u32>) -> Result<Held, CodeError> {
        let held = self.hold(digest);
        let zip = self.read(digest)?;
        fs::DirBuilder::new().mode(0o700).create(place).map_err(CodeError::file("make", place))?;
        if let Err(why) = unpack::unpack(&zip, place, readers) {
            // What was half unpacked serves nobody; that it stays behind is the lesser fault.
            let _ = remove_unpacked(place);
            return Err(why);
        }
        Ok(held)
    }

    /// Removes what is neither held nor named, and tells how many zips went.
    ///
    /// `named` is asked while nobody can begin or cease to hold, so it must read the world as last committed: whoever
    /// let go of code before that moment had it named by then.
    pub fn sweep(&self, named: impl FnOnce() -> BTreeSet<CodeSha256>) -> Result<usize, CodeError> {
        let held = self.0.held();
        let named = named();
        let root = &self.0.root;
        let mut swept = 0;
        for entry in fs::read_dir(root).map_err(CodeError::file("read", root))? {
            let path = entry.map_err(CodeError::file("read", root))?.path();
            let Some(digest) = digest_of(&path) else { continue };
            if !held.contains_key(&digest) && !named.contains(&digest) {
                remove(&path)?;
                swept += 1;
            }
        }
        Ok(swept)
    }
}

/// The digest that a zip in the code directory is named by.
fn digest_of(path: &Path) -> Option<CodeSha256> {
    path.file_name()?.to_str()?.strip_suffix(".zip").and_then(CodeSha256::from_hex)
}

fn remove(path: &Path) -> Result<(), CodeError> {
    let is_directory = fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    let removed = if is_directory { remove_unpacked(path) } else { fs::remove_file(path) };
    removed.map_err(CodeError::file("remove", path))
}

#[cfg(test)]
mod tests {
    use super::unpack::tests::zip_of;
    use super::*;

    #[test]
    fn code_is_kept_until_nobody_names_or_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let code = CodeDirectory::open(dir.path()).unwrap();
        let zip = zip_of(&[("bootstrap", "#!/bin/sh\n", 0o755)]);
        let held = code.put(&zip).unwrap();
        let again = code.put(&zip).unwrap();
        let digest = held.digest();
        assert_eq!((digest, code.read(digest).unwrap()), (CodeSha256::of(&zip), zip));
        let place = dir.path().join("unpacked");
        let running = code.unpack(digest, &place, None).unwrap();
        assert_eq!(fs::read_to_string(place.join("bootstrap")).unwrap(), "#!/bin/sh\n");
        drop((held, again));
        assert_eq!(code.sweep(BTreeSet::new).unwrap(), 0, "it runs");
        drop(running);
        assert_eq!(code.sweep(|| [digest].into()).unwrap(), 0, "it is named");
        assert_eq!(code.sweep(BTreeSet::new).unwrap(), 1);
        assert_eq!(fs::read_dir(dir.path().join("code")).unwrap().count(), 0);
        assert!(matches!(code.unpack(digest, &place, None), Err(CodeError::Absent(_))));
    }

    #[test]
    fn a_boot_clears_what_was_unfinished() {
        let dir = tempfile::tempdir().unwrap();
        let code = CodeDirectory::open(dir.path()).unwrap();
        let held = code.put(&zip_of(&[("a", "b", 0o644)])).unwrap();
        fs::write(dir.path().join("code/.uploading-x"), "half").unwrap();
        let code = CodeDirectory::open(dir.path()).unwrap();
        assert!(code.has(held.digest()));
        assert_eq!(fs::read_dir(dir.path().join("code")).unwrap().count(), 1);
        // What is no longer what it was is found before it runs.
        fs::write(code.zip_path(held.digest()), "other").unwrap();
        let place = dir.path().join("unpacked");
        assert!(matches!(code.unpack(held.digest(), &place, None), Err(CodeError::Damaged(_))));
    }
}
