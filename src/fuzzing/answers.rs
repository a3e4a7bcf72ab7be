//! What versions answer: the first byte says how it comes apart, and whether a body is wanted.

use crate::router::fuzzed::answer;

/// An answer is the same however it comes apart, and what its client is told of it can be read in one way.
pub(super) fn run(data: &[u8]) {
    let Some((pick, bytes)) = data.split_first() else { return };
    let head_only = pick & 0x80 != 0;
    let whole = answer(bytes, bytes.len(), head_only);
    assert_eq!(answer(bytes, usize::from(pick & 0x7f), head_only), whole);
    let Some(read) = whole else { return };
    if head_only {
        assert!(read.body.is_empty());
    }
    assert!(read.left + read.body.len() <= bytes.len());
    for (name, value) in &read.headers {
        assert!(!value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "{name}");
        if name == "content-length" {
            assert!(value.iter().all(u8::is_ascii_digit) && !value.is_empty(), "{value:?}");
        }
    }
}
