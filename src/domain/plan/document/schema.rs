//! The schema of the texts that plans are made of, and of a plan as a whole.

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::types::{NoneOr, PlanDocument, StepForm, StepMap};
use crate::domain::plan::in_force;
use crate::domain::plan::read::preset_names;
use crate::domain::plan::words::{EVENTS, Word};

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

impl<T: JsonSchema> JsonSchema for NoneOr<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("NoneOr{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [generator.subschema_for::<T>(), { "type": "string", "enum": ["none"] }] })
    }
}

impl Serialize for StepForm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let StepForm::Full(step) = self;
        step.serialize(serializer)
    }
}

impl JsonSchema for StepForm {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "StepForm".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut share = generator.subschema_for::<Percent>();
        share.insert("description".to_owned(), "Commit this share for the canary.".into());
        json_schema!({ "anyOf": [share, generator.subschema_for::<StepMap>()] })
    }
}

/// Makes the schema of a whole file.
pub(super) fn plan_schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with_transform(ForPeople);
    let mut schema = settings.into_generator().into_root_schema_for::<PlanDocument>();
    let is_complete = json_schema!({
        "required": ["function", "alias"],
        "anyOf": [{ "required": ["steps"] }, { "required": ["preset"] }]
    });
    let may_be_incomplete = json_schema!({
        "anyOf": [
            { "required": ["use"] },
            { "required": ["kind"], "properties": { "kind": { "const": "Defaults" } } }
        ]
    });
    let rules = json_schema!({
        "if": may_be_incomplete,
        "then": true,
        "else": is_complete
    });
    for (path, why) in in_force::without_engine() {
        note_in_description(&mut schema, path, why);
    }
    schema.insert("allOf".to_owned(), Value::Array(vec![rules.into()]));
    schema.insert("not".to_owned(), json_schema!({ "required": ["steps", "preset"] }).into());
    schema.into()
}

/// Adds a note to what an editor shows for a key.
fn note_in_description(schema: &mut Schema, path: &[&str], note: &str) {
    let (map, key) = match path {
        [key] => ("", *key),
        ["analysis", key] => ("AnalysisForm", *key),
        ["routing", key] => ("RoutingForm", *key),
        ["steps", "*", key] => ("StepMap", *key),
        _ => return,
    };
    let map = if map.is_empty() {
        schema.as_object_mut().map(|root| root as &mut serde_json::Map<String, Value>)
    } else {
        schema.pointer_mut(&format!("/$defs/{map}")).and_then(Value::as_object_mut)
    };
    let Some(map) = map else { return };
    let in_choice = |choice: &&mut Value| choice.pointer(&format!("/properties/{key}")).is_some();
    let described = match map.get_mut("oneOf") {
        Some(Value::Array(choices)) => choices.iter_mut().find(in_choice),
        _ => map.get_mut("properties").and_then(|properties| properties.get_mut(key)),
    };
    let described = match described {
        Some(choice) if choice.get("properties").is_some() => {
            choice.pointer_mut(&format!("/properties/{key}"))
        }
        other => other,
    };
    if let Some(Value::Object(described)) = described
        && let Some(Value::String(text)) = described.get_mut("description")
    {
        text.push_str(&format!(" Refused for now: {note}."));
    }
}

/// Takes `null` out, since in a plan what is not there is left out, and joins the lines of descriptions.
#[derive(Clone)]
struct ForPeople;

impl Transform for ForPeople {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        if let Some(Value::String(text)) = schema.get_mut("description") {
            *text = text.replace('\n', " ");
        }
        if let Some(Value::Array(words)) = schema.get_mut("enum") {
            words.retain(|word| !word.is_null());
        }
        if let Some(Value::Array(types)) = schema.get_mut("type") {
            types.retain(|name| name != "null");
            if let [only] = types.as_slice() {
                let only = only.clone();
                schema.insert("type".to_owned(), only);
            }
        }
        // Editors show the description of a key, and a choice of one key has its description one level higher.
        if let Some(description) = schema.get("description").cloned()
            && let Some(Value::Object(properties)) = schema.get_mut("properties")
            && properties.len() == 1
            && let Some(Value::Object(only)) = properties.values_mut().next()
        {
            only.entry("description").or_insert(description);
        }
        let Some(Value::Array(choices)) = schema.get_mut("anyOf") else { return };
        choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
        if choices.len() == 1
            && let Some(Value::Object(only)) = choices.pop()
        {
            schema.remove("anyOf");
            for (key, value) in only {
                schema.ensure_object().entry(key).or_insert(value);
            }
        }
    }
}

/// Shows the properties of every object in a schema that has fixed ones.
#[cfg(test)]
pub(super) fn visit_maps(schema: &Value, show: &mut impl FnMut(&serde_json::Map<String, Value>)) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::Object(properties)) = members.get("properties")
                && members.contains_key("additionalProperties")
            {
                show(properties);
            }
            members.values().for_each(|member| visit_maps(member, show));
        }
        Value::Array(items) => items.iter().for_each(|item| visit_maps(item, show)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
