//! Single values as plans write them, and what their schema is.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::plan::presets::preset_names;
use crate::plan::words::{EVENTS, Word};

/// Makes a text whose schema is a pattern.
macro_rules! pattern_text {
    ($(#[$doc:meta])* $name:ident, $pattern:literal, $example:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub(super) struct $name(pub String);

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "examples": [$example] })
            }
        }
    };
}

pattern_text!(
    /// A share: `3%`.
    Percent, r"^(0|[1-9][0-9]*)(\.[0-9]+)?%$", "3%"
);
pattern_text!(
    /// A difference of shares: `0.05pp`.
    Points, r"^(0|[1-9][0-9]*)(\.[0-9]+)?pp$", "0.5pp"
);
pattern_text!(
    /// A duration: `1h 30m`.
    SpanText, r"^[0-9]+(d|h|m|s|ms)( ?[0-9]+(h|m|s|ms))*$", "5m"
);
pattern_text!(
    /// A time zone: `Europe/Paris`.
    ZoneName, r"^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$", "Europe/Paris"
);
pattern_text!(
    /// `function:alias`.
    TargetName, r"^[A-Za-z0-9_-]{1,64}:[A-Za-z0-9_-]{1,128}$", "checkout:staging"
);
pattern_text!(
    /// A label's name, as Prometheus has them.
    LabelName, r"^([A-Za-z]|_[A-Za-z0-9])[A-Za-z0-9_]*$|^_$", "team"
);
pattern_text!(
    /// The name of a metric.
    MetricName, r"^[A-Za-z0-9_-]{1,64}$", "queue-age"
);
pattern_text!(
    /// The name of a header.
    HeaderName, r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", "authorization"
);
pattern_text!(
    /// The name of a cookie.
    CookieName, r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", "session"
);
pattern_text!(
    /// The name of an environment variable.
    EnvName, r"^[A-Za-z_][A-Za-z0-9_]*$", "HOOK_TOKEN"
);
pattern_text!(
    /// A date: `2026-12-20`.
    DateText, r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", "2026-12-20"
);
pattern_text!(
    /// Days of the week: `MON-FRI`, `MON,WED`.
    DaysText,
    r"^(MON|TUE|WED|THU|FRI|SAT|SUN)([-,] ?(MON|TUE|WED|THU|FRI|SAT|SUN))*$",
    "MON-FRI"
);

/// A label's value.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct LabelText(pub String);

impl JsonSchema for LabelText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "LabelText".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1, "maxLength": 128 })
    }
}

/// A time of day, written in quotes whatever YAML makes of it.
pub(super) struct DayTimeText(pub String);

impl Serialize for DayTimeText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_yaml::DoubleQuoted(&self.0).serialize(serializer)
    }
}

impl JsonSchema for DayTimeText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "DayTimeText".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$", "examples": ["09:00"] })
    }
}

/// A whole number.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Count(pub u64);

impl JsonSchema for Count {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Count".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 0 })
    }
}

/// A plain number, written without an exponent and without decimals it does not need.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number(pub f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
        if self.0.fract() == 0.0 && self.0.abs() < WHOLE_MAX {
            return serializer.serialize_i64(self.0 as i64);
        }
        serializer.serialize_f64(self.0)
    }
}

impl JsonSchema for Number {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Number".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number" })
    }
}

/// A version: `newest`, or a number as a text.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct VersionText(pub String);

impl JsonSchema for VersionText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "VersionText".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [{ "type": "string", "pattern": "^(newest|[1-9][0-9]*)$" }, { "type": "integer", "minimum": 1 }]
        })
    }
}

/// An HTTP status or a range of them.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct StatusText(pub String);

impl JsonSchema for StatusText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "StatusText".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "string", "pattern": "^[1-5][0-9]{2}( ?- ?[1-5][0-9]{2})?$" },
                { "type": "integer", "minimum": 100, "maximum": 599 }
            ]
        })
    }
}

/// The name of a preset.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct PresetName(pub String);

impl JsonSchema for PresetName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "PresetName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": preset_names() })
    }
}

/// The name of an event.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct EventName(pub String);

impl JsonSchema for EventName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "EventName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": EVENTS })
    }
}

/// One of a few words.
pub(super) struct Choice<W>(pub W);

impl<W: Word> Serialize for Choice<W> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.written())
    }
}

impl<W: Word> JsonSchema for Choice<W> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Choice".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let words: Vec<&str> = W::WORDS.iter().map(|(word, _)| *word).collect();
        json_schema!({ "type": "string", "enum": words })
    }
}
