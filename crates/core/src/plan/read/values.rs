//! The values of a plan: numbers with their units, choices and texts, each with what is said when it is none.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::fields::{Field, Reader, short};
use super::surprise::surprise;
use crate::model::arn::NameError;
use crate::model::span::{self, SpanFault};
use crate::model::weight::{Weight, WeightError};
use crate::plan::suggest::{is_like_none, listed, nearest};
use crate::plan::syntax::is_hidden;
use crate::plan::tree::{Content, Style};
use crate::plan::words::Word;

/// What a duration may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    /// To the second, and no time at all is fine too.
    Any,
    /// To the second, and longer than nothing.
    Positive,
    /// To the millisecond.
    Fine,
    /// To the millisecond, and longer than nothing.
    FinePositive,
}

impl Reader<'_> {
    /// Takes a share of traffic, as in `3%`.
    pub fn weight(&mut self, field: &Field<'_>) -> Option<Weight> {
        let number = self.number_with(field, "%", "a share of the traffic")?;
        match format!("{number}%").parse() {
            Ok(weight) => Some(weight),
            Err(WeightError::TooFine) => {
                let help = "write 0.0001% or more, with at most four decimals".to_owned();
                self.refuse(field, "which is finer than serin can route", Some(help));
                None
            }
            Err(_) => {
                self.refuse(field, "which is more than 100%", Some("100% is all traffic".to_owned()));
                None
            }
        }
    }

    /// Takes a share within bounds, as a fraction: `1%` is 0.01. Bounds are in percent.
    pub fn share(&mut self, field: &Field<'_>, percent: RangeInclusive<f64>) -> Option<f64> {
        let number = self.number_with(field, "%", "a share")?;
        self.within(field, &number, percent, "%")?;
        hundredth(&number)
    }

    /// Takes a difference of shares within bounds, as a fraction: `0.05pp` is 0.0005. Bounds are in points.
    pub fn points(&mut self, field: &Field<'_>, points: RangeInclusive<f64>) -> Option<f64> {
        let number = self.number_with(field, "pp", "a difference of shares in points (pp)")?;
        self.within(field, &number, points, "pp")?;
        hundredth(&number)
    }

    /// Takes a plain number within bounds.
    pub fn number(&mut self, field: &Field<'_>, bounds: RangeInclusive<f64>) -> Option<f64> {
        let text =
            self.plain_number(field, "a number", |text| is_decimal(text.strip_prefix('-').unwrap_or(text)))?;
        if text.split_once('.').is_some_and(|(_, decimals)| decimals.len() > DECIMALS_MAX) {
            let help = format!("{DECIMALS_MAX} decimals are the most");
            self.refuse(field, "which is finer than numbers are kept", Some(help));
            return None;
        }
        self.within(field, text, bounds, "")?;
        text.parse().ok()
    }

    /// Takes a whole number within bounds.
    pub fn count(&mut self, field: &Field<'_>, bounds: RangeInclusive<u64>) -> Option<u64> {
        let text =
            self.plain_number(field, "a whole number", |text| is_decimal(text) && !text.contains('.'))?;
        match text.parse::<u64>() {
            Ok(count) if bounds.contains(&count) => Some(count),
            _ => {
                const LARGE: u64 = 1_000_000;
                let allowed = match (bounds.start(), bounds.end()) {
                    (least, most) if *most > LARGE => format!("it is at least {least}"),
                    (least, most) => format!("it lies between {least} and {most}"),
                };
                self.refuse(field, "which is out of bounds", Some(allowed));
                None
            }
        }
    }

    /// Takes `true` or `false`.
    pub fn truth(&mut self, field: &Field<'_>) -> Option<bool> {
        let (text, style) = self.word(field, "true or false")?;
        match (text, style) {
            ("true", Style::Plain) => Some(true),
            ("false", Style::Plain) => Some(false),
            _ => {
                let meant = match text.to_ascii_lowercase().as_str() {
                    "yes" | "on" | "y" | "true" => Some("write true".to_owned()),
                    "no" | "off" | "n" | "false" | "none" => Some("write false".to_owned()),
                    _ => None,
                };
                self.not(field, "true or false", text, meant);
                None
            }
        }
    }

    /// Takes a duration with its units, as in `1h 30m`.
    pub fn span(&mut self, field: &Field<'_>, kind: Span) -> Option<Duration> {
        let (text, _) = self.word(field, "a duration")?;
        let fine = matches!(kind, Span::Fine | Span::FinePositive);
        let units = if fine { "Units are ms, s, m, h and d" } else { "Units are s, m, h and d" };
        let did_you_mean = |meant: Duration| format!("did you mean {}?", span::write(meant));
        let fault = match span::parse(text) {
            Ok(found) if !fine && !found.subsec_nanos().is_multiple_of(1_000_000_000) => {
                let seconds = Duration::from_secs(found.as_secs().max(1));
                Some(("which is finer than a second", format!("{} {units}", did_you_mean(seconds))))
            }
            Ok(found) if found.is_zero() && matches!(kind, Span::Positive | Span::FinePositive) => {
                Some(("but must be longer than nothing", field.write()))
            }
            Ok(found) => return Some(found),
            Err(SpanFault::Negative) => Some(("but must not be negative", field.write())),
            Err(SpanFault::TooLong) => Some((
                "which is longer than a year",
                format!("a duration is at most {}", span::write(span::SPAN_MAX)),
            )),
            Err(SpanFault::NoUnit) if surprise(text).is_some_and(|found| found.is_odd) => None,
            Err(SpanFault::NoUnit) if text == "0" => {
                Some(("which has no unit", "did you mean 0s?".to_owned()))
            }
            Err(SpanFault::NoUnit) => {
                let (first, second) = if fine { ("ms", "s") } else { ("m", "s") };
                Some(("which has no unit", format!("did you mean {text}{first}, or {text}{second}? {units}")))
            }
            Err(SpanFault::Written { meant: Some(meant) }) => {
                Some(("which is not how durations are written", format!("{} {units}", did_you_mean(meant))))
            }
            Err(SpanFault::Written { meant: None }) => None,
        };
        match fault {
            Some((why, help)) => self.refuse(field, why, Some(help)),
            None => self.not(field, "a duration", text, None),
        }
        None
    }

    /// Takes one of a few words.
    pub fn choice<W: Word>(&mut self, field: &Field<'_>) -> Option<W> {
        let words: Vec<&str> = W::WORDS.iter().map(|(word, _)| *word).collect();
        let expected = listed(&words);
        let (text, _) = self.word(field, &expected)?;
        let found = W::WORDS.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let meant = nearest(text, words).map(|word| format!("did you mean `{word}`?"));
            self.not(field, &expected, text, meant);
        }
        found.map(|(_, choice)| *choice)
    }

    /// Takes `none`, or what `read` takes; the inner `None` is `none`.
    pub fn none_or<'t, T>(
        &mut self,
        field: &Field<'t>,
        read: impl FnOnce(&mut Self, &Field<'t>) -> Option<T>,
    ) -> Option<Option<T>> {
        let written = self.scalar_text(field);
        match written {
            Some("none") => Some(None),
            Some(off) if is_like_none(off) => {
                self.faults
                    .error(
                        field.place(),
                        format!("{} is switched off with `none`, not with `{off}`", field.what),
                    )
                    .help("write `none`");
                None
            }
            _ => read(self, field).map(Some),
        }
    }

    /// Takes a text; one that other YAML readers take for something else needs quotes.
    pub fn text<'t>(&mut self, field: &Field<'t>) -> Option<&'t str> {
        // Over several lines, a text is still a text.
        let (text, style) = match &field.node.content {
            Content::Text { text, style: Style::PlainLines } => (text.as_str(), Style::Plain),
            Content::Text { .. } | Content::List(_) | Content::Map(_) | Content::Refused => {
                self.word(field, "a text")?
            }
        };
        if text.trim().is_empty() {
            self.faults
                .error(field.place(), format!("{} is an empty text", field.what))
                .help(field.write_or_leave_out());
            return None;
        }
        if let Some(hidden) = text.chars().find(|each| is_hidden(*each) && !matches!(each, '\n' | '\t')) {
            let code = u32::from(hidden);
            let help = Some("write it without escapes such as \\r, \\0 and \\u202e".to_owned());
            self.refuse_text(field, &format!("contains a character that cannot be seen: U+{code:04X}"), help);
            return None;
        }
        if style == Style::Plain
            && let Some(found) = surprise(text)
        {
            self.faults
                .error(field.place(), format!("{} must be a text, and {}", field.what, found.reading))
                .help(format!("put it in quotes: \"{}\"", short(text)));
            return None;
        }
        Some(text)
    }

    /// Takes a name that `check` accepts; its answer says what such a name is.
    pub fn name<T>(
        &mut self,
        field: &Field<'_>,
        check: impl FnOnce(&str) -> Result<T, NameError>,
    ) -> Option<T> {
        let (text, _) = self.word(field, "a text")?;
        match check(text) {
            // A good name may still lack its quotes.
            Ok(name) => self.text(field).map(|_| name),
            Err(_) if text.trim().is_empty() => self.text(field).and(None),
            Err(NameError(rule)) => {
                self.faults
                    .error(field.place(), format!("{} cannot be `{}`", field.what, short(text)))
                    .help(rule);
                None
            }
        }
    }

    /// The text of a value that is one, however it is written.
    pub fn scalar_text<'t>(&self, field: &Field<'t>) -> Option<&'t str> {
        match &field.node.content {
            Content::Text { text, .. } => Some(text),
            Content::List(_) | Content::Map(_) | Content::Refused => None,
        }
    }

    /// Reports a value that is well-written, but cannot be.
    pub fn refuse(&mut self, field: &Field<'_>, why: &str, help: Option<String>) {
        let text = short(self.scalar_text(field).unwrap_or_default());
        self.faults.error(field.place(), format!("{} is `{text}`, {why}", field.what)).maybe_help(help);
    }

    /// Reports a text by what is wrong with it, where quoting it would not show it.
    pub fn refuse_text(&mut self, field: &Field<'_>, why: &str, help: Option<String>) {
        self.faults.error(field.place(), format!("{} {why}", field.what)).maybe_help(help);
    }

    /// Reports a value that is not what is expected, with what was meant or else an example.
    pub fn not(&mut self, field: &Field<'_>, expected: &str, text: &str, meant: Option<String>) {
        let odd = surprise(text).filter(|found| found.is_odd && self.is_plain(field));
        let found = match odd {
            Some(odd) => format!("`{}`, and {}", short(text), odd.reading),
            None => format!("`{}`", short(text)),
        };
        let help = meant.unwrap_or_else(|| field.write());
        self.faults
            .error(field.place(), format!("{} must be {expected}, but this is {found}", field.what))
            .help(help);
    }

    fn is_plain(&self, field: &Field<'_>) -> bool {
        matches!(&field.node.content, Content::Text { style: Style::Plain, .. })
    }

    fn plain_number<'t>(
        &mut self,
        field: &Field<'t>,
        expected: &str,
        is_number: impl Fn(&str) -> bool,
    ) -> Option<&'t str> {
        let (text, style) = self.word(field, expected)?;
        if !is_number(text) {
            let meant = plain_number_meant(text).filter(|number| is_number(number));
            let meant = meant.map(|number| format!("did you mean {number}?"));
            self.not(field, expected, text, meant);
            return None;
        }
        if style != Style::Plain {
            self.refuse(field, "but in quotes it is a text and no number", Some(format!("write {text}")));
            return None;
        }
        Some(text)
    }

    /// Takes a decimal number with its unit, and answers the number.
    fn number_with(&mut self, field: &Field<'_>, unit: &str, expected: &str) -> Option<String> {
        let (text, _) = self.word(field, expected)?;
        if let Some(number) = text.strip_suffix(unit)
            && is_decimal(number)
        {
            return Some(number.to_owned());
        }
        let meant = leading_number(text).and_then(|(number, found)| {
            let percent: f64 = number.parse().ok()?;
            let known_unit = ["", "%", "pp", "p", "percent", "pct", "points", "point", "ppt"];
            if !known_unit.contains(&found.to_ascii_lowercase().as_str()) {
                return None;
            }
            if found.is_empty() && unit == "%" && percent > 0.0 && percent < 1.0 && number.len() < 12 {
                let scaled = hundred_times(&number)?;
                return Some(format!("did you mean {scaled}%, or {number}%? A share carries its unit"));
            }
            Some(match (unit, found) {
                ("pp", "%") => format!("did you mean {number}pp?"),
                ("%", "pp") => format!("did you mean {number}%? pp is for differences of shares"),
                _ => format!("did you mean {number}{unit}?"),
            })
        });
        self.not(field, expected, text, meant);
        None
    }

    fn within(
        &mut self,
        field: &Field<'_>,
        number: &str,
        bounds: RangeInclusive<f64>,
        unit: &str,
    ) -> Option<()> {
        let value: f64 = number.parse().ok()?;
        if bounds.contains(&value) && value.is_finite() {
            return Some(());
        }
        let (least, most) = (bounds.start(), bounds.end());
        let allowed = format!("it lies between {least}{unit} and {most}{unit}");
        self.refuse(field, "which is out of bounds", Some(allowed));
        None
    }
}

/// Finer numbers would be written with an exponent, which plans do not have.
const DECIMALS_MAX: usize = 5;

/// Whether a text is a plain decimal number: no sign, no exponent, no leading zero, not endless.
fn is_decimal(text: &str) -> bool {
    const DIGITS_MAX: usize = 18;
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    text.len() <= DIGITS_MAX
        && all_digits(whole)
        && all_digits(decimals)
        && (whole == "0" || !whole.starts_with('0'))
}

/// A number without what surprises in it, and what follows it, as in `3 percent` and `01_0%`.
fn leading_number(text: &str) -> Option<(String, &str)> {
    let end =
        text.find(|each: char| !each.is_ascii_digit() && !matches!(each, '.' | '_')).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    if !number.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let number = number.replace('_', "");
    let trimmed = number.trim_start_matches('0');
    let number = if trimmed.is_empty() || trimmed.starts_with('.') {
        format!("0{trimmed}")
    } else {
        trimmed.to_owned()
    };
    is_decimal(&number).then(|| (number, rest.trim()))
}

/// What somebody meant who wrote `120%`, `1_000`, `1e3` or `30s` where a plain number is due.
fn plain_number_meant(text: &str) -> Option<String> {
    if let Some((number, unit)) = leading_number(text) {
        if unit == "%" {
            return hundredth(&number).map(|ratio| ratio.to_string());
        }
        if unit.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Some(number);
        }
    }
    text.parse::<f64>().ok().filter(|value| value.is_finite()).map(|value| value.to_string())
}

/// A hundredth of a decimal number, rounded once: dividing the double would round twice.
fn hundredth(number: &str) -> Option<f64> {
    format!("{number}e-2").parse().ok()
}

fn hundred_times(number: &str) -> Option<String> {
    format!("{number}e2").parse::<f64>().ok().map(|value| value.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::words::percent;

    #[test]
    fn plain_decimals() {
        for text in ["0", "3", "0.5", "12.50", "100"] {
            assert!(is_decimal(text), "{text}");
        }
        for text in
            ["", ".5", "5.", "03", "00", "1_0", "1e3", "+3", "-3", "0x3", "٣", "1.2.3", "1234567890123456789"]
        {
            assert!(!is_decimal(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn fractions_are_written_as_they_are_read(whole in 0u32..1000, decimals in "[0-9]{0,6}") {
            let text = if decimals.is_empty() { whole.to_string() } else { format!("{whole}.{decimals}") };
            let fraction = hundredth(&text).unwrap();
            prop_assert_eq!(hundredth(&percent(fraction)), Some(fraction));
        }
    }

    #[test]
    fn fractions_are_written_shortly() {
        for (fraction, text) in
            [(0.0005, "0.05"), (0.01, "1"), (0.2, "20"), (1.0, "100"), (0.0, "0"), (0.125, "12.5")]
        {
            assert_eq!(percent(fraction), text);
        }
    }
}
