//! Cron schedules in time zones, days, times of day: the first line an expression, the second a zone, the third an instant.

use serin_core::model::time::Timestamp;
use serin_core::plan::{CronSchedule, DayTime, Days, PlanTimeZone};

/// Occurrences come one after the other, and an expression is read as it is written.
pub(super) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let (expression, zone, at) =
        (lines.next().unwrap_or(""), lines.next().unwrap_or(""), lines.next().unwrap_or(""));
    if let Ok(days) = expression.parse::<Days>() {
        assert_eq!(days.union(days), days);
    }
    if let Ok(time) = expression.parse::<DayTime>() {
        assert_eq!(time.to_string(), expression);
    }
    let zone = PlanTimeZone::parse(zone).unwrap_or_else(|_| PlanTimeZone::utc());
    let Ok(schedule) = CronSchedule::parse(expression) else { return };
    let again = CronSchedule::parse(schedule.text()).expect("it was read in this spelling");
    assert_eq!(again.text(), schedule.text());
    let mut at = Timestamp(at.trim().parse().unwrap_or(1_767_225_600_000));
    for _ in 0..4 {
        let Some(next) = schedule.next_after(at, &zone) else { break };
        assert!(next > at, "{} after {at} is {next}", schedule.text());
        assert_eq!(again.next_after(at, &zone), Some(next));
        at = next;
    }
}
