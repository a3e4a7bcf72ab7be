//! What integration tests share: a small client, upstreams of every temper, a router in this process.

pub mod client;
pub mod router;
pub mod upstream;

use std::time::{Duration, Instant};

/// Waits until something holds, by looking again and again; panics with `what` after ten seconds.
#[expect(clippy::disallowed_methods, reason = "tests wait in real time")]
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(10), "not within ten seconds: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
