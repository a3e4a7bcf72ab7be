//! Numbers that were computed independently of this code, at 40 digits or more; tests alone read them.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// One list of `tests/vectors/evidence.json`.
pub fn of<T: DeserializeOwned>(name: &str) -> T {
    let all: Value = serde_json::from_str(include_str!("../../../../tests/vectors/evidence.json"))
        .expect("the vectors are JSON");
    serde_json::from_value(all[name].clone()).expect("the vectors have the shape that their test reads")
}

/// Holds a number against what it must be, to nine digits.
#[track_caller]
pub fn assert_close(found: f64, expected: f64, what: &str) {
    let off = (found - expected).abs();
    assert!(off <= 1e-9 * (1.0 + expected.abs()), "{what}: {found} instead of {expected}, off by {off:e}");
}
