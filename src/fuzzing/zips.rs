//! Zips of functions' code.

use crate::code::fuzzed::{checked, unpacked};

/// Beyond this a zip is only read: a disk is slower than a fuzzer.
const WRITTEN_BYTES_MAX: u64 = 1 << 20;

/// What is taken is unpacked, and nothing of it leads out of its directory.
pub(super) fn run(data: &[u8]) {
    let Some(bytes) = checked(data) else { return };
    if bytes > WRITTEN_BYTES_MAX {
        return;
    }
    let Ok(dir) = tempfile::tempdir() else { return };
    let place = dir.path().join("code");
    std::fs::create_dir(&place).expect("a directory that was just made takes another");
    unpacked(data, &place);
    let beside: Vec<_> = std::fs::read_dir(dir.path()).expect("it is there").collect();
    assert_eq!(beside.len(), 1, "{beside:?}");
    let root = place.canonicalize().expect("it was made");
    stays_within(&place, &root);
    crate::code::remove_unpacked(&place).expect("what was unpacked is removed");
    assert!(!place.exists());
}

fn stays_within(directory: &std::path::Path, root: &std::path::Path) {
    for entry in std::fs::read_dir(directory).expect("it was unpacked") {
        let path = entry.expect("it was listed").path();
        // A link that leads nowhere leads nowhere else.
        if let Ok(real) = path.canonicalize() {
            assert!(real.starts_with(root), "{} is {}", path.display(), real.display());
        }
        if path.is_dir() && !path.is_symlink() {
            stays_within(&path, root);
        }
    }
}
