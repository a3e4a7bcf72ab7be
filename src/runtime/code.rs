//! Unpacked code, shared by the processes that run it and gone when none does.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::sandbox::{Readers, Sandbox};
use crate::code::{CodeDirectory, CodeError, Held, remove_unpacked};
use serin_core::lambda::process::CodeSha256;

/// Where code is unpacked, and what of it is in use.
pub(super) struct UnpackedCode {
    zips: CodeDirectory,
    sandbox: Sandbox,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    places: HashMap<CodeSha256, Weak<Unpacked>>,
    count: u64,
}

/// One zip, unpacked; removed when the last who runs it is gone.
pub(super) struct Unpacked {
    /// The directory.
    pub(super) place: PathBuf,
    /// The group of those who run it, which alone may read it.
    pub(super) readers: Option<Readers>,
    _held: Held,
}

impl UnpackedCode {
    pub(super) fn new(zips: CodeDirectory, sandbox: Sandbox) -> UnpackedCode {
        UnpackedCode { zips, sandbox, known: Mutex::default() }
    }

    /// The directory of a zip's code, unpacked now unless it is in use; blocks on the disk, one zip at a time.
    pub(super) fn get(&self, digest: CodeSha256) -> Result<Arc<Unpacked>, CodeError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(unpacked) = known.places.get(&digest).and_then(Weak::upgrade) {
            return Ok(unpacked);
        }
        known.places.retain(|_, unpacked| unpacked.strong_count() > 0);
        known.count += 1;
        // A name of its own each time: the one before may still be being removed.
        let place = self.sandbox.code().join(format!("{}-{}", &digest.hex()[..16], known.count));
        let readers = self.sandbox.readers().map_err(|source| CodeError::File {
            attempt: "find a group for the readers of",
            path: place.clone(),
            source,
        })?;
        let held = self.zips.unpack(digest, &place, readers.as_ref().map(|readers| readers.group))?;
        let unpacked = Arc::new(Unpacked { place, readers, _held: held });
        known.places.insert(digest, Arc::downgrade(&unpacked));
        Ok(unpacked)
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        if let Err(error) = remove_unpacked(&self.place) {
            tracing::warn!(%error, place = %self.place.display(), "unpacked code stays behind");
        }
    }
}
