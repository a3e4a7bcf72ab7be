//! What Prometheus and web hooks answer: the first byte picks who, and the status.

use std::time::Duration;

use crate::metrics::outside::{prometheus_reading, webhook_reading};
use serin_core::model::time::Timestamp;

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const STATUSES: [u16; 6] = [200, 204, 302, 400, 404, 500];

/// A finite number, of a status that says that all is well, or a reason in one line.
pub(super) fn run(data: &[u8]) {
    let Some((pick, body)) = data.split_first() else { return };
    // Answers are made text as they come.
    let body = String::from_utf8_lossy(body);
    let status = STATUSES[usize::from(pick >> 1) % STATUSES.len()];
    let read = if pick & 1 == 0 {
        prometheus_reading(status, &body, NOW, Duration::from_secs(60))
    } else {
        webhook_reading(status, &body)
    };
    match read {
        Ok(number) => assert!(number.is_finite() && (200..300).contains(&status), "{number} of {status}"),
        Err(why) => {
            assert!(!why.is_empty() && why.len() < 1000, "{why:?}");
            assert!(!why.chars().any(char::is_control), "{why:?}");
        }
    }
}
