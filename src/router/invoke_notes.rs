//! How the fault of an invocation is named and noted.

use crate::metrics::recorder::FailureKind;
use crate::runtime::Failure;
use serde_json::Value;

/// How much of an error is noted for people.
const NOTE_CHARS_MAX: usize = 200;

/// What a failed invocation counts as.
pub(super) fn kind_of(failure: Failure) -> FailureKind {
    match failure {
        Failure::TimedOut => FailureKind::Timeout,
        Failure::Handler | Failure::Exited | Failure::Init | Failure::TooLarge => FailureKind::FunctionError,
    }
}

/// What people are shown of an error: its type and its message.
pub(super) fn note(payload: &[u8]) -> String {
    let error: Value = serde_json::from_slice(payload).unwrap_or_default();
    let word = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
    let note = match (word("errorType"), word("errorMessage")) {
        ("", "") => "a function error without words".to_owned(),
        (kind, "") => kind.to_owned(),
        ("", message) => message.to_owned(),
        (kind, message) => format!("{kind}: {message}"),
    };
    note.chars().take(NOTE_CHARS_MAX).collect()
}
