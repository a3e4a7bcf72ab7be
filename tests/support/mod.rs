//! What integration tests share: a small client, upstreams of every temper, a router in this process, golden files,
//! and the binary itself.

pub mod client;
pub mod faults;
pub mod functions;
pub mod house;
pub mod http2;
pub mod lines;
pub mod power;
pub mod router;
pub mod serin;
pub mod service;
pub mod sqs;
pub mod tls;
pub mod upstream;
pub mod users;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Does something again for as long as a signal cuts it short.
///
/// What waits on a socket with a time limit is not begun anew by the kernel, and with tests that run functions in this
/// process a signal comes with the end of every child.
pub fn uninterrupted<T>(mut act: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match act() {
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Waits until something holds, by looking again and again; panics with `what` after half a minute.
#[track_caller]
pub fn until(what: &str, holds: impl FnMut() -> bool) {
    until_within(Duration::from_secs(30), what, holds);
}

/// The same, with more patience or less.
#[expect(clippy::disallowed_methods, reason = "tests wait in real time")]
#[track_caller]
pub fn until_within(patience: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < patience, "not within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits longer than `until` does: for queues that are drained on a busy machine.
#[expect(clippy::disallowed_methods, reason = "tests wait in real time")]
#[track_caller]
pub fn in_time(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(600), "not within ten minutes: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The repository's root.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The files of a folder below the root with an ending, in the order of their names.
pub fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).expect("the folder is there");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|found| found == ending));
    paths.sort();
    paths
}

/// Compares a text with the golden file beside its source, or writes that file when `SERIN_BLESS=1`.
///
/// Answers what differs, so that a test can show all differences at once.
pub fn golden(path: &Path, actual: &str) -> Result<(), String> {
    #[expect(clippy::disallowed_methods, reason = "a switch of the test run itself, not of serin")]
    let bless = std::env::var("SERIN_BLESS").is_ok_and(|value| value == "1");
    if bless {
        std::fs::write(path, actual).expect("a writable golden file");
        return Ok(());
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    if expected == actual {
        return Ok(());
    }
    Err(format!("{} differs (SERIN_BLESS=1 writes it)\n--- is\n{actual}--- was\n{expected}", path.display()))
}
