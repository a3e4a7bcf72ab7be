//! Faults of the disk for the real binary: small file systems that fill up, and libraries between it and the kernel.
//!
//! Where the machine allows neither, the reason is printed and the test is over.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use super::root;

/// The library that has calls fail, stand still, or be the last; `None` where there is no C compiler, which is printed.
pub fn shim() -> Option<&'static Path> {
    library("shim.c")
}

/// A library of this folder, built once.
pub fn library(source: &'static str) -> Option<&'static Path> {
    static BUILT: Mutex<BTreeMap<&'static str, Option<&'static Path>>> = Mutex::new(BTreeMap::new());
    *BUILT.lock().unwrap().entry(source).or_insert_with(|| {
        let name = format!("{source}-{}.so", std::process::id());
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let made = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-w", "-o"])
            .arg(&library)
            .arg(root().join("tests/support").join(source))
            .arg("-ldl")
            .status();
        match made {
            Ok(status) if status.success() => Some(&*Box::leak(library.into_boxed_path())),
            other => {
                println!("skipped: no library between serin and the kernel can be built with cc: {other:?}");
                None
            }
        }
    })
}

/// A file system of its own in memory, which is full soon; gone when dropped.
pub struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// Mounts one of so many KiB; `None` where that is not allowed, which is printed.
    pub fn mount(kib: u32) -> Option<SmallDisk> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={kib}k");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path()).output();
        match mounted {
            Ok(output) if output.status.success() => Some(SmallDisk(dir)),
            other => {
                println!("skipped: no small file system can be mounted here: {other:?}");
                None
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes until nothing more goes in.
    pub fn fill(&self) {
        let mut filler = std::fs::File::options().create(true).append(true).open(self.filler()).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            let bytes = vec![7; size];
            while filler.write_all(&bytes).is_ok() {}
        }
    }

    /// Makes room again.
    pub fn free(&self) {
        // Nothing was there to fill.
        let _ = std::fs::remove_file(self.filler());
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, because a process that was just killed may have files open.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}
