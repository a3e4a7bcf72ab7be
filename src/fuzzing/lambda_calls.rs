//! What requests call: a line with a method and a path of Lambda's API, a line with what stands in the path, and a query.

use crate::api::lambda::fuzzed;
use crate::router::fuzzed::invoked;

/// The API and the router mean the same function and the same version or alias by the same words.
pub(super) fn run(data: &[u8]) {
    let Some((pick, rest)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let (name, query) = text.split_once('\n').unwrap_or((text, ""));
    let Some(called) = fuzzed::called(*pick, name, query) else { return };
    let Some(invoked) = invoked(name, query) else { return };
    if let (Ok((function, qualifier)), Ok(key)) = (called, invoked) {
        let qualifier = qualifier.unwrap_or_else(|| "$LATEST".to_owned());
        assert_eq!(format!("{function}:{qualifier}"), key, "{name:?} {query:?}");
    }
}
