//! The last few failures of each version, for people: what broke, where, and under which trace.
//!
//! Only failures come here, and never at the price of a wait: a worker that finds the log taken drops its entry.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::counts::FailureKind;
use serin_core::model::arn::VersionId;
use serin_core::model::time::Timestamp;

/// How many failures are kept for each version.
pub const KEPT_PER_VERSION: usize = 8;
/// How many versions of an alias are kept; the one that failed longest ago makes room.
const VERSIONS: usize = 4;
const PATH_CHARS: usize = 200;
const FAULT_CHARS: usize = 200;
const TRACE_CHARS: usize = 64;

/// One failed request, as people are shown it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentFailure {
    /// When it was counted.
    pub at: Timestamp,
    /// The version that failed.
    pub version: VersionId,
    /// What made it a failure.
    pub kind: FailureKind,
    /// Which request it was, and what went wrong.
    pub note: FailureNote,
}

/// Which request failed and how, in words that are safe to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureNote {
    /// The request's method.
    pub method: String,
    /// The path the client asked for, without the query, which may carry secrets.
    pub path: String,
    /// The status, or the fault in words.
    pub fault: String,
    /// The trace the request belonged to, if it said so.
    pub trace_id: Option<String>,
}

impl FailureNote {
    /// Takes what a request said about itself, cut and cleaned; `trace` is a `traceparent` or an `x-amzn-trace-id`.
    pub fn new(method: &str, target: &str, fault: &str, trace: Option<&[u8]>) -> FailureNote {
        let path = target.split(['?', '#']).next().unwrap_or_default();
        FailureNote {
            method: clean(method, 16),
            path: clean(path, PATH_CHARS),
            fault: clean(fault, FAULT_CHARS),
            trace_id: trace.and_then(trace_id),
        }
    }
}

fn clean(text: &str, chars: usize) -> String {
    let cleaned = text.chars().map(|char| if char.is_control() { ' ' } else { char });
    let mut kept: String = cleaned.clone().take(chars).collect();
    if cleaned.count() > chars {
        kept.push('…');
    }
    kept
}

/// Finds the trace in `00-TRACE-SPAN-01` (W3C) or `Root=TRACE;Parent=…` (AWS).
fn trace_id(header: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(header).ok()?.trim();
    let root = text.split(';').find_map(|part| part.trim().strip_prefix("Root="));
    let id = root.or_else(|| text.split('-').nth(1).filter(|id| id.len() == 32))?;
    let plain = !id.is_empty()
        && id.len() <= TRACE_CHARS
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    plain.then(|| id.to_owned())
}

/// The failures of one alias's versions.
#[derive(Default)]
pub(super) struct FailureLog {
    by_version: Mutex<Vec<(VersionId, VecDeque<RecentFailure>)>>,
}

impl FailureLog {
    /// Adds one, unless somebody reads or writes right now.
    pub(super) fn offer(&self, failure: RecentFailure) {
        let Ok(mut by_version) = self.by_version.try_lock() else { return };
        let known = by_version.iter().position(|(version, _)| *version == failure.version);
        let mut ring = match known {
            Some(index) => by_version.remove(index).1,
            None => VecDeque::with_capacity(KEPT_PER_VERSION),
        };
        if ring.len() == KEPT_PER_VERSION {
            ring.pop_front();
        }
        let version = failure.version;
        ring.push_back(failure);
        if by_version.len() == VERSIONS {
            by_version.remove(0);
        }
        by_version.push((version, ring));
    }

    /// All that are kept, the newest first.
    pub(super) fn newest_first(&self) -> Vec<RecentFailure> {
        let by_version = self.by_version.lock().unwrap_or_else(PoisonError::into_inner);
        let mut failures: Vec<_> =
            by_version.iter().flat_map(|(_, ring)| ring.iter().rev().cloned()).collect();
        failures.sort_by_key(|failure| std::cmp::Reverse(failure.at));
        failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serin_core::model::arn::VersionNumber;

    fn failure(version: u64, at_ms: i64) -> RecentFailure {
        RecentFailure {
            at: Timestamp(at_ms),
            version: VersionNumber(version).into(),
            kind: FailureKind::Status,
            note: FailureNote::new("GET", "/", "503", None),
        }
    }

    #[test]
    fn notes_show_no_secrets_and_no_control_characters() {
        let note = FailureNote::new("GET", "/pay\u{1b}[2J?token=secret", "reset\r\nby peer", None);
        assert_eq!((note.path.as_str(), note.fault.as_str()), ("/pay [2J", "reset  by peer"));
        let long = FailureNote::new("GET", &"ä".repeat(300), "", None);
        assert_eq!(long.path.chars().count(), PATH_CHARS + 1);
    }

    #[test]
    fn traces_of_both_kinds() {
        for (header, id) in [
            (
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                Some("0af7651916cd43dd8448eb211c80319c"),
            ),
            (
                "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
                Some("1-5759e988-bd862e3fe1be46a994272793"),
            ),
            ("Root=<script>", None),
            ("garbage", None),
            ("", None),
        ] {
            assert_eq!(trace_id(header.as_bytes()).as_deref(), id, "{header}");
        }
    }

    #[test]
    fn the_newest_are_kept_for_each_version() {
        let log = FailureLog::default();
        log.offer(failure(1, 0));
        for at_ms in 1..=20 {
            log.offer(failure(2, at_ms));
        }
        let kept = log.newest_first();
        assert_eq!(kept.len(), KEPT_PER_VERSION + 1);
        assert_eq!((kept[0].at, kept[7].at, kept[8].at), (Timestamp(20), Timestamp(13), Timestamp(0)));
        for version in 3..=5 {
            log.offer(failure(version, 100));
        }
        assert!(log.newest_first().iter().all(|failure| failure.version != VersionNumber(1).into()));
    }
}
