//! How long the router waits for a version, as whoever published it or a plan says.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::span::{self, SpanFault};

/// How long the router waits for a version; what is not said is the router's own to decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamTimeouts {
    /// For the head of an answer, once the version has the whole request.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub first_byte: Option<Wait>,
    /// For the next piece of a body, from either side, and for the version to take one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub idle: Option<Wait>,
}

impl UpstreamTimeouts {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == UpstreamTimeouts::default()
    }

    /// These, and where they say nothing, others.
    pub fn or(self, others: UpstreamTimeouts) -> UpstreamTimeouts {
        UpstreamTimeouts {
            first_byte: self.first_byte.or(others.first_byte),
            idle: self.idle.or(others.idle),
        }
    }
}

/// Writes `first byte 5m, idle 1h`; what is not said is left out.
impl fmt::Display for UpstreamTimeouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = [("first byte", self.first_byte), ("idle", self.idle)];
        let said = said.into_iter().filter_map(|(name, wait)| Some(format!("{name} {}", wait?)));
        f.pad(&said.collect::<Vec<_>>().join(", "))
    }
}

/// A span of time that somebody is waited for: from a millisecond to a leap year, written as plans write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Wait(Duration);

impl Wait {
    /// A span that was checked to be one, as those of plans are.
    pub(crate) fn checked(span: Duration) -> Wait {
        Wait(span)
    }

    /// How long that is.
    pub fn span(self) -> Duration {
        self.0
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&span::write(self.0))
    }
}

/// Why a text is no span of time to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WaitError {
    /// No span of time.
    #[error("a span of time has its unit, as in 90s, 10m or 1h 30m")]
    Malformed,
    /// Nobody would be waited for.
    #[error("a wait of nothing would fail every request; leave it out for the router's own")]
    Zero,
    /// Beyond a leap year.
    #[error("nobody waits longer than 366d")]
    TooLong,
}

impl FromStr for Wait {
    type Err = WaitError;

    fn from_str(text: &str) -> Result<Wait, WaitError> {
        match span::parse(text) {
            Ok(span) if span.is_zero() => Err(WaitError::Zero),
            Ok(span) => Ok(Wait(span)),
            Err(SpanFault::TooLong) => Err(WaitError::TooLong),
            Err(SpanFault::Written { .. } | SpanFault::NoUnit | SpanFault::Negative) => {
                Err(WaitError::Malformed)
            }
        }
    }
}

impl From<Wait> for String {
    fn from(wait: Wait) -> String {
        wait.to_string()
    }
}

impl TryFrom<String> for Wait {
    type Error = WaitError;

    fn try_from(text: String) -> Result<Wait, WaitError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_written_as_plans_write_them() {
        for (text, ms) in [("5ms", 5), ("30s", 30_000), ("1h 30m", 5_400_000), ("366d", 31_622_400_000)] {
            let wait: Wait = text.parse().unwrap();
            assert_eq!((wait.span().as_millis(), wait.to_string().as_str()), (ms, text));
        }
        use WaitError::*;
        for (text, why) in [
            ("0s", Zero),
            ("30", Malformed),
            ("-5s", Malformed),
            ("", Malformed),
            ("367d", TooLong),
            ("soon", Malformed),
        ] {
            assert_eq!(text.parse::<Wait>(), Err(why), "{text:?}");
        }
    }

    #[test]
    fn what_one_does_not_say_the_other_does() {
        let read = |text: &str| -> UpstreamTimeouts { serde_json::from_str(text).unwrap() };
        let plan = read(r#"{"firstByte":"5m"}"#);
        let version = read(r#"{"firstByte":"1s","idle":"1h"}"#);
        assert_eq!(plan.or(version), read(r#"{"firstByte":"5m","idle":"1h"}"#));
        assert_eq!(plan.or(version).to_string(), "first byte 5m, idle 1h");
        assert!(read("{}").is_empty() && !plan.is_empty());
        assert_eq!(serde_json::to_string(&plan).unwrap(), r#"{"firstByte":"5m"}"#);
        assert!(serde_json::from_str::<UpstreamTimeouts>(r#"{"idle":"0s"}"#).is_err());
    }
}
