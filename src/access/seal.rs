//! Seals: what carries one was given out by this serin, and needs no other credentials.
//!
//! The key lies beside the store in a file of its own, so that no copy of the store can make seals.

use std::io;
use std::path::Path;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::key_file::{self, KEY_BYTES};

/// The key's file within the data directory.
const KEY_FILE: &str = "seal.key";

/// Makes seals and knows them again; cheap to clone.
#[derive(Clone)]
pub struct Seal(Hmac<Sha256>);

impl Seal {
    /// Takes the key of a data directory, which is `fresh` where there is none yet.
    pub fn of_directory(directory: &Path, fresh: [u8; KEY_BYTES]) -> io::Result<Seal> {
        let (key, _) = key_file::take(directory, KEY_FILE, fresh)?;
        Ok(Seal(Hmac::new_from_slice(&key).expect("HMAC takes keys of any length")))
    }

    /// The seal of a text, in hex.
    pub fn of(&self, text: &str) -> String {
        let sealed = self.0.clone().chain_update(text.as_bytes()).finalize().into_bytes();
        sealed.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether a text carries its seal.
    pub fn holds(&self, text: &str, seal: &str) -> bool {
        bool::from(subtle::ConstantTimeEq::ct_eq(self.of(text).as_bytes(), seal.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_seal_is_good_for_its_text_and_for_this_directory() {
        let dir = tempfile::tempdir().unwrap();
        let seal = Seal::of_directory(dir.path(), [1; 32]).unwrap();
        let sealed = seal.of("code x");
        assert!(seal.holds("code x", &sealed));
        for (text, other) in [("code y", sealed.as_str()), ("code x", ""), ("code x", &sealed[1..])] {
            assert!(!seal.holds(text, other), "{text} {other}");
        }
        // The key stays, whatever another process would have made.
        assert_eq!(Seal::of_directory(dir.path(), [2; 32]).unwrap().of("code x"), sealed);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(Seal::of_directory(other.path(), [2; 32]).unwrap().of("code x"), sealed);
    }

    #[test]
    fn the_key_is_its_owners_alone_and_whole_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(KEY_FILE);
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        Seal::of_directory(dir.path(), [1; 32]).unwrap();
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        Seal::of_directory(dir.path(), [1; 32]).unwrap();
        assert_eq!(mode(), 0o600);
        fs::write(&path, [1; 31]).unwrap();
        assert!(Seal::of_directory(dir.path(), [1; 32]).err().unwrap().to_string().contains("31 bytes"));
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(Seal::of_directory(dir.path(), [1; 32]).is_err(), "no link is followed");
    }
}
