//! Filters of queues' messages, and behind a zero byte a message.

use serde_json::Value;

use serin_core::lambda::event_filter::Filter;

/// A filter says the same of a message every time, and `{}` wants all of them.
pub(super) fn run(data: &[u8]) {
    let (pattern, message) = super::halves(data, 0);
    let Ok(pattern) = std::str::from_utf8(pattern) else { return };
    let message: Value = serde_json::from_slice(message).unwrap_or_default();
    let Ok(filter) = Filter::parse(pattern) else { return };
    assert_eq!(filter.wants(&message), filter.wants(&message));
    let again = Filter::parse(pattern);
    assert_eq!(again.as_ref(), Ok(&filter));
    assert!(Filter::parse("{}").is_ok_and(|all| all.wants(&message)));
}
