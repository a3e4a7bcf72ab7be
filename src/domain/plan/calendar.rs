//! When plans may act: time zones, cron schedules, windows and freezes, right across daylight-saving changes.

use crate::domain::time::Timestamp;

/// A time zone by its IANA name, from the bundled database.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanTimeZone(jiff::tz::TimeZone);

impl PlanTimeZone {
    /// UTC.
    pub fn utc() -> PlanTimeZone {
        PlanTimeZone(jiff::tz::TimeZone::UTC)
    }
}

/// A cron expression of five fields, in a plan's time zone.
#[derive(Clone, Debug, PartialEq)]
pub struct CronSchedule(cron::Cron);

impl CronSchedule {
    pub fn text(&self) -> &str {
        ""
    }
    /// The first occurrence after an instant.
    pub fn next_after(&self, _after: Timestamp, _zone: &PlanTimeZone) -> Option<Timestamp> {
        None
    }
}

/// A weekly stretch of time in which advances may happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {}

/// Whole days without advances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freeze {}

/// When advances may happen: in any of `allow` (always, when empty) and in no freeze.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    /// Stretches of the week.
    pub allow: Vec<Window>,
    /// Stretches of the calendar.
    pub freeze: Vec<Freeze>,
}

/// Why no advance may happen now, and until when; `None` where it never may again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Outside every window.
    Window {
        /// When the next window opens outside every freeze.
        until: Option<Timestamp>,
    },
    /// Within a freeze.
    Freeze {
        /// When the freeze is over and a window is open.
        until: Option<Timestamp>,
    },
}

impl Windows {
    /// Whether advances are closed at an instant.
    pub fn closed_at(&self, _at: Timestamp, _zone: &PlanTimeZone) -> Option<Closed> {
        None
    }
}
