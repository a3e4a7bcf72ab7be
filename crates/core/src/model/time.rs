//! The two times serin knows: what the wall says, and how long the daemon has been up.
//!
//! People read wall time; windows and cron need it. Everything that must not be shortened by a clock step or by
//! downtime (bakes, deadlines, evidence) runs on uptime: milliseconds the daemon has been running since its store
//! was made, continued across restarts from the last stored value. No module here reads a clock.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A wall-clock instant in milliseconds since 1970, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The instant for the calendar; saturates at the calendar's ends.
    pub fn calendar(self) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(self.0).unwrap_or(if self.0 < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        })
    }

    /// This instant moved forward.
    pub fn plus(self, span: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    /// Time from `earlier` to this instant; zero if it lies ahead.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads RFC 3339.
    pub fn parse(text: &str) -> Option<Timestamp> {
        text.parse::<jiff::Timestamp>().ok().map(|instant| Timestamp(instant.as_millisecond()))
    }
}

/// Writes RFC 3339 in UTC with milliseconds.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.calendar())
    }
}

/// An instant on the daemon's own clock: milliseconds it has been up since its store was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Uptime(pub u64);

impl Uptime {
    /// This instant moved forward.
    pub fn plus(self, span: Duration) -> Uptime {
        Uptime(self.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Time from `earlier` to this instant; zero if it lies ahead.
    pub fn since(self, earlier: Uptime) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// One instant on both clocks; what every decision is given as "now".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Wall time.
    pub wall: Timestamp,
    /// The daemon's own clock.
    pub up: Uptime,
}

impl Moment {
    /// Both clocks moved forward by the same span, as in undisturbed time.
    pub fn plus(self, span: Duration) -> Moment {
        Moment { wall: self.wall.plus(span), up: self.up.plus(span) }
    }
}

/// Time accrued while something held, such as "this weight was served"; pauses when it does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopwatch {
    accrued_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    running_since: Option<Uptime>,
}

impl Stopwatch {
    /// A stopwatch at zero that runs from `at`.
    pub fn started(at: Uptime) -> Stopwatch {
        Stopwatch { accrued_ms: 0, running_since: Some(at) }
    }

    /// Runs on from `at`; no change if it already runs.
    pub fn start(&mut self, at: Uptime) {
        self.running_since.get_or_insert(at);
    }

    /// Stops, keeping what was accrued.
    pub fn stop(&mut self, at: Uptime) {
        self.accrued_ms = self.elapsed(at).as_millis() as u64;
        self.running_since = None;
    }

    /// Runs from `now` on, if it was to run from later.
    pub fn rebase(&mut self, now: Uptime) {
        self.running_since = self.running_since.map(|since| since.min(now));
    }

    /// What has accrued up to `at`.
    pub fn elapsed(&self, at: Uptime) -> Duration {
        let running = self.running_since.map_or(0, |since| at.0.saturating_sub(since.0));
        Duration::from_millis(self.accrued_ms.saturating_add(running))
    }

    /// When `goal` will have accrued; `None` while stopped short of it.
    pub fn reaches(&self, goal: Duration) -> Option<Uptime> {
        let goal_ms = u64::try_from(goal.as_millis()).unwrap_or(u64::MAX);
        if self.accrued_ms >= goal_ms {
            return Some(self.running_since.unwrap_or(Uptime(0)));
        }
        self.running_since.map(|since| Uptime(since.0.saturating_add(goal_ms - self.accrued_ms)))
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.running_since.is_some()
    }
}

/// Writes a duration as people say it, to the second, or to the millisecond below ten seconds: `1h 30m`, `2.5s`.
pub fn human(span: Duration) -> String {
    let short = span < Duration::from_secs(10);
    if short && !span.subsec_millis().is_multiple_of(1000) {
        let text = format!("{:.3}", span.as_secs_f64());
        return format!("{}s", text.trim_end_matches('0').trim_end_matches('.'));
    }
    let seconds = span.as_secs();
    let parts =
        [(seconds / 86_400, "d"), (seconds / 3_600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let said: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count}{unit}")).collect();
    if said.is_empty() { "0s".to_owned() } else { said.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopwatch_counts_only_while_running() {
        let mut watch = Stopwatch::default();
        assert_eq!(watch.reaches(Duration::from_secs(1)), None);
        watch.start(Uptime(1_000));
        watch.start(Uptime(5_000));
        assert_eq!(watch.elapsed(Uptime(3_000)), Duration::from_secs(2));
        watch.stop(Uptime(3_000));
        assert_eq!(watch.elapsed(Uptime(90_000)), Duration::from_secs(2));
        watch.start(Uptime(10_000));
        assert_eq!(watch.reaches(Duration::from_secs(5)), Some(Uptime(13_000)));
        assert_eq!(watch.elapsed(Uptime(12_500)), Duration::from_millis(4_500));
    }

    #[test]
    fn people_read_durations() {
        for (ms, text) in [
            (0, "0s"),
            (40, "0.04s"),
            (2_500, "2.5s"),
            (90_000, "1m 30s"),
            (86_400_000, "1d"),
            (83_880_000, "23h 18m"),
        ] {
            assert_eq!(human(Duration::from_millis(ms)), text);
        }
    }

    #[test]
    fn timestamps_are_rfc_3339() {
        let at = Timestamp(1_767_225_600_123);
        assert_eq!(at.to_string(), "2026-01-01T00:00:00.123Z");
        assert_eq!(Timestamp::parse("2026-01-01T00:00:00.123Z"), Some(at));
        assert!(Timestamp(i64::MAX).to_string().starts_with("9999-"));
    }
}
