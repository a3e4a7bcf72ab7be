//! Windows and freezes: when advances may happen.
//!
//! A window is what the wall clock shows: it is open while the time shown lies in it. So in the hour that autumn
//! repeats it is open twice, and a window that lies wholly in the hour that spring skips does not open that day.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, DateTime, Time, Weekday};

use super::zone::PlanTimeZone;
use crate::model::time::Timestamp;

/// The days of a week on which a window opens; never none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days(u8);

/// The names of days as plans write them.
pub const DAY_NAMES: [&str; 7] = ["MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"];

impl Days {
    /// Every day.
    pub const ALL: Days = Days(0b111_1111);

    /// Both together.
    pub fn union(self, other: Days) -> Days {
        Days(self.0 | other.0)
    }

    fn contains(self, day: Weekday) -> bool {
        self.0 & (1 << day.to_monday_zero_offset()) != 0
    }
}

/// A text that names no days.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a day")]
pub struct DayError(pub String);

/// Reads `MON`, `MON-FRI`, `FRI-MON`, `MON,WED` and what is composed of them.
impl FromStr for Days {
    type Err = DayError;

    fn from_str(text: &str) -> Result<Days, DayError> {
        let index = |name: &str| {
            DAY_NAMES.iter().position(|day| *day == name).ok_or_else(|| DayError(name.to_owned()))
        };
        let mut days = 0;
        for part in text.split(',').map(str::trim) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (index(first.trim())?, index(last.trim())?);
            let length = (last + 7 - first) % 7;
            for day in first..=first + length {
                days |= 1 << (day % 7);
            }
        }
        Ok(Days(days))
    }
}

/// Writes `MON-FRI` or `MON,WED`.
impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        let mut day = 0;
        while day < 7 {
            let length = (day..7).take_while(|day| self.0 & (1 << day) != 0).count();
            match length {
                0 => {}
                1 => parts.push(DAY_NAMES[day].to_owned()),
                _ => parts.push(format!("{}-{}", DAY_NAMES[day], DAY_NAMES[day + length - 1])),
            }
            day += length.max(1);
        }
        f.pad(&parts.join(","))
    }
}

/// A time of day to the minute, from 00:00 to 24:00.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DayTime(u16);

impl DayTime {
    /// The day's first minute.
    pub const START: DayTime = DayTime(0);
    /// The minute after the day's last: 24:00.
    pub const END: DayTime = DayTime(24 * 60);

    fn of(time: Time) -> DayTime {
        DayTime(time.hour() as u16 * 60 + time.minute() as u16)
    }

    fn on(self, date: Date) -> Option<DateTime> {
        if self == DayTime::END {
            return date.tomorrow().ok().map(|next| next.at(0, 0, 0, 0));
        }
        Some(date.at((self.0 / 60) as i8, (self.0 % 60) as i8, 0, 0))
    }
}

/// A text that is no time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a time of day is written \"09:00\", from \"00:00\" to \"24:00\"")]
pub struct DayTimeError;

/// Reads `09:00`, two digits each, and `24:00`.
impl FromStr for DayTime {
    type Err = DayTimeError;

    fn from_str(text: &str) -> Result<DayTime, DayTimeError> {
        let digits = |part: &str| {
            let plain = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| part.parse::<u16>().ok()).flatten().ok_or(DayTimeError)
        };
        let (hour, minute) = text.split_once(':').ok_or(DayTimeError)?;
        match (digits(hour)?, digits(minute)?) {
            (hour @ 0..24, minute @ 0..60) => Ok(DayTime(hour * 60 + minute)),
            (24, 0) => Ok(DayTime::END),
            _ => Err(DayTimeError),
        }
    }
}

/// Writes `09:00`.
impl fmt::Display for DayTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:02}:{:02}", self.0 / 60, self.0 % 60))
    }
}

/// A weekly stretch of time in which advances may happen.
///
/// It opens at `from`, inclusive, and closes at `to`, exclusive. One that ends before it starts runs past midnight
/// and belongs to the day it starts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    days: Days,
    from: DayTime,
    to: DayTime,
}

impl Window {
    /// Makes a window; `None` if it would end as it starts.
    pub fn new(days: Days, from: DayTime, to: DayTime) -> Option<Window> {
        let sensible = from != to && from != DayTime::END;
        sensible.then_some(Window { days, from, to })
    }

    /// The days it starts on.
    pub fn days(&self) -> Days {
        self.days
    }

    /// When it opens.
    pub fn from(&self) -> DayTime {
        self.from
    }

    /// When it closes.
    pub fn to(&self) -> DayTime {
        self.to
    }

    fn is_open(&self, wall: DateTime) -> bool {
        let (day, time) = (wall.date().weekday(), DayTime::of(wall.time()));
        if self.from < self.to {
            return self.days.contains(day) && self.from <= time && time < self.to;
        }
        (self.days.contains(day) && self.from <= time)
            || (self.days.contains(day.previous()) && time < self.to)
    }
}

/// Writes `MON-FRI 09:00-17:00`.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{} {}-{}", self.days, self.from, self.to))
    }
}

/// Whole days without advances, the last one included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freeze {
    from: Date,
    to: Date,
}

impl Freeze {
    /// Makes a freeze; `None` if it would end before it starts.
    pub fn new(from: Date, to: Date) -> Option<Freeze> {
        (from <= to).then_some(Freeze { from, to })
    }

    /// The first day.
    pub fn from(&self) -> Date {
        self.from
    }

    /// The last day.
    pub fn to(&self) -> Date {
        self.to
    }

    fn contains(&self, date: Date) -> bool {
        self.from <= date && date <= self.to
    }
}

/// Writes `2026-12-20 to 2027-01-03`.
impl fmt::Display for Freeze {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{} to {}", self.from, self.to))
    }
}

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

impl Closed {
    /// When an advance may happen again.
    pub fn until(self) -> Option<Timestamp> {
        match self {
            Closed::Window { until } | Closed::Freeze { until } => until,
        }
    }
}

impl Windows {
    /// Whether advances are closed at an instant.
    pub fn closed_at(&self, at: Timestamp, zone: &PlanTimeZone) -> Option<Closed> {
        let wall = zone.wall(at);
        if self.is_frozen(wall.date()) {
            Some(Closed::Freeze { until: self.opens_after(at, zone) })
        } else if self.is_allowed(wall) {
            None
        } else {
            Some(Closed::Window { until: self.opens_after(at, zone) })
        }
    }

    fn is_frozen(&self, date: Date) -> bool {
        self.freeze.iter().any(|freeze| freeze.contains(date))
    }

    fn is_allowed(&self, wall: DateTime) -> bool {
        self.allow.is_empty() || self.allow.iter().any(|window| window.is_open(wall))
    }

    /// Goes from one instant at which something may open to the next.
    ///
    /// It ends: every freeze is jumped over whole, and between freezes some window opens within nine days. `None`
    /// at the calendar's end.
    fn opens_after(&self, at: Timestamp, zone: &PlanTimeZone) -> Option<Timestamp> {
        let mut instant = at.calendar();
        loop {
            let stretch = zone.stretch_from(instant);
            let wall = stretch.wall();
            let frozen_to =
                self.freeze.iter().filter(|freeze| freeze.contains(wall.date())).map(Freeze::to).max();
            let next = match frozen_to {
                Some(last) => zone.first_instant(DayTime::END.on(last)?)?,
                None => {
                    let opening = stretch.instant(self.next_edge(wall)?)?;
                    stretch.end.map_or(opening, |change| opening.min(change))
                }
            };
            // A clock put back over midnight can show the frozen day again; time still goes on.
            instant = next.max(instant.checked_add(jiff::SignedDuration::from_millis(1)).ok()?);
            let wall = zone.wall(Timestamp(instant.as_millisecond()));
            if !self.is_frozen(wall.date()) && self.is_allowed(wall) {
                return Some(Timestamp(instant.as_millisecond()));
            }
        }
    }

    /// The next wall time at which a window opens or a day begins.
    fn next_edge(&self, wall: DateTime) -> Option<DateTime> {
        let date = wall.date();
        let openings =
            self.allow.iter().filter_map(|window| window.from.on(date)).filter(|edge| *edge > wall);
        openings.chain(DayTime::END.on(date)).min()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn window(days: &str, from: &str, to: &str) -> Window {
        Window::new(days.parse().unwrap(), from.parse().unwrap(), to.parse().unwrap()).unwrap()
    }

    fn freeze(from: &str, to: &str) -> Freeze {
        Freeze::new(from.parse().unwrap(), to.parse().unwrap()).unwrap()
    }

    fn check(windows: &Windows, zone: &str, cases: &[(&str, &str)]) {
        let zone = PlanTimeZone::parse(zone).unwrap();
        for (at, expected) in cases {
            let closed = windows.closed_at(Timestamp::parse(at).unwrap(), &zone);
            let shown = match closed {
                None => "open".to_owned(),
                Some(Closed::Window { until: Some(until) }) => format!("window {:.0}", until.calendar()),
                Some(Closed::Freeze { until: Some(until) }) => format!("freeze {:.0}", until.calendar()),
                Some(other) => format!("{other:?}"),
            };
            assert_eq!(&shown, expected, "{at}");
        }
    }

    #[test]
    fn days_are_read_and_written() {
        for (text, written) in [
            ("MON-FRI", "MON-FRI"),
            ("MON,WED", "MON,WED"),
            ("FRI-MON", "MON,FRI-SUN"),
            ("SUN", "SUN"),
            ("MON-SUN", "MON-SUN"),
            ("MON, TUE, SAT-SUN", "MON-TUE,SAT-SUN"),
        ] {
            let days: Days = text.parse().unwrap();
            assert_eq!(days.to_string(), written);
            assert_eq!(written.parse(), Ok(days));
        }
        for text in ["", "Monday", "MON-", "MON,", "MON/FRI", "mon"] {
            assert!(text.parse::<Days>().is_err(), "{text}");
        }
    }

    #[test]
    fn times_of_day_are_read_and_written() {
        for text in ["00:00", "09:05", "23:59", "24:00"] {
            assert_eq!(text.parse::<DayTime>().unwrap().to_string(), text);
        }
        for text in ["", "9:00", "09:0", "24:01", "12:60", "25:00", "+9:00", "09:00:00", "0900"] {
            assert_eq!(text.parse::<DayTime>(), Err(DayTimeError), "{text}");
        }
    }

    #[test]
    fn a_working_week() {
        let windows = Windows {
            allow: vec![window("MON-FRI", "09:00", "17:00")],
            freeze: vec![freeze("2026-12-20", "2027-01-03")],
        };
        check(
            &windows,
            "Europe/Paris",
            &[
                ("2026-07-03T06:59:59.999Z", "window 2026-07-03T07:00:00Z"),
                ("2026-07-03T07:00:00Z", "open"),
                ("2026-07-03T14:59:59.999Z", "open"),
                // Friday evening waits for Monday.
                ("2026-07-03T15:00:00Z", "window 2026-07-06T07:00:00Z"),
                // The weekend of the change: Monday 09:00 comes an hour earlier.
                ("2026-03-28T12:00:00Z", "window 2026-03-30T07:00:00Z"),
                ("2026-10-24T12:00:00Z", "window 2026-10-26T08:00:00Z"),
                // The freeze ends on a Sunday.
                ("2026-12-23T12:00:00Z", "freeze 2027-01-04T08:00:00Z"),
                // Before the freeze, on the Saturday: the next window already lies in it.
                ("2026-12-19T12:00:00Z", "window 2027-01-04T08:00:00Z"),
            ],
        );
    }

    #[test]
    fn nothing_closes_what_has_no_windows() {
        check(&Windows::default(), "UTC", &[("2026-07-03T00:00:00Z", "open")]);
        let frozen = Windows { allow: Vec::new(), freeze: vec![freeze("2026-12-24", "2026-12-24")] };
        check(
            &frozen,
            "Asia/Kathmandu",
            &[
                ("2026-12-23T18:14:59Z", "open"),
                ("2026-12-23T18:15:00Z", "freeze 2026-12-24T18:15:00Z"),
                ("2026-12-24T18:15:00Z", "open"),
            ],
        );
    }

    #[test]
    fn a_night_belongs_to_the_day_it_starts_on() {
        let windows = Windows { allow: vec![window("FRI", "22:00", "04:00")], freeze: Vec::new() };
        check(
            &windows,
            "UTC",
            &[
                ("2026-07-03T21:59:59Z", "window 2026-07-03T22:00:00Z"),
                ("2026-07-03T22:00:00Z", "open"),
                ("2026-07-04T03:59:59Z", "open"),
                ("2026-07-04T04:00:00Z", "window 2026-07-10T22:00:00Z"),
                // Friday before dawn is Thursday's night.
                ("2026-07-03T02:00:00Z", "window 2026-07-03T22:00:00Z"),
            ],
        );
        let to_midnight = Windows { allow: vec![window("SUN", "22:00", "24:00")], freeze: Vec::new() };
        check(
            &to_midnight,
            "UTC",
            &[("2026-07-05T23:59:59Z", "open"), ("2026-07-06T00:00:00Z", "window 2026-07-12T22:00:00Z")],
        );
    }

    #[test]
    fn edges_inside_a_change_of_the_clock() {
        let windows = Windows { allow: vec![window("SUN", "02:30", "05:00")], freeze: Vec::new() };
        check(
            &windows,
            "Europe/Paris",
            &[
                // 02:30 is skipped: open from 03:00, the first instant after the gap.
                ("2026-03-29T00:59:59Z", "window 2026-03-29T01:00:00Z"),
                ("2026-03-29T01:00:00Z", "open"),
                ("2026-03-29T03:00:00Z", "window 2026-04-05T00:30:00Z"),
                // 02:30 comes twice: open, closed while the wall shows 02:00 to 02:30 again, open.
                ("2026-10-25T00:30:00Z", "open"),
                ("2026-10-25T00:59:59Z", "open"),
                ("2026-10-25T01:00:00Z", "window 2026-10-25T01:30:00Z"),
                ("2026-10-25T01:30:00Z", "open"),
            ],
        );
        let skipped = Windows { allow: vec![window("SUN", "02:05", "02:25")], freeze: Vec::new() };
        check(
            &skipped,
            "Australia/Lord_Howe",
            &[("2026-10-03T15:20:00Z", "window 2026-10-10T15:05:00Z"), ("2026-10-10T15:05:00Z", "open")],
        );
    }

    #[test]
    fn a_freeze_without_end_says_so() {
        let windows = Windows { allow: Vec::new(), freeze: vec![freeze("2026-01-01", "9999-12-31")] };
        check(&windows, "Europe/Paris", &[("2026-07-03T00:00:00Z", "Freeze { until: None }")]);
    }

    fn any_windows() -> impl Strategy<Value = Windows> {
        let any_window = (1u8..128, 0u16..1440, 0u16..=1440)
            .prop_filter_map("empty", |(days, from, to)| Window::new(Days(days), DayTime(from), DayTime(to)));
        let any_freeze = (0i64..800, 0i64..40).prop_map(|(start, length)| {
            let first: Date = "2025-06-01".parse().unwrap();
            let from = first.checked_add(jiff::SignedDuration::from_hours(24 * start)).unwrap();
            Freeze { from, to: from.checked_add(jiff::SignedDuration::from_hours(24 * length)).unwrap() }
        });
        (prop::collection::vec(any_window, 0..4), prop::collection::vec(any_freeze, 0..4))
            .prop_map(|(allow, freeze)| Windows { allow, freeze })
    }

    proptest! {
        #[test]
        fn until_is_the_first_open_instant(
            windows in any_windows(),
            zone in prop::sample::select(vec![
                "UTC", "Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/St_Johns",
                "Africa/Casablanca", "Asia/Beirut",
            ]),
            at_s in 1_750_000_000i64..1_830_000_000,
            probes in prop::collection::vec(0.0f64..1.0, 8),
        ) {
            let zone = PlanTimeZone::parse(zone).unwrap();
            let at = Timestamp(at_s * 1_000);
            if let Some(closed) = windows.closed_at(at, &zone) {
                let until = closed.until().expect("freezes of this test end");
                prop_assert!(until > at);
                prop_assert_eq!(windows.closed_at(until, &zone), None);
                let span_ms = until.0 - at.0;
                for probe in probes {
                    let between = Timestamp(at.0 + (span_ms as f64 * probe) as i64);
                    prop_assert_eq!(windows.closed_at(between, &zone).and_then(Closed::until), Some(until));
                }
                let just_before = windows.closed_at(Timestamp(until.0 - 1), &zone);
                prop_assert_eq!(just_before.and_then(Closed::until), Some(until));
            }
        }
    }
}
