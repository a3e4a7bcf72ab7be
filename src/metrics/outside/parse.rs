//! What an answer says: a finite number, or why it is none.

use std::time::Duration;

use serde_json::Value;

use serin_core::model::time::Timestamp;

/// An answer may be this much older than its metric's interval, or newer than now, before its time is not believed.
const CLOCKS_DIFFER_MAX: Duration = Duration::from_secs(60);
/// So much of a server's own words is repeated.
const WORDS_MAX: usize = 160;

/// The number in the answer of Prometheus to an instant query: one series, or a scalar.
pub fn prometheus_reading(
    status: u16,
    body: &str,
    now: Timestamp,
    interval: Duration,
) -> Result<f64, String> {
    let answer = json(status, body)?;
    if answer["status"] != "success" {
        let words = answer["error"].as_str().unwrap_or("no reason given");
        let words: String = words.chars().filter(|char| !char.is_control()).take(WORDS_MAX).collect();
        return Err(format!("Prometheus refused the query with status {status}: {words}"));
    }
    if !(200..300).contains(&status) {
        return Err(format!("the server answered {status}"));
    }
    let result = &answer["data"]["result"];
    let sample = match (answer["data"]["resultType"].as_str(), result.as_array()) {
        (Some("scalar"), Some(_)) => result,
        (Some("vector"), Some(series)) => match series.as_slice() {
            [] => return Err("the query found no series".to_owned()),
            [one] => &one["value"],
            many => return Err(format!("the query found {} series; one is wanted", many.len())),
        },
        (Some(kind @ ("matrix" | "string")), _) => {
            return Err(format!("the query gives a {kind}; a number at one moment is wanted"));
        }
        _ => return Err("the answer is not that of Prometheus to a query".to_owned()),
    };
    let Some([at, value]) = sample.as_array().map(Vec::as_slice) else {
        return Err("the answer holds no sample".to_owned());
    };
    let Some(at_s) = at.as_f64().filter(|at| at.is_finite()) else {
        return Err("the sample has no time".to_owned());
    };
    let at = Timestamp((at_s * 1000.0) as i64);
    let (age, ahead) = (now.since(at), at.since(now));
    if age > interval.saturating_add(CLOCKS_DIFFER_MAX) {
        return Err(format!("the sample is stale: {} s old", age.as_secs()));
    }
    if ahead > CLOCKS_DIFFER_MAX {
        return Err(format!("the sample lies {} s in the future", ahead.as_secs()));
    }
    let Some(text) = value.as_str() else {
        return Err(format!("the sample is {}, not a number", kind_of(value)));
    };
    let number: f64 = text.trim().parse().map_err(|_| "the sample is not a number".to_owned())?;
    finite(number)
}

/// The number in a web hook's answer: a JSON number, alone or as `value` of an object.
pub fn webhook_reading(status: u16, body: &str) -> Result<f64, String> {
    if !(200..300).contains(&status) {
        return Err(format!("the web hook answered {status}"));
    }
    let answer = json(status, body)?;
    let value = if answer.is_object() { &answer["value"] } else { &answer };
    match value.as_f64() {
        Some(number) if value.is_number() => finite(number),
        _ => Err(format!("the answer is {}; a number or {{\"value\": number}} is wanted", kind_of(value))),
    }
}

fn finite(number: f64) -> Result<f64, String> {
    if number.is_finite() { Ok(number) } else { Err(format!("the value is {number}")) }
}

fn json(status: u16, body: &str) -> Result<Value, String> {
    let text = body.trim();
    if text.is_empty() {
        return Err(format!("the answer is empty (status {status})"));
    }
    serde_json::from_str(text).map_err(|_| {
        let what = if text.starts_with('<') { "HTML" } else { "not JSON" };
        format!("the answer is {what} (status {status})")
    })
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn asked(body: &str) -> Result<f64, String> {
        prometheus_reading(200, body, NOW, Duration::from_secs(60))
    }

    fn vector(value: &str) -> String {
        format!(
            r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{}},"value":[1800000000.1,{value}]}}]}}}}"#
        )
    }

    #[test]
    fn real_numbers_of_prometheus() {
        for (text, number) in [("\"1.5\"", 1.5), ("\"0\"", 0.0), ("\"-3e2\"", -300.0)] {
            assert_eq!(asked(&vector(text)), Ok(number), "{text}");
        }
        let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1800000000,"7"]}}"#;
        assert_eq!(asked(scalar), Ok(7.0));
    }

    #[test]
    fn every_bad_answer_of_prometheus_is_no_number_and_says_why() {
        let stale = vector("\"1\"").replace("1800000000.1", "1799999000");
        let future = vector("\"1\"").replace("1800000000.1", "1800001000");
        let two = r#"{"status":"success","data":{"resultType":"vector","result":[{"value":[1800000000,"1"]},{"value":[1800000000,"2"]}]}}"#;
        let none = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
        let matrix = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;
        let refused = r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#;
        for (body, why) in [
            ("", "empty"),
            ("   ", "empty"),
            ("null", "refused"),
            ("<html>all fine: 1</html>", "HTML"),
            ("1.0", "refused"),
            ("{", "not JSON"),
            (&vector("\"NaN\""), "NaN"),
            (&vector("\"+Inf\""), "inf"),
            (&vector("\"-Inf\""), "-inf"),
            (&vector("\"\""), "not a number"),
            (&vector("\"good\""), "not a number"),
            (&vector("1"), "not a number"),
            (&vector("null"), "null"),
            (&stale, "stale"),
            (&future, "future"),
            (two, "2 series"),
            (none, "no series"),
            (matrix, "matrix"),
            (refused, "parse error"),
            (r#"{"status":"success"}"#, "not that of Prometheus"),
            (r#"{"status":"success","data":{"resultType":"vector","result":[{}]}}"#, "no sample"),
            (
                r#"{"status":"success","data":{"resultType":"vector","result":[{"value":["x","1"]}]}}"#,
                "no time",
            ),
        ] {
            let said = asked(body).expect_err(body);
            assert!(said.contains(why), "{body}: {said}");
        }
        assert!(prometheus_reading(500, &vector("\"1\""), NOW, Duration::ZERO).is_err());
    }

    #[test]
    fn web_hooks_answer_a_number_or_none() {
        assert_eq!(webhook_reading(200, " 3.25\n"), Ok(3.25));
        assert_eq!(webhook_reading(201, r#"{"value": -1, "note": "x"}"#), Ok(-1.0));
        for (status, body, why) in [
            (500, "1", "500"),
            (302, "1", "302"),
            (200, "", "empty"),
            (200, "null", "null"),
            (200, "NaN", "not JSON"),
            (200, "Infinity", "not JSON"),
            (200, "1e999", "not JSON"),
            (200, "\"1\"", "a text"),
            (200, "true", "true or false"),
            (200, "[1, 2]", "a list"),
            (200, "{}", "null"),
            (200, "1 2", "not JSON"),
            (200, "<!doctype html>", "HTML"),
        ] {
            let said = webhook_reading(status, body).expect_err(body);
            assert!(said.contains(why), "{status} {body}: {said}");
        }
    }
}
