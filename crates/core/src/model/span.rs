//! Durations as plans write them: `5m`, `1h 30m`, `10ms`.
//!
//! humantime reads them, after the units were checked: on its own it takes `5min`, `5 M` (a month) and `1.5h` too,
//! and a plan has one way to write a thing.

use std::time::Duration;

/// The units, largest first, with how many milliseconds they are and what else people write for them.
const UNITS: &[(&str, u64, &[&str])] = &[
    ("d", 86_400_000, &["day", "days"]),
    ("h", 3_600_000, &["hr", "hrs", "hour", "hours"]),
    ("m", 60_000, &["min", "mins", "minute", "minutes"]),
    ("s", 1_000, &["sec", "secs", "second", "seconds"]),
    ("ms", 1, &["msec", "msecs", "millis", "millisecond", "milliseconds"]),
];

/// The longest duration a plan may name: a leap year.
pub(crate) const SPAN_MAX: Duration = Duration::from_secs(366 * 86_400);

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SpanFault {
    /// Not a duration as plans write it; with what was meant, if that can be guessed.
    Written { meant: Option<Duration> },
    /// A number without a unit.
    NoUnit,
    /// Below zero.
    Negative,
    /// Above a year.
    TooLong,
}

/// Reads `5m`, `1h 30m` or `1h30m`: whole numbers without leading zeros, larger units first, each once.
pub(crate) fn parse(text: &str) -> Result<Duration, SpanFault> {
    let written = || SpanFault::Written { meant: guess(text) };
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.' || byte == b'_') {
        return Err(SpanFault::NoUnit);
    }
    if let Some(positive) = text.strip_prefix('-')
        && !positive.starts_with('-')
        && (guess(positive).is_some() || parse(positive) == Err(SpanFault::NoUnit))
    {
        return Err(SpanFault::Negative);
    }
    let mut rest = text;
    let mut smallest = usize::MAX;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let letters = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        let (number, unit) = (&rest[..digits], &rest[digits..digits + letters]);
        let rank = UNITS.iter().rev().position(|(name, ..)| *name == unit).ok_or_else(written)?;
        let leading_zero = number.len() > 1 && number.starts_with('0');
        if number.is_empty() || leading_zero || rank >= smallest {
            return Err(written());
        }
        smallest = rank;
        rest = &rest[digits + letters..];
        rest = match rest.strip_prefix(' ') {
            Some(after) if after.starts_with(|next: char| next.is_ascii_digit()) => after,
            Some(_) => return Err(written()),
            None => rest,
        };
    }
    match humantime::parse_duration(text) {
        Ok(span) if span <= SPAN_MAX => Ok(span),
        Ok(_) | Err(humantime::DurationError::NumberOverflow) => Err(SpanFault::TooLong),
        Err(_) => Err(written()),
    }
}

/// Writes a duration so that `parse` reads it again; finer than a millisecond is cut off.
pub(crate) fn write(span: Duration) -> String {
    let mut left = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let mut parts = Vec::new();
    for (unit, size_ms, _) in UNITS {
        if left >= *size_ms {
            parts.push(format!("{}{unit}", left / size_ms));
            left %= size_ms;
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

/// What somebody meant who wrote `5min`, `1.5h`, `PT5M`, `5 m` or `30m 1h`.
fn guess(text: &str) -> Option<Duration> {
    const TEXT_MAX: usize = 32;
    if text.len() > TEXT_MAX || !text.is_ascii() {
        return None;
    }
    let lower = text.to_ascii_lowercase();
    let plain = lower.strip_prefix("pt").or(lower.strip_prefix('p')).unwrap_or(&lower);
    let mut rest = plain.trim();
    let mut total_ms = 0.0;
    while !rest.is_empty() {
        let number = rest.find(|each: char| !each.is_ascii_digit() && each != '.').unwrap_or(rest.len());
        let value: f64 = rest[..number].parse().ok()?;
        rest = rest[number..].trim_start();
        let letters = rest.find(|each: char| !each.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit = &rest[..letters];
        let size_ms = match unit {
            "w" | "week" | "weeks" => 7 * 86_400_000,
            _ => UNITS.iter().find(|(name, _, others)| *name == unit || others.contains(&unit))?.1,
        };
        total_ms += value * size_ms as f64;
        rest = rest[letters..].trim_start_matches([' ', ',']);
    }
    let span = Duration::from_millis(total_ms.round() as u64);
    (span <= SPAN_MAX && (total_ms - total_ms.round()).abs() < 1e-6).then_some(span)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, ms) in [
            ("0s", 0),
            ("10ms", 10),
            ("5m", 300_000),
            ("90m", 5_400_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("1d 2h 3m 4s 5ms", 93_784_005),
            ("366d", 31_622_400_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_guessed_at() {
        let meant = |ms| SpanFault::Written { meant: Some(Duration::from_millis(ms)) };
        let nothing = SpanFault::Written { meant: None };
        for (text, fault) in [
            ("5", SpanFault::NoUnit),
            ("0.5", SpanFault::NoUnit),
            ("5min", meant(300_000)),
            ("5 m", meant(300_000)),
            ("5M", meant(300_000)),
            ("5 minutes", meant(300_000)),
            ("PT5M", meant(300_000)),
            ("1.5h", meant(5_400_000)),
            ("30m 1h", meant(5_400_000)),
            ("5m 5m", meant(600_000)),
            ("1h  30m", meant(5_400_000)),
            ("05m", meant(300_000)),
            ("1w", meant(604_800_000)),
            ("1h,30m", meant(5_400_000)),
            ("5m ", meant(300_000)),
            ("-5m", SpanFault::Negative),
            ("-5", SpanFault::Negative),
            ("--5", nothing.clone()),
            ("400d", SpanFault::TooLong),
            ("99999999999999999999d", SpanFault::TooLong),
            ("1:30", nothing.clone()),
            ("soon", nothing.clone()),
            ("5%", nothing.clone()),
            ("m", nothing.clone()),
            ("5mo", nothing.clone()),
            ("٣m", nothing),
        ] {
            assert_eq!(parse(text), Err(fault), "{text}");
        }
    }

    proptest! {
        #[test]
        fn written_durations_are_read_again(ms in 0u64..=31_622_400_000) {
            let span = Duration::from_millis(ms);
            prop_assert_eq!(parse(&write(span)), Ok(span));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*") {
            let _ = parse(&text);
        }
    }
}
