//! Numbers, times and states in people's words.

use std::time::Duration;

use super::Look;
use crate::api::wire::{RolloutStatus, TimeoutsView};
use crate::cli::render::tone::Tone;
use serin_core::model::time::Timestamp;
use serin_core::model::weight::Weight;

/// Whether a character shows nothing and changes how others are shown: controls, marks of direction, and the unseen.
pub fn is_hidden(char: char) -> bool {
    char.is_control()
        || matches!(
            char,
            '\u{061c}'
                | '\u{200b}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// A text in which nothing hides: a space for what is space, a question mark for what would move or turn others.
pub fn harmless(text: &str) -> String {
    let shown = text.chars().map(|char| match char {
        '\n' | '\t' => ' ',
        char if is_hidden(char) => '?',
        char => char,
    });
    shown.collect()
}

/// JSON that means the same and in which nothing hides.
pub fn escaped(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for char in json.chars() {
        if is_hidden(char) && !matches!(char, '\n' | '\t') {
            let mut units = [0; 2];
            char.encode_utf16(&mut units).iter().for_each(|unit| shown.push_str(&format!("\\u{unit:04x}")));
        } else {
            shown.push(char);
        }
    }
    shown
}

/// A count with a comma between thousands.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share of traffic, 0 to 1, as a percentage.
pub fn share(fraction: f64) -> String {
    Weight::from_fraction(fraction).map_or_else(|| "?".to_owned(), |weight| weight.to_string())
}

/// A share that is no weight, in whole percent; never 0% or 100% unless it is.
pub fn percent(fraction: f64) -> String {
    let whole = (fraction.clamp(0.0, 1.0) * 100.0).round() as u8;
    let whole = match whole {
        0 if fraction > 0.0 => 1,
        100 if fraction < 1.0 => 99,
        whole => whole,
    };
    format!("{whole}%")
}

/// A failure rate, with as many decimals as it deserves.
pub fn failure_rate(failures: u64, requests: u64, look: &Look) -> String {
    if requests == 0 {
        return look.glyphs().none.to_owned();
    }
    let percent = failures as f64 / requests as f64 * 100.0;
    if failures > 0 && percent < 0.005 {
        return "<0.01%".to_owned();
    }
    if percent < 10.0 { format!("{percent:.2}%") } else { format!("{percent:.1}%") }
}

/// A latency in milliseconds.
pub fn latency(ms: Option<f64>, look: &Look) -> String {
    match ms {
        None => look.glyphs().none.to_owned(),
        Some(ms) if ms < 1.0 => "<1ms".to_owned(),
        Some(ms) if ms < 9.95 => format!("{ms:.1}ms").replace(".0ms", "ms"),
        Some(ms) if ms < 999.5 => format!("{ms:.0}ms"),
        Some(ms) if ms < 9_950.0 => format!("{:.1}s", ms / 1_000.0),
        Some(ms) => format!("{:.0}s", ms / 1_000.0),
    }
}

/// Requests a second.
pub fn request_rate(per_second: f64) -> String {
    if per_second >= 9.95 {
        format!("{} req/s", count(per_second.round() as u64))
    } else if per_second >= 0.095 {
        format!("{per_second:.1} req/s").replace(".0 ", " ")
    } else {
        "under 0.1 req/s".to_owned()
    }
}

/// The interval of a ratio of failure rates, as `0.4 to 3.9`; `None` where it says nothing.
pub fn failure_ratio(low: Option<f64>, high: Option<f64>) -> Option<String> {
    let times = |ratio: f64| {
        if ratio >= 10.0 {
            return count(ratio.round() as u64);
        }
        format!("{ratio:.2}").trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match (low, high) {
        (Some(low), Some(high)) => Some(format!("{} to {}", times(low), times(high))),
        (Some(low), None) => Some(format!("at least {}", times(low))),
        (None, Some(high)) => Some(format!("at most {}", times(high))),
        (None, None) => None,
    }
}

/// How long a version is waited for, where its publisher said so.
pub fn timeouts(said: Option<&TimeoutsView>) -> Option<String> {
    let said = said?;
    let parts = [("first byte", &said.first_byte), ("idle", &said.idle)];
    let parts = parts.into_iter().filter_map(|(name, span)| Some(format!("{name} {}", span.as_ref()?)));
    Some(parts.collect::<Vec<_>>().join(", "))
}

/// A duration in its two largest units: `23h58m`, `4m10s`, `27s`.
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let units =
        [(seconds / 86_400, "d"), (seconds / 3_600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let first = units.iter().position(|(count, _)| *count > 0).unwrap_or(3);
    let said = units.iter().skip(first).take(2).enumerate().filter(|(index, unit)| *index == 0 || unit.0 > 0);
    said.map(|(_, (count, unit))| format!("{count}{unit}")).collect()
}

/// How long ago an instant was, `ago` included.
pub fn ago(at: &str, look: &Look) -> String {
    match Timestamp::parse(at) {
        Some(at) if look.now.since(at) < Duration::from_secs(1) => "just now".to_owned(),
        Some(at) => format!("{} ago", span(look.now.since(at))),
        None => at.to_owned(),
    }
}

/// The time of day where the reader is, with the day where it is not today.
pub fn clock(at: &str, look: &Look) -> String {
    let Some(at) = Timestamp::parse(at) else { return at.to_owned() };
    let (then, now) =
        (at.calendar().to_zoned(look.zone.clone()), look.now.calendar().to_zoned(look.zone.clone()));
    let form = match (then.date() == now.date(), then.year() == now.year()) {
        (true, _) => "%H:%M:%S",
        (false, true) => "%d %b %H:%M",
        (false, false) => "%Y-%m-%d",
    };
    then.strftime(form).to_string()
}

/// Date and time where the reader is.
pub fn date_time(at: &str, look: &Look) -> String {
    let Some(at) = Timestamp::parse(at) else { return at.to_owned() };
    at.calendar().to_zoned(look.zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// A text with the instants in it told where the reader is: `03:11` today, else with the day.
pub fn localized(text: &str, look: &Look) -> String {
    const LENGTH: usize = "2026-01-01T00:00:00.123Z".len();
    let mut told = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("T").filter(|_| rest.contains('Z')) {
        let start = at.checked_sub("2026-01-01".len());
        let instant = start.and_then(|start| Some((start, rest.get(start..start + LENGTH)?)));
        match instant.and_then(|(start, text)| Some((start, Timestamp::parse(text)?))) {
            Some((start, instant)) => {
                told.push_str(&rest[..start]);
                let zoned = instant.calendar().to_zoned(look.zone.clone());
                let is_today = zoned.date() == look.now.calendar().to_zoned(look.zone.clone()).date();
                let form = if is_today { "%H:%M" } else { "%a %d %b %H:%M" };
                told.push_str(&zoned.strftime(form).to_string());
                rest = &rest[start + LENGTH..];
            }
            None => {
                told.push_str(&rest[..=at]);
                rest = &rest[at + 1..];
            }
        }
    }
    told + rest
}

/// The last four characters of a rollout's id, for people.
pub fn short_id(id: &str) -> &str {
    id.len().checked_sub(4).and_then(|start| id.get(start..)).unwrap_or(id)
}

/// `function:alias` of a rollout.
pub fn target(status: &RolloutStatus) -> String {
    format!("{}:{}", status.function, status.alias)
}

/// `v41 → v42`.
pub fn versions(status: &RolloutStatus, look: &Look) -> String {
    format!("v{} {} v{}", status.stable_version, look.glyphs().arrow, status.canary_version)
}

/// The phase in capitals.
pub fn phase(status: &RolloutStatus) -> String {
    match status.phase.as_str() {
        "RollingBack" => "ROLLING BACK".to_owned(),
        "RolledBack" => "ROLLED BACK".to_owned(),
        phase => phase.to_uppercase(),
    }
}

/// The tone of a phase.
pub fn tone(status: &RolloutStatus) -> Tone {
    match status.phase.as_str() {
        "Succeeded" => Tone::Good,
        "RollingBack" | "RolledBack" | "Aborted" => Tone::Bad,
        "Paused" => Tone::Caution,
        _ if status.waits_for_person() => Tone::Caution,
        _ => Tone::Strong,
    }
}

/// What it waits for, in a few words; nothing for what has ended.
pub fn waiting(status: &RolloutStatus) -> Option<String> {
    let kind = status.waiting_for.as_ref()?.kind.as_str();
    Some(match (status.phase.as_str(), kind) {
        (_, "drift") => "somebody else changed the alias".to_owned(),
        (_, "pause") => "waiting for resume".to_owned(),
        (_, "bake") => "baking".to_owned(),
        (_, "queue") => "waiting for its turn".to_owned(),
        (_, "window") => "waiting for its window".to_owned(),
        (_, "freeze") => "waiting for the freeze to end".to_owned(),
        (_, "after") => "waiting for another alias".to_owned(),
        (_, "stable") => "waiting for stable to recover".to_owned(),
        (_, "metrics") => "waiting for metrics".to_owned(),
        (_, "webhook") => "waiting for a webhook".to_owned(),
        (_, other) => format!("waiting for {other}"),
    })
}

/// The verdict: the phase, and what it waits for.
pub fn verdict(status: &RolloutStatus) -> String {
    match waiting(status) {
        Some(waiting) => format!("{}, {waiting}", phase(status)),
        None => phase(status),
    }
}

/// The verdict in a table's cell: what it waits for where that says enough.
pub fn state(status: &RolloutStatus) -> String {
    let kind = status.waiting_for.as_ref().map(|waiting| waiting.kind.as_str());
    match (status.phase.as_str(), kind) {
        ("Paused", Some("drift")) => "paused: drift".to_owned(),
        ("Pending", Some(kind)) => format!("pending: {kind}"),
        ("Progressing", Some(_)) => waiting(status).unwrap_or_default(),
        _ => phase(status).to_lowercase(),
    }
}

/// One of something, or so many.
pub fn plural(number: usize, one: &str, many: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{} {many}", count(number as u64)) }
}

#[cfg(test)]
mod tests {
    use super::super::test_look;
    use super::*;

    #[test]
    fn numbers_are_said_as_people_say_them() {
        let look = test_look();
        assert_eq!(
            [0, 999, 1_000, 7_828, 1_234_567].map(count),
            ["0", "999", "1,000", "7,828", "1,234,567"].map(str::to_owned)
        );
        for (failures, requests, text) in
            [(0, 0, "–"), (0, 5, "0.00%"), (8, 7_828, "0.10%"), (1, 1_000_000, "<0.01%"), (1, 4, "25.0%")]
        {
            assert_eq!(failure_rate(failures, requests, &look), text);
        }
        for (ms, text) in [
            (None, "–"),
            (Some(0.3), "<1ms"),
            (Some(1.0), "1ms"),
            (Some(2.5), "2.5ms"),
            (Some(88.2), "88ms"),
            (Some(1_240.0), "1.2s"),
            (Some(31_000.0), "31s"),
        ] {
            assert_eq!(latency(ms, &look), text);
        }
        for (rate, text) in
            [(0.01, "under 0.1 req/s"), (0.5, "0.5 req/s"), (5.0, "5 req/s"), (1_234.4, "1,234 req/s")]
        {
            assert_eq!(request_rate(rate), text);
        }
        assert_eq!([0.0, 0.001, 0.75, 0.999, 1.0].map(percent), ["0%", "1%", "75%", "99%", "100%"]);
    }

    #[test]
    fn times_are_told_where_the_reader_is() {
        let look = test_look();
        for (seconds, text) in
            [(0, "0s"), (27, "27s"), (250, "4m10s"), (3_600, "1h"), (86_280, "23h58m"), (90_000, "1d1h")]
        {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
        assert_eq!(clock("2026-11-22T02:11:40.000Z", &look), "03:11:40");
        assert_eq!(clock("2026-11-20T02:11:40.000Z", &look), "20 Nov 03:11");
        assert_eq!(clock("2025-11-20T02:11:40.000Z", &look), "2025-11-20");
        assert_eq!(
            localized(
                "Tuesday: its window, which opens 2026-11-23T08:00:00.000Z, or 2026-11-22T08:00:00.000Z",
                &look
            ),
            "Tuesday: its window, which opens Mon 23 Nov 09:00, or 09:00"
        );
        assert_eq!(localized("GET /T/Z and nothing else; é T Z", &look), "GET /T/Z and nothing else; é T Z");
    }
}
