//! A plan's time zone: walls to instants and back.

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};

use crate::model::time::Timestamp;
use crate::plan::suggest::nearest;

/// A time zone by its IANA name, from the bundled database.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanTimeZone(TimeZone);

impl PlanTimeZone {
    /// UTC.
    pub fn utc() -> PlanTimeZone {
        PlanTimeZone(TimeZone::UTC)
    }

    /// Finds a zone by its exact IANA name, such as `Europe/Paris`.
    pub fn parse(name: &str) -> Result<PlanTimeZone, ZoneError> {
        if name == "UTC" {
            return Ok(PlanTimeZone::utc());
        }
        let database = TimeZoneDatabase::bundled();
        match database.get(name) {
            Ok(zone) if zone.iana_name() == Some(name) && name != "Etc/Unknown" => Ok(PlanTimeZone(zone)),
            _ => Err(ZoneError { name: name.to_owned(), suggestion: suggestion(name, &database) }),
        }
    }

    /// The IANA name.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// What the clock on the wall shows.
    pub(super) fn wall(&self, at: Timestamp) -> DateTime {
        self.0.to_datetime(at.calendar())
    }

    /// The first instant at which the wall shows a time, or has passed it.
    ///
    /// A time that is skipped in spring comes at the first instant after the gap; of a time that is shown twice in
    /// autumn, the first counts. `None` at the calendar's ends.
    pub(super) fn first_instant(&self, wall: DateTime) -> Option<jiff::Timestamp> {
        match self.0.to_ambiguous_timestamp(wall).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(wall).ok(),
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(wall).ok(),
            AmbiguousOffset::Gap { after, .. } => {
                // Read with the offset of after the gap, the time lies before the change; the next change is it.
                self.next_change(after.to_timestamp(wall).ok()?)
            }
        }
    }

    /// The instant as the wall shows it, and how long the wall keeps in step with time from here.
    pub(super) fn stretch_from(&self, at: jiff::Timestamp) -> Stretch {
        Stretch { offset: self.0.to_offset(at), start: at, end: self.next_change(at) }
    }

    fn next_change(&self, after: jiff::Timestamp) -> Option<jiff::Timestamp> {
        self.0.following(after).next().map(|change| change.timestamp())
    }
}

/// A stretch of time in which the wall clock is neither put forward nor back.
pub(super) struct Stretch {
    offset: jiff::tz::Offset,
    start: jiff::Timestamp,
    /// The next change of the wall clock, if there is one.
    pub end: Option<jiff::Timestamp>,
}

impl Stretch {
    /// What the wall shows at the start.
    pub fn wall(&self) -> DateTime {
        self.offset.to_datetime(self.start)
    }

    /// When the wall shows a later time, were the stretch long enough.
    pub fn instant(&self, wall: DateTime) -> Option<jiff::Timestamp> {
        self.offset.to_timestamp(wall).ok()
    }
}

/// A name that is no time zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not a time zone")]
pub struct ZoneError {
    /// What was written.
    pub name: String,
    /// What may have been meant.
    pub suggestion: Option<String>,
}

/// Abbreviations people write for a place; several of them mean other places elsewhere, hence only suggestions.
const ABBREVIATIONS: &[(&str, &str)] = &[
    ("BST", "Europe/London"),
    ("CEST", "Europe/Paris"),
    ("CDT", "America/Chicago"),
    ("CST", "America/Chicago"),
    ("EDT", "America/New_York"),
    ("IST", "Asia/Kolkata"),
    ("JST", "Asia/Tokyo"),
    ("MDT", "America/Denver"),
    ("PDT", "America/Los_Angeles"),
    ("PST", "America/Los_Angeles"),
    ("Z", "UTC"),
];

fn suggestion(name: &str, database: &TimeZoneDatabase) -> Option<String> {
    if let Some((_, place)) = ABBREVIATIONS.iter().find(|(short, _)| short.eq_ignore_ascii_case(name)) {
        return Some((*place).to_owned());
    }
    let known: Vec<String> = database.available().map(|known| known.to_string()).collect();
    if let Some(found) = known.iter().find(|known| known.eq_ignore_ascii_case(name)) {
        return Some(found.clone());
    }
    let city_of = |known: &str| known.rsplit('/').next().unwrap_or_default().to_owned();
    let wanted_city = city_of(name).replace(' ', "_");
    let same_city = known.iter().filter(|known| known.contains('/') && !known.starts_with("Etc/"));
    if let Some(found) = same_city.clone().find(|known| city_of(known).eq_ignore_ascii_case(&wanted_city)) {
        return Some(found.clone());
    }
    nearest(name, known.iter().map(String::as_str)).map(str::to_owned).or_else(|| {
        let cities: Vec<(String, &String)> = same_city.map(|known| (city_of(known), known)).collect();
        let city = nearest(&wanted_city, cities.iter().map(|(city, _)| city.as_str()))?.to_owned();
        cities.into_iter().find(|(known, _)| *known == city).map(|(_, zone)| zone.clone())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_found_by_their_exact_name() {
        for name in ["UTC", "Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"] {
            assert_eq!(PlanTimeZone::parse(name).unwrap().name(), name);
        }
    }

    #[test]
    fn near_misses_are_recognised() {
        for (name, meant) in [
            ("europe/paris", Some("Europe/Paris")),
            ("Paris", Some("Europe/Paris")),
            ("Europe/Pariss", Some("Europe/Paris")),
            ("New York", Some("America/New_York")),
            ("Berlin/Europe", None),
            ("CEST", Some("Europe/Paris")),
            ("utc", Some("UTC")),
            ("Z", Some("UTC")),
            ("+02:00", None),
            ("local", None),
            ("", None),
            ("Etc/Unknown", Some("Etc/Unknown")),
        ] {
            let error = PlanTimeZone::parse(name).unwrap_err();
            if name != "Etc/Unknown" {
                assert_eq!(error.suggestion.as_deref(), meant, "{name}");
            }
        }
    }

    #[test]
    fn a_wall_time_becomes_an_instant() {
        let instant = |zone: &str, wall: &str| {
            let zone = PlanTimeZone::parse(zone).unwrap();
            zone.first_instant(wall.parse().unwrap()).unwrap().to_string()
        };
        assert_eq!(instant("Europe/Paris", "2026-03-29T01:59:59"), "2026-03-29T00:59:59Z");
        assert_eq!(instant("Europe/Paris", "2026-03-29T02:00:00"), "2026-03-29T01:00:00Z");
        assert_eq!(instant("Europe/Paris", "2026-03-29T02:59:59"), "2026-03-29T01:00:00Z");
        assert_eq!(instant("Europe/Paris", "2026-03-29T03:00:00"), "2026-03-29T01:00:00Z");
        assert_eq!(instant("Europe/Paris", "2026-10-25T02:30:00"), "2026-10-25T00:30:00Z");
        assert_eq!(instant("Asia/Kathmandu", "2026-05-01T12:00:00"), "2026-05-01T06:15:00Z");
        assert_eq!(instant("Pacific/Apia", "2011-12-30T12:00:00"), "2011-12-30T10:00:00Z");
    }
}
