//! What fuzzers are let in to of zips: to check one, and to unpack it.

use std::path::Path;

use super::unpack::{check, counted, unpack};

/// How many bytes a zip unpacks to; `None` where it is refused.
pub(crate) fn checked(zip: &[u8]) -> Option<u64> {
    match check(zip) {
        Ok(()) => Some(counted(zip)),
        Err(fault) => {
            assert!(!fault.to_string().is_empty());
            None
        }
    }
}

/// Unpacks a zip that was checked.
pub(crate) fn unpacked(zip: &[u8], into: &Path) {
    unpack(zip, into, None).unwrap_or_else(|why| panic!("checked, and not unpacked: {why}"));
}
