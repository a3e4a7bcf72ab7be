//! Spans of time, shares and instants as people write them.

use serin_core::lambda::timeouts::Wait;
use serin_core::model::time::{Timestamp, human};
use serin_core::model::weight::Weight;

/// What is taken is written so that the same is taken.
pub(super) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(wait) = text.parse::<Wait>() {
        let written = wait.to_string();
        assert_eq!(written.parse::<Wait>().map(Wait::span), Ok(wait.span()), "{text:?} as {written:?}");
        assert!(!human(wait.span()).is_empty());
    }
    if let Ok(weight) = text.parse::<Weight>() {
        assert_eq!(weight.to_string().parse::<Weight>(), Ok(weight), "{text:?} as {weight}");
        assert_eq!(Weight::from_fraction(weight.fraction()), Some(weight));
        assert!(weight.ppm() <= 1_000_000);
    }
    if let Some(at) = Timestamp::parse(text) {
        assert_eq!(Timestamp::parse(&at.to_string()), Some(at), "{text:?} as {at}");
    }
    if let Ok(fraction) = text.parse::<f64>()
        && let Some(weight) = Weight::from_fraction(fraction)
    {
        assert!((weight.fraction() - fraction).abs() <= 0.5e-6 + f64::EPSILON, "{fraction}");
    }
}
