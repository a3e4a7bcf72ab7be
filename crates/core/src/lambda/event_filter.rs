//! Which messages of a queue a mapping wants: patterns as EventBridge and Lambda have them.
//!
//! A pattern is a JSON object in the shape of the message, with an array of tests at each leaf; a message matches when
//! every leaf has a test that its value passes. Source: AWS, "Using event filtering with an Amazon SQS event source".

use serde_json::{Map, Value};

/// The longest pattern, in bytes.
pub const PATTERN_BYTES_MAX: usize = 4096;

/// A pattern that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter(Node);

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// It is no JSON, or not of a pattern's shape; the text is AWS's.
    #[error("Invalid filter pattern definition.")]
    Malformed,
    /// It is a pattern with a test that serin does not know.
    #[error(
        "The filter operator {0} is not supported by serin; there are prefix, suffix, equals-ignore-case, anything-but, \
         numeric, exists and $or."
    )]
    Unsupported(String),
}

/// A part of a pattern.
#[derive(Clone, Debug, PartialEq)]
enum Node {
    /// Every member matches, and of each group of alternatives one does.
    Object { members: Vec<(String, Node)>, alternatives: Vec<Vec<Node>> },
    /// The value passes one of the tests.
    Leaf(Vec<Test>),
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Equals(Value),
    Prefix(String),
    Suffix(String),
    EqualsIgnoreCase(String),
    AnythingBut(Vec<Value>),
    Numeric(Vec<(Comparison, f64)>),
    Exists(bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Filter {
    /// Reads a pattern; `{}` wants every message.
    pub fn parse(text: &str) -> Result<Filter, FilterError> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(FilterError::Malformed);
        }
        match serde_json::from_str(text) {
            Ok(Value::Object(members)) => object(&members).map(Filter),
            _ => Err(FilterError::Malformed),
        }
    }

    /// Whether it wants a message: a record as functions get it, but with a body that is a JSON object in its place.
    ///
    /// So a pattern for text never matches JSON and one for JSON never text, as on Lambda.
    pub fn wants(&self, record: &Value) -> bool {
        matches(&self.0, Some(record))
    }
}

fn object(members: &Map<String, Value>) -> Result<Node, FilterError> {
    let mut read = Vec::new();
    let mut alternatives = Vec::new();
    for (name, value) in members {
        match value {
            Value::Array(choices) if name == "$or" => {
                let choices = choices.iter().map(|choice| match choice {
                    Value::Object(members) if !members.is_empty() => object(members),
                    Value::Null
                    | Value::Bool(_)
                    | Value::Number(_)
                    | Value::String(_)
                    | Value::Array(_)
                    | Value::Object(_) => Err(FilterError::Malformed),
                });
                let choices: Vec<Node> = choices.collect::<Result<_, _>>()?;
                if choices.len() < 2 {
                    return Err(FilterError::Malformed);
                }
                alternatives.push(choices);
            }
            Value::Array(tests) if !tests.is_empty() => {
                let tests = tests.iter().map(test).collect::<Result<_, _>>()?;
                read.push((name.clone(), Node::Leaf(tests)));
            }
            Value::Object(inner) if !inner.is_empty() => read.push((name.clone(), object(inner)?)),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => return Err(FilterError::Malformed),
        }
    }
    Ok(Node::Object { members: read, alternatives })
}

fn test(value: &Value) -> Result<Test, FilterError> {
    let operator = match value {
        Value::Object(operator) => operator,
        Value::Array(_) => return Err(FilterError::Malformed),
        plain @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
            return Ok(Test::Equals(plain.clone()));
        }
    };
    let mut operators = operator.iter();
    let (Some((name, operand)), None) = (operators.next(), operators.next()) else {
        return Err(FilterError::Malformed);
    };
    let text = || operand.as_str().map(str::to_owned).ok_or(FilterError::Malformed);
    match name.as_str() {
        "prefix" | "suffix" | "anything-but" if operand.is_object() => {
            let inner = operand.as_object().and_then(|inner| inner.keys().next());
            let inner = inner.ok_or(FilterError::Malformed)?;
            Err(FilterError::Unsupported(format!("{name} with {inner}")))
        }
        "prefix" => text().map(Test::Prefix),
        "suffix" => text().map(Test::Suffix),
        "equals-ignore-case" => text().map(Test::EqualsIgnoreCase),
        "anything-but" => {
            let values = match operand {
                Value::Array(values) if !values.is_empty() => values.clone(),
                Value::Array(_) => return Err(FilterError::Malformed),
                plain @ (Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Object(_)) => vec![plain.clone()],
            };
            let is_plain = |value: &Value| value.is_string() || value.is_number();
            if values.iter().all(is_plain) {
                Ok(Test::AnythingBut(values))
            } else {
                Err(FilterError::Malformed)
            }
        }
        "numeric" => numeric(operand).map(Test::Numeric),
        "exists" => operand.as_bool().map(Test::Exists).ok_or(FilterError::Malformed),
        other => Err(FilterError::Unsupported(other.to_owned())),
    }
}

/// Reads `["=", 1]` or `[">", 0, "<=", 5]`.
fn numeric(operand: &Value) -> Result<Vec<(Comparison, f64)>, FilterError> {
    let parts = operand.as_array().filter(|parts| parts.len() == 2 || parts.len() == 4);
    let parts = parts.ok_or(FilterError::Malformed)?;
    let bound = |pair: &[Value]| {
        let comparison = match pair[0].as_str()? {
            "=" => Comparison::Equal,
            "<" => Comparison::Less,
            "<=" => Comparison::LessOrEqual,
            ">" => Comparison::Greater,
            ">=" => Comparison::GreaterOrEqual,
            _ => return None,
        };
        Some((comparison, pair[1].as_f64()?))
    };
    let bounds: Option<Vec<_>> = parts.chunks(2).map(bound).collect();
    bounds.ok_or(FilterError::Malformed)
}

fn matches(node: &Node, value: Option<&Value>) -> bool {
    match node {
        // What is no object has no members; tests for absence still pass.
        Node::Object { members, alternatives } => match value {
            Some(Value::Array(values)) => values.iter().any(|value| matches(node, Some(value))),
            value => {
                let member =
                    |name: &String| value.and_then(Value::as_object).and_then(|object| object.get(name));
                members.iter().all(|(name, inner)| matches(inner, member(name)))
                    && alternatives.iter().all(|choices| choices.iter().any(|choice| matches(choice, value)))
            }
        },
        Node::Leaf(tests) => tests.iter().any(|test| passes(test, value)),
    }
}

fn passes(test: &Test, value: Option<&Value>) -> bool {
    match value {
        Some(Value::Array(values)) => match test {
            Test::Exists(wanted) => *wanted != values.is_empty(),
            test @ (Test::Equals(_)
            | Test::Prefix(_)
            | Test::Suffix(_)
            | Test::EqualsIgnoreCase(_)
            | Test::AnythingBut(_)
            | Test::Numeric(_)) => values.iter().any(|value| !value.is_array() && passes(test, Some(value))),
        },
        // Only leaves exist.
        None | Some(Value::Object(_)) => *test == Test::Exists(false),
        Some(value) => passes_plain(test, value),
    }
}

fn passes_plain(test: &Test, value: &Value) -> bool {
    let text = value.as_str();
    match test {
        Test::Equals(wanted) => same(wanted, value),
        Test::Prefix(prefix) => text.is_some_and(|text| text.starts_with(prefix)),
        Test::Suffix(suffix) => text.is_some_and(|text| text.ends_with(suffix)),
        Test::EqualsIgnoreCase(wanted) => {
            text.is_some_and(|text| text.to_lowercase() == wanted.to_lowercase())
        }
        Test::AnythingBut(others) => others.iter().all(|other| !same(other, value)),
        Test::Numeric(bounds) => value.as_f64().is_some_and(|number| {
            bounds.iter().all(|(comparison, bound)| match comparison {
                Comparison::Equal => number == *bound,
                Comparison::Less => number < *bound,
                Comparison::LessOrEqual => number <= *bound,
                Comparison::Greater => number > *bound,
                Comparison::GreaterOrEqual => number >= *bound,
            })
        }),
        Test::Exists(wanted) => *wanted,
    }
}

/// Whether two plain values are the same; numbers by what they are, however they are written.
fn same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn patterns_want_what_aws_says_they_want() {
        let wants = |pattern: Value, body: Value| {
            let filter = Filter::parse(&json!({ "body": pattern }).to_string()).unwrap();
            filter.wants(&json!({ "messageId": "m", "body": body }))
        };
        for (pattern, yes, no) in [
            (json!({"a": ["x"]}), json!({"a": "x", "b": 1}), json!({"a": "X"})),
            (json!({"a": ["x", "y"]}), json!({"a": "y"}), json!({"a": "z"})),
            (json!({"a": ["x"], "b": [1]}), json!({"a": "x", "b": 1.0}), json!({"a": "x"})),
            (json!({"a": {"b": {"c": [true]}}}), json!({"a": {"b": {"c": true}}}), json!({"a": {"b": true}})),
            (json!({"a": [null]}), json!({"a": null}), json!({})),
            (json!({"a": [""]}), json!({"a": ""}), json!({"a": null})),
            (json!({"a": [{"prefix": "eu-"}]}), json!({"a": "eu-west-1"}), json!({"a": "us-eu-"})),
            (json!({"a": [{"suffix": ".png"}]}), json!({"a": "x.png"}), json!({"a": "x.png.gz"})),
            (json!({"a": [{"equals-ignore-case": "ana"}]}), json!({"a": "ANA"}), json!({"a": "anna"})),
            (json!({"a": [{"anything-but": "x"}]}), json!({"a": "y"}), json!({"a": "x"})),
            (json!({"a": [{"anything-but": ["x", 1]}]}), json!({"a": 2}), json!({"a": 1})),
            (json!({"a": [{"anything-but": ["x"]}]}), json!({"a": null}), json!({})),
            (json!({"a": [{"numeric": ["=", 300]}]}), json!({"a": 3.0e2}), json!({"a": "300"})),
            (json!({"a": [{"numeric": [">", 10, "<=", 20]}]}), json!({"a": 20}), json!({"a": 10})),
            (json!({"a": [{"exists": true}]}), json!({"a": null}), json!({"b": 1})),
            (json!({"a": [{"exists": false}]}), json!({"b": 1}), json!({"a": null})),
            (json!({"a": {"b": [{"exists": false}]}}), json!({}), json!({"a": {"b": 0}})),
            (json!({"a": ["x"]}), json!({"a": ["w", "x"]}), json!({"a": ["w"]})),
            (
                json!({"a": {"b": [1], "c": [2]}}),
                json!({"a": [{"b": 1, "c": 2}]}),
                json!({"a": [{"b": 1}, {"c": 2}]}),
            ),
            (json!({"$or": [{"a": [1]}, {"b": [2]}]}), json!({"b": 2}), json!({"a": 2, "b": 1})),
            (json!(["text"]), json!("text"), json!({"text": 1})),
            (json!({"a": ["x"]}), json!({"a": "x"}), json!("plain text")),
        ] {
            assert!(wants(pattern.clone(), yes.clone()), "{pattern} wants {yes}");
            assert!(!wants(pattern.clone(), no.clone()), "{pattern} does not want {no}");
        }
        assert!(Filter::parse("{}").unwrap().wants(&json!({ "body": "anything" })));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for malformed in [
            "",
            "[]",
            "1",
            "{",
            r#"{"a": 1}"#,
            r#"{"a": "x"}"#,
            r#"{"a": []}"#,
            r#"{"a": {}}"#,
            r#"{"a": [[1]]}"#,
            r#"{"a": [{}]}"#,
            r#"{"a": [{"prefix": 1}]}"#,
            r#"{"a": [{"prefix": "x", "suffix": "y"}]}"#,
            r#"{"a": [{"exists": "true"}]}"#,
            r#"{"a": [{"numeric": [">"]}]}"#,
            r#"{"a": [{"numeric": ["!", 1]}]}"#,
            r#"{"a": [{"numeric": [">", "1"]}]}"#,
            r#"{"a": [{"anything-but": []}]}"#,
            r#"{"$or": [{"a": [1]}]}"#,
            r#"{"a": [{"anything-but": null}]}"#,
        ] {
            assert_eq!(Filter::parse(malformed), Err(FilterError::Malformed), "{malformed}");
        }
        let long = json!({ "a": ["x".repeat(PATTERN_BYTES_MAX)] }).to_string();
        assert_eq!(Filter::parse(&long), Err(FilterError::Malformed));
        let deep = format!("{}[1]{}", r#"{"a":"#.repeat(500), "}".repeat(500));
        assert_eq!(Filter::parse(&deep), Err(FilterError::Malformed));
        for (pattern, named) in [
            (r#"{"a": [{"wildcard": "x*"}]}"#, "wildcard"),
            (r#"{"a": [{"cidr": "10.0.0.0/8"}]}"#, "cidr"),
            (r#"{"a": [{"anything-but": {"prefix": "x"}}]}"#, "anything-but with prefix"),
        ] {
            assert_eq!(Filter::parse(pattern), Err(FilterError::Unsupported(named.to_owned())), "{pattern}");
        }
    }
}
