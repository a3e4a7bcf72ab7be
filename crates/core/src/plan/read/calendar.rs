//! When a rollout starts, and when it may advance.

use jiff::civil::Date;

use super::fields::{Field, Fields, Reader, short};
use super::values::Span;
use crate::model::arn::AliasId;
use crate::plan::calendar::{
    CronSchedule, DAY_NAMES, DayError, DayTime, Days, Freeze, PlanTimeZone, Window, Windows,
};
use crate::plan::keys;
use crate::plan::model::Start;
use crate::plan::suggest::nearest;
use crate::plan::tree::{Content, Style};

/// More windows or freezes than this are a generated file, not a team's calendar.
const ENTRIES_MAX: usize = 100;

impl Reader<'_> {
    /// Takes `timeZone`.
    pub fn time_zone(&mut self, field: &Field<'_>) -> Option<PlanTimeZone> {
        let text = self.text(field)?;
        match PlanTimeZone::parse(text) {
            Ok(zone) => Some(zone),
            Err(error) => {
                let help = match error.suggestion {
                    Some(known) => format!("did you mean {known}?"),
                    None => "write an IANA name such as Europe/Paris, America/New_York or UTC".to_owned(),
                };
                self.faults
                    .error(field.place(), format!("there is no time zone `{}`", short(text)))
                    .help(help);
                None
            }
        }
    }

    /// Takes `start`.
    pub fn start(&mut self, field: &Field<'_>, own: Option<&AliasId>) -> Option<Start> {
        if let Content::Text { text, .. } = &field.node.content
            && !field.is_empty()
        {
            return self.start_word(field, text);
        }
        let fields = self.map(field, &keys::START)?;
        match (fields.get("cron"), fields.get("after")) {
            (Some(cron), None) => self.cron(&cron).map(Start::Cron),
            (None, Some(after)) => self.after(&after, own),
            (Some(cron), Some(after)) => {
                self.faults
                    .error(after.at, "a plan starts by `cron` or `after` another alias, not by both")
                    .help("delete one, or write two plans")
                    .related(cron.at, "`cron` is here");
                None
            }
            (None, None) => {
                if matches!(&field.node.content, Content::Map(entries) if entries.is_empty()) {
                    self.wrong_kind(field, "`manual`, `onPublish`, {cron: …} or {after: …}");
                }
                None
            }
        }
    }

    fn start_word(&mut self, field: &Field<'_>, text: &str) -> Option<Start> {
        match text {
            "manual" => return Some(Start::Manual),
            "onPublish" => return Some(Start::OnPublish),
            _ => {}
        }
        let meant = if CronSchedule::parse(text).is_ok() {
            Some(format!("write `start: {{cron: \"{text}\"}}`"))
        } else if let Some(key) = keys::START.find(text) {
            Some(format!("write `{}`", key.example))
        } else {
            nearest(text, ["manual", "onPublish"]).map(|word| format!("did you mean `{word}`?"))
        };
        self.not(field, "`manual`, `onPublish`, {cron: …} or {after: …}", text, meant);
        None
    }

    fn cron(&mut self, field: &Field<'_>) -> Option<CronSchedule> {
        let text = self.text(field)?;
        match CronSchedule::parse(text) {
            Ok(schedule) => Some(schedule),
            Err(fault) => {
                self.faults.error(field.place(), fault.message).maybe_help(fault.help);
                None
            }
        }
    }

    fn after(&mut self, field: &Field<'_>, own: Option<&AliasId>) -> Option<Start> {
        let fields = self.map(field, &keys::AFTER)?;
        let target = match fields.get("target") {
            Some(target) => self.after_target(&target, own),
            None => {
                self.missing(&fields, field.at, "`start.after`", "target");
                None
            }
        };
        let span = match fields.get("for") {
            Some(span) => self.span(&span, Span::Any),
            None => {
                self.missing(&fields, field.at, "`start.after`", "for");
                None
            }
        };
        Some(Start::After { target: target?, span: span? })
    }

    fn after_target(&mut self, field: &Field<'_>, own: Option<&AliasId>) -> Option<AliasId> {
        let target: AliasId = self.name(field, |text| text.parse::<AliasId>())?;
        let Some(own) = own else { return Some(target) };
        if target == *own {
            self.refuse(
                field,
                "which is this plan's own alias",
                Some("a plan follows another alias".to_owned()),
            );
        } else if target.function != own.function {
            let help = format!(
                "a version belongs to one function: name another alias of `{}`, as in \"{}:staging\"",
                own.function, own.function
            );
            self.refuse(field, "which belongs to another function", Some(help));
        }
        Some(target)
    }

    /// Takes `windows`.
    pub fn windows(&mut self, field: &Field<'_>) -> Option<Windows> {
        let fields = self.map(field, &keys::WINDOWS)?;
        let allow = fields.get("allow").map_or(Some(Vec::new()), |list| {
            self.entries(&list, "a window", |reader, item| reader.window(item))
        });
        let freeze = fields.get("freeze").map_or(Some(Vec::new()), |list| {
            self.entries(&list, "a freeze", |reader, item| reader.freeze(item))
        });
        Some(Windows { allow: allow?, freeze: freeze? })
    }

    fn entries<T>(
        &mut self,
        list: &Field<'_>,
        what: &str,
        read: impl Fn(&mut Self, &Field<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let items = self.list(list)?;
        if items.len() > ENTRIES_MAX {
            self.faults
                .error(list.at, format!("{} has {} entries", list.what, items.len()))
                .help(format!("at most {ENTRIES_MAX} can be made sense of"));
            return None;
        }
        let read: Vec<Option<T>> = items.iter().map(|item| read(self, &list.item(what, item))).collect();
        read.into_iter().collect()
    }

    fn window(&mut self, field: &Field<'_>) -> Option<Window> {
        let fields = self.map(field, &keys::WINDOW)?;
        if matches!(&field.node.content, Content::Map(entries) if entries.is_empty()) {
            self.faults
                .error(field.place(), "this window is empty")
                .help("write for example `{days: MON-FRI, from: \"09:00\", to: \"17:00\"}`");
            return None;
        }
        let days = fields.get("days").map_or(Some(Days::ALL), |field| self.days(&field));
        let from = fields.get("from").map_or(Some(DayTime::START), |field| self.day_time(&field));
        let to = fields.get("to").map_or(Some(DayTime::END), |field| self.day_time(&field));
        let (days, from, to) = (days?, from?, to?);
        let window = Window::new(days, from, to);
        if window.is_none() {
            let place = fields.get("to").or(fields.get("from")).map_or(field.place(), |edge| edge.place());
            let message = if from == to {
                format!("a window from {from} to {to} never opens")
            } else {
                format!("a window that begins at {from} begins on the next day")
            };
            self.faults.error(place, message).help("for whole days leave out `from` and `to`");
        }
        window
    }

    fn days(&mut self, field: &Field<'_>) -> Option<Days> {
        if let Content::List(_) = field.node.content {
            let items = self.list(field)?;
            let mut all: Option<Days> = None;
            let mut sound = true;
            for item in items {
                match self.day_words(&field.item("a day", item)) {
                    Some(days) => all = Some(all.map_or(days, |all| all.union(days))),
                    None => sound = false,
                }
            }
            return all.filter(|_| sound);
        }
        self.day_words(field)
    }

    fn day_words(&mut self, field: &Field<'_>) -> Option<Days> {
        let text = self.text(field)?;
        match text.parse::<Days>() {
            Ok(days) => Some(days),
            Err(DayError(word)) => {
                let help = match days_meant(text) {
                    Some(days) => format!("did you mean {days}? Days are {}", DAY_NAMES.join(", ")),
                    None => format!("days are {}, as in MON-FRI or MON,WED", DAY_NAMES.join(", ")),
                };
                let what = if word.is_empty() {
                    "a day is missing".to_owned()
                } else {
                    format!("there is no day `{}`", short(&word))
                };
                self.faults.error(field.place(), what).help(help);
                None
            }
        }
    }

    fn day_time(&mut self, field: &Field<'_>) -> Option<DayTime> {
        let (text, style) = self.word(field, "a time of day")?;
        let Ok(time) = text.parse::<DayTime>() else {
            let meant = time_meant(text).map(|time| format!("did you mean \"{time}\"?"));
            self.not(field, "a time of day", text, meant);
            return None;
        };
        if style == Style::Plain {
            let help = format!("write \"{text}\"; without quotes, some YAML readers take times for numbers");
            self.not(field, "a time of day in quotes", text, Some(help));
            return None;
        }
        Some(time)
    }

    fn freeze(&mut self, field: &Field<'_>) -> Option<Freeze> {
        let fields = self.map(field, &keys::FREEZE)?;
        let from = self.freeze_edge(&fields, "from");
        let to = self.freeze_edge(&fields, "to");
        let (from, to) = (from?, to?);
        let freeze = Freeze::new(from, to);
        if freeze.is_none()
            && let (Some(first), Some(last)) = (fields.get("from"), fields.get("to"))
        {
            self.faults
                .error(last.place(), format!("this freeze ends on {to}, before it begins on {from}"))
                .help("swap the two, or mend the year")
                .related(first.place(), "it begins here");
        }
        freeze
    }

    fn freeze_edge(&mut self, fields: &Fields<'_>, name: &'static str) -> Option<Date> {
        let Some(field) = fields.get(name) else {
            self.missing(fields, fields.place, "a freeze", name);
            return None;
        };
        let (text, _) = self.word(&field, "a date")?;
        match date(text) {
            Ok(date) => Some(date),
            Err(DateFault::NoSuchDay) => {
                self.refuse(
                    &field,
                    "which is a day no calendar has",
                    Some("mend the month or the day".to_owned()),
                );
                None
            }
            Err(DateFault::Written(meant)) => {
                self.not(&field, "a date, as in 2026-12-20", text, meant);
                None
            }
        }
    }
}

enum DateFault {
    NoSuchDay,
    Written(Option<String>),
}

/// Reads `2026-12-20`.
fn date(text: &str) -> Result<Date, DateFault> {
    let is_shaped = |text: &str| {
        text.len() == 10
            && text.bytes().enumerate().all(|(index, byte)| match index {
                4 | 7 => byte == b'-',
                _ => byte.is_ascii_digit(),
            })
    };
    if !is_shaped(text) {
        let day = text.get(..10).filter(|start| is_shaped(start) && text.len() > 10);
        return Err(DateFault::Written(
            day.map(|day| format!("a freeze is made of whole days: write {day}")),
        ));
    }
    text.parse().map_err(|_| DateFault::NoSuchDay)
}

/// `Monday-Fri` is MON-FRI.
fn days_meant(text: &str) -> Option<Days> {
    const TEXT_MAX: usize = 80;
    if text.len() > TEXT_MAX {
        return None;
    }
    let mut meant = String::new();
    for (index, part) in text.split([',', ' ', ';']).filter(|part| !part.is_empty()).enumerate() {
        let days: Option<Vec<&str>> = part.split(['-', '–']).map(|word| day_meant(word.trim())).collect();
        if index > 0 {
            meant.push(',');
        }
        meant.push_str(&days?.join("-"));
    }
    meant.parse().ok()
}

/// `Monday`, `mon` and `Mo` are MON.
fn day_meant(word: &str) -> Option<&'static str> {
    let upper = word.to_uppercase();
    let long = ["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"];
    let index = long.iter().position(|day| upper.len() >= 2 && day.starts_with(&upper));
    index.map(|index| DAY_NAMES[index]).or_else(|| nearest(&upper, DAY_NAMES))
}

/// `9:00`, `9am` and `0900` are 09:00.
fn time_meant(text: &str) -> Option<DayTime> {
    let lower = text.to_ascii_lowercase().replace([' ', '.'], "");
    let is_afternoon = lower.ends_with("pm");
    let clock = lower.trim_end_matches(['a', 'p', 'm']);
    let (hour, minute) = match clock.split_once([':', 'h']) {
        Some((hour, minute)) => (hour, minute.get(..2).unwrap_or(minute)),
        None if clock.len() == 4 => (clock.get(..2)?, clock.get(2..)?),
        None => (clock, "00"),
    };
    let hour: u8 = hour.parse().ok().filter(|hour| *hour <= 24)?;
    let minute: u8 = if minute.is_empty() { 0 } else { minute.parse().ok()? };
    let hour = if is_afternoon { hour % 12 + 12 } else { hour };
    format!("{hour:02}:{minute:02}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_days_that_were_meant() {
        for (text, meant) in [
            ("9:00", Some("09:00")),
            ("9am", Some("09:00")),
            ("5 pm", Some("17:00")),
            ("12pm", Some("12:00")),
            ("0900", Some("09:00")),
            ("09:00:00", Some("09:00")),
            ("17h", Some("17:00")),
            ("17h30", Some("17:30")),
            ("25:00", None),
            ("noon", None),
            ("", None),
            ("é9:00", None),
        ] {
            assert_eq!(time_meant(text).map(|time| time.to_string()).as_deref(), meant, "{text}");
        }
        for (word, meant) in
            [("Monday", Some("MON")), ("mo", Some("MON")), ("Thurs", Some("THU")), ("xx", None)]
        {
            assert_eq!(day_meant(word), meant, "{word}");
        }
    }
}
