//! Cron schedules of five fields, with each wall time met exactly once.
//!
//! croner reads the expression and finds wall times; it is asked about a wall without a time zone, because across a
//! change of the clock it runs `30 2,14 * * *` twice in autumn and not at all in spring. What happens there is
//! decided here:
//!
//! - A schedule that names hours runs once for each wall time it names. A time that spring skips comes at the first
//!   instant after the gap (several skipped together: once); a time that autumn shows twice counts the first time.
//! - A schedule for every hour follows time itself: skipped times are skipped, repeated times come twice, so that
//!   hourly stays hourly.

use cron::Cron;
use cron::parser::{CronParser, Seconds, Year};
use jiff::civil::DateTime;

use super::zone::PlanTimeZone;
use crate::model::time::Timestamp;
use crate::plan::suggest::{listed, nearest};

/// A cron expression of five fields, in a plan's time zone.
#[derive(Clone, Debug, PartialEq)]
pub struct CronSchedule {
    text: String,
    cron: Box<Cron>,
}

impl CronSchedule {
    /// Reads five fields, or a nickname such as `@daily`.
    pub fn parse(text: &str) -> Result<CronSchedule, CronFault> {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let joined = fields.join(" ");
        match fields.as_slice() {
            [nickname] if nickname.starts_with('@') => check_nickname(nickname)?,
            [_, _, _, _, _] => {
                for (field, kind) in fields.iter().zip(FIELDS) {
                    check_field(field, kind)?;
                }
            }
            _ => return Err(not_five(&joined, fields.len())),
        }
        let cron = parser().parse(&joined).map_err(|error| CronFault {
            message: format!("`{joined}` is not a cron expression: {error}"),
            help: Some(format!("write {EXAMPLE}")),
        })?;
        let schedule = CronSchedule { text: joined, cron: Box::new(cron) };
        // A date that exists at all comes up within 400 years, after which the calendar repeats.
        if schedule.next_wall(jiff::civil::date(2000, 1, 1).at(0, 0, 0, 0), true).is_none() {
            return Err(CronFault {
                message: format!("`{}` never occurs", schedule.text),
                help: Some("no month it names has the day it names".to_owned()),
            });
        }
        Ok(schedule)
    }

    /// The expression, its fields separated by single spaces.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The first occurrence after an instant.
    pub fn next_after(&self, after: Timestamp, zone: &PlanTimeZone) -> Option<Timestamp> {
        let after = after.calendar();
        let next =
            if self.every_hour() { self.next_in_time(after, zone) } else { self.next_on_wall(after, zone) };
        next.map(|instant| Timestamp(instant.as_millisecond()))
    }

    fn every_hour(&self) -> bool {
        self.cron.pattern.hours.values().len() == 24
    }

    fn next_on_wall(&self, after: jiff::Timestamp, zone: &PlanTimeZone) -> Option<jiff::Timestamp> {
        let mut wall = zone.stretch_from(after).wall();
        // Wall times before this one have had their instant. Those after it may still have: in the second showing of
        // an hour, the times to come were all met in the first.
        loop {
            wall = self.next_wall(wall, false)?;
            let instant = zone.first_instant(wall)?;
            if instant > after {
                return Some(instant);
            }
        }
    }

    fn next_in_time(&self, after: jiff::Timestamp, zone: &PlanTimeZone) -> Option<jiff::Timestamp> {
        let mut stretch = zone.stretch_from(after);
        let mut inclusive = false;
        loop {
            let instant = stretch.instant(self.next_wall(stretch.wall(), inclusive)?)?;
            match stretch.end {
                Some(end) if instant >= end => {
                    stretch = zone.stretch_from(end);
                    inclusive = true;
                }
                _ => return Some(instant),
            }
        }
    }

    fn next_wall(&self, from: DateTime, inclusive: bool) -> Option<DateTime> {
        self.cron.find_next_occurrence(&from, inclusive).ok()
    }
}

/// Why a text is not a schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CronFault {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

const EXAMPLE: &str =
    "five fields (minute, hour, day of month, month, day of week), as in \"0 9 * * MON-THU\"";
const NICKNAMES: &[&str] = &["@hourly", "@daily", "@weekly", "@monthly", "@yearly", "@annually"];
const MONTHS: &[&str] = &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: &[&str] = &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

struct FieldKind {
    name: &'static str,
    /// Where it stands among five.
    position: usize,
    values: &'static str,
    names: &'static [&'static str],
    signs: &'static str,
}

const FIELDS: &[FieldKind] = &[
    FieldKind { name: "minute", position: 0, values: "minutes are 0 to 59", names: &[], signs: "" },
    FieldKind { name: "hour", position: 1, values: "hours are 0 to 23", names: &[], signs: "" },
    FieldKind {
        name: "day-of-month",
        position: 2,
        values: "days of the month are 1 to 31, or L for the last",
        names: &["L", "W", "LW"],
        signs: "?",
    },
    FieldKind {
        name: "month",
        position: 3,
        values: "months are 1 to 12, or JAN to DEC",
        names: MONTHS,
        signs: "",
    },
    FieldKind {
        name: "day-of-week",
        position: 4,
        values: "days of the week are 0 to 7 (0 and 7 are Sunday), or MON to SUN; a range does not run past Saturday: \
                 write FRI-SAT,SUN-MON",
        names: WEEKDAYS,
        signs: "?#+L",
    },
];

fn parser() -> CronParser {
    CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build()
}

/// croner says what is wrong, but not in which field, and takes `MON` for 1 in every field; so each is tried alone.
fn check_field(field: &str, kind: &FieldKind) -> Result<(), CronFault> {
    let fault = || CronFault {
        message: format!("the {} field `{field}` is not valid", kind.name),
        help: Some(kind.values.to_owned()),
    };
    let known_sign =
        |sign: char| sign.is_ascii_alphanumeric() || "*,-/".contains(sign) || kind.signs.contains(sign);
    if !field.chars().all(known_sign) || field.split(',').any(str::is_empty) {
        return Err(fault());
    }
    let words = field.split(|sign: char| !sign.is_ascii_alphabetic()).filter(|word| !word.is_empty());
    for word in words {
        let upper = word.to_ascii_uppercase();
        let known = kind.names.contains(&upper.as_str()) || (upper == "L" && kind.signs.contains('L'));
        if !known {
            return Err(fault());
        }
    }
    let mut alone = ["*"; 5];
    alone[kind.position] = field;
    parser().parse(&alone.join(" ")).map(|_| ()).map_err(|_| fault())
}

fn check_nickname(nickname: &str) -> Result<(), CronFault> {
    if NICKNAMES.iter().any(|known| known.eq_ignore_ascii_case(nickname)) {
        return Ok(());
    }
    let help = match nearest(nickname, NICKNAMES.iter().copied()) {
        Some(known) => format!("did you mean {known}?"),
        None => format!("there are {}; or write {EXAMPLE}", listed(NICKNAMES)),
    };
    Err(CronFault { message: format!("`{nickname}` is not a schedule"), help: Some(help) })
}

fn not_five(text: &str, count: usize) -> CronFault {
    let aws = text.strip_prefix("cron(").and_then(|rest| rest.strip_suffix(')'));
    if let Some(fields) = aws.map(|inside| inside.split(' ').collect::<Vec<_>>())
        && let [fields @ .., _year] = fields.as_slice()
        && fields.len() == 5
    {
        return CronFault {
            message: "this is the AWS form of a schedule".to_owned(),
            help: Some(format!(
                "leave out `cron(…)` and the year: \"{}\"; mind that AWS counts Sunday as 1, and cron as 0",
                fields.join(" ")
            )),
        };
    }
    if text.starts_with("rate(") {
        return CronFault {
            message: "serin has no rate(…)".to_owned(),
            help: Some(format!("write {EXAMPLE}, or @hourly")),
        };
    }
    let help = if count == 6 {
        format!("serin's cron has neither seconds nor years: write {EXAMPLE}")
    } else {
        format!("write {EXAMPLE}")
    };
    CronFault {
        message: format!("a cron expression has five fields, and this has {count}"),
        help: Some(help),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Occurrences within a span of time, as the wall with its offset shows them.
    fn runs(expression: &str, zone: &str, from: &str, to: &str) -> Vec<String> {
        let schedule = CronSchedule::parse(expression).unwrap();
        let plan_zone = PlanTimeZone::parse(zone).unwrap();
        let (mut at, end) = (Timestamp::parse(from).unwrap(), Timestamp::parse(to).unwrap());
        let mut shown = Vec::new();
        while let Some(next) = schedule.next_after(at, &plan_zone) {
            assert!(next > at, "{expression} stands still at {at}");
            if next >= end {
                break;
            }
            let zoned = next.calendar().to_zoned(jiff::tz::TimeZone::get(zone).unwrap());
            shown.push(zoned.strftime("%m-%d %H:%M%:z").to_string());
            at = next;
        }
        shown
    }

    #[test]
    fn a_daily_run_happens_once_on_the_day_the_clock_is_put_forward() {
        assert_eq!(
            runs("30 2 * * *", "Europe/Paris", "2026-03-27T12:00:00Z", "2026-03-31T12:00:00Z"),
            ["03-28 02:30+01:00", "03-29 03:00+02:00", "03-30 02:30+02:00", "03-31 02:30+02:00"]
        );
        assert_eq!(
            runs("30 2 * * *", "America/New_York", "2026-03-07T12:00:00Z", "2026-03-09T12:00:00Z"),
            ["03-08 03:00-04:00", "03-09 02:30-04:00"]
        );
        assert_eq!(
            runs("15 2 * * *", "Australia/Lord_Howe", "2026-10-02T20:00:00Z", "2026-10-04T20:00:00Z"),
            ["10-04 02:30+11:00", "10-05 02:15+11:00"]
        );
    }

    #[test]
    fn a_daily_run_happens_once_on_the_day_the_clock_is_put_back() {
        assert_eq!(
            runs("30 2 * * *", "Europe/Paris", "2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z"),
            ["10-25 02:30+02:00", "10-26 02:30+01:00"]
        );
        assert_eq!(
            runs("30 1 * * *", "America/New_York", "2026-10-31T12:00:00Z", "2026-11-02T12:00:00Z"),
            ["11-01 01:30-04:00", "11-02 01:30-05:00"]
        );
        assert_eq!(
            runs("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00:00Z", "2026-04-06T00:00:00Z"),
            ["04-05 01:45+11:00", "04-06 01:45+10:30"]
        );
    }

    #[test]
    fn several_named_hours_run_once_each() {
        // croner alone skips the first of these in spring and runs it twice in autumn.
        assert_eq!(
            runs("30 2,14 * * *", "Europe/Paris", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
            ["03-29 03:00+02:00", "03-29 14:30+02:00"]
        );
        assert_eq!(
            runs("30 2,14 * * *", "Europe/Paris", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
            ["10-25 02:30+02:00", "10-25 14:30+01:00"]
        );
        // Four skipped times and the one right after the gap share an instant: one run.
        assert_eq!(
            runs("*/15 2-3 * * *", "Europe/Paris", "2026-03-28T23:00:00Z", "2026-03-29T01:40:00Z"),
            ["03-29 03:00+02:00", "03-29 03:15+02:00", "03-29 03:30+02:00"]
        );
    }

    #[test]
    fn hourly_stays_hourly() {
        assert_eq!(
            runs("5 * * * *", "Europe/Paris", "2026-03-29T00:00:00Z", "2026-03-29T03:00:00Z"),
            ["03-29 01:05+01:00", "03-29 03:05+02:00", "03-29 04:05+02:00"]
        );
        assert_eq!(
            runs("@hourly", "Europe/Paris", "2026-10-24T23:30:00Z", "2026-10-25T02:30:00Z"),
            ["10-25 02:00+02:00", "10-25 02:00+01:00", "10-25 03:00+01:00"]
        );
        // Half an hour is repeated: 01:30 to 02:00 comes twice.
        assert_eq!(
            runs("45 * * * *", "Australia/Lord_Howe", "2026-04-04T13:50:00Z", "2026-04-04T16:50:00Z"),
            ["04-05 01:45+11:00", "04-05 01:45+10:30", "04-05 02:45+10:30"]
        );
    }

    #[test]
    fn searches_may_begin_inside_a_repeated_hour() {
        // At the second 02:15, today's 02:30 has been.
        assert_eq!(
            runs("30 2 * * *", "Europe/Paris", "2026-10-25T01:15:00Z", "2026-10-26T12:00:00Z"),
            ["10-26 02:30+01:00"]
        );
        assert_eq!(
            runs("30 2 * * *", "Europe/Paris", "2026-10-25T00:29:59.999Z", "2026-10-25T12:00:00Z"),
            ["10-25 02:30+02:00"]
        );
        assert_eq!(
            runs("30 2 * * *", "Europe/Paris", "2026-10-25T00:30:00Z", "2026-10-25T12:00:00Z"),
            [""; 0]
        );
    }

    #[test]
    fn dates_and_zones() {
        assert_eq!(
            runs("0 9 * * MON-THU", "Asia/Kathmandu", "2026-07-02T12:00:00Z", "2026-07-07T12:00:00Z"),
            ["07-06 09:00+05:45", "07-07 09:00+05:45"]
        );
        assert_eq!(
            runs("0 12 29 2 *", "UTC", "2026-01-01T00:00:00Z", "2033-01-01T00:00:00Z"),
            ["02-29 12:00+00:00", "02-29 12:00+00:00"]
        );
        // A Friday that never was: Samoa went from Thursday to Saturday.
        assert_eq!(
            runs("0 9 * * *", "Pacific/Apia", "2011-12-29T10:00:00Z", "2011-12-31T10:00:00Z"),
            ["12-29 09:00-10:00", "12-31 00:00+14:00", "12-31 09:00+14:00"]
        );
    }

    #[test]
    fn what_is_no_schedule_is_said_in_words() {
        for (text, message) in [
            ("0 25 * * *", "the hour field `25` is not valid"),
            ("60 9 * * *", "the minute field `60` is not valid"),
            ("MON 9 * * *", "the minute field `MON` is not valid"),
            ("0 9 * * JAN", "the day-of-week field `JAN` is not valid"),
            ("0 9 * * FRI-MON", "the day-of-week field `FRI-MON` is not valid"),
            ("0 9 * 13 *", "the month field `13` is not valid"),
            ("0 9 1, * *", "the day-of-month field `1,` is not valid"),
            ("*/0 9 * * *", "the minute field `*/0` is not valid"),
            ("0 9 * *", "a cron expression has five fields, and this has 4"),
            ("0 0 9 * * *", "a cron expression has five fields, and this has 6"),
            ("", "a cron expression has five fields, and this has 0"),
            ("0 0 30 2 *", "`0 0 30 2 *` never occurs"),
            ("0 0 31 2,4,6,9,11 *", "`0 0 31 2,4,6,9,11 *` never occurs"),
            ("@dialy", "`@dialy` is not a schedule"),
            ("cron(0 9 ? * MON-FRI *)", "this is the AWS form of a schedule"),
            ("rate(1 hour)", "serin has no rate(…)"),
            ("0 ٩ * * *", "the hour field `٩` is not valid"),
        ] {
            let fault = CronSchedule::parse(text).unwrap_err();
            assert_eq!(fault.message, message);
            assert!(fault.help.is_some(), "{text}");
        }
        for text in [
            "@daily",
            "@HOURLY",
            "0 9 1,15 * *",
            "0 9 L * *",
            "0 9 * * 5L",
            "0 9 * * MON#1",
            "0 9 ? jan-mar *",
        ] {
            CronSchedule::parse(text).unwrap();
        }
    }
}
