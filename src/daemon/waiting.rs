//! What both sides of an upgrade wait for.

use crate::clock;
use std::time::Duration;

/// What is waited for is looked at this often.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What a process asks for and its successor does not, in words.
pub(super) fn missing(before: &[String], after: &[String]) -> Option<String> {
    let missing: Vec<_> = before.iter().filter(|way| !after.contains(way)).map(String::as_str).collect();
    (!missing.is_empty()).then(|| missing.join(" and "))
}

/// Looks again and again whether something holds, for so long at most.
pub(super) fn wait_until(patience: Duration, mut holds: impl FnMut() -> bool) {
    let begun = clock::instant_now();
    while !holds() && clock::instant_now().duration_since(begun) < patience {
        std::thread::sleep(LOOK_EVERY);
    }
}
