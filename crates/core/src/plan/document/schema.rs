//! The schema of the texts that plans are made of, and of a plan as a whole.

use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use schemars::{Schema, json_schema};
use serde_json::Value;

use super::types::PlanDocument;
use crate::plan::in_force;

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
