//! Bodies of Lambda's API: the first byte picks the request.

use crate::api::lambda::fuzzed;

/// Every body is a request or is refused with a status of the client's.
pub(super) fn run(data: &[u8]) {
    let Some((pick, body)) = data.split_first() else { return };
    if let Err((status, text)) = fuzzed::body(*pick, body) {
        assert!((400..500).contains(&status), "{status} {text}");
    }
}
