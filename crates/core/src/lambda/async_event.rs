//! Events of asynchronous invocations: when they are tried again, when they are given up, and who hears of it.
//!
//! The rules and the words are AWS Lambda's. An event is kept by whoever carries it until it was answered or given up
//! and everybody who is to hear of it has heard; what happens to it in between is decided here.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::lambda::concurrency::EventInvoke;
use crate::model::arn::FunctionName;
use crate::model::time::Timestamp;

/// The largest payload of an event: 1 MiB, as on Lambda.
pub const EVENT_BYTES_MAX: usize = 1024 * 1024;
/// How often an event may be the report of another one; AWS, too, ends such chains after about sixteen.
pub const HOPS_MAX: u32 = 16;
/// The largest report: what a queue and a function take alike.
const REPORT_BYTES_MAX: usize = EVENT_BYTES_MAX;
/// How much of an error a dead letter carries, as on Lambda.
const ERROR_BYTES_MAX: usize = 1024;

/// Whoever keeps events: the answer comes when the event is durable, and is otherwise why it is not, in words.
pub type EventSink = Arc<dyn Fn(AsyncEvent) -> Keeping + Send + Sync>;
/// An event on its way to disk.
pub type Keeping = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// An event that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsyncEvent {
    /// The request's identifier; every attempt has the same.
    pub id: Uuid,
    /// The function.
    pub function: FunctionName,
    /// The alias or version asked for, as text; `None` is the bare function.
    pub qualifier: Option<String>,
    /// The ARN asked for, the bare function's with `$LATEST`.
    pub arn: String,
    /// Headers that trace the request, by their names in lower case.
    pub trace: Vec<(String, String)>,
    /// How many reports led to it; 0 for an event that a client sent.
    pub hops: u32,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// JSON.
    pub payload: Bytes,
}

impl AsyncEvent {
    /// The ARN as it was asked for: without a qualifier where there was none.
    pub fn asked_arn(&self) -> &str {
        match self.qualifier {
            Some(_) => &self.arn,
            None => self.arn.trim_end_matches(":$LATEST"),
        }
    }
}

/// What holds for an event: its function's configuration of exactly the qualifier asked for, or AWS's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How often a function error is tried again, 0 to 2.
    pub retries: u32,
    /// How old the event may become.
    pub age_max: Duration,
    /// How long after the first function error; after the second it is twice that.
    pub retry_delay: Duration,
}

impl Terms {
    /// The terms of a configuration.
    pub fn of(config: Option<&EventInvoke>, retry_delay: Duration) -> Terms {
        let retries = config.and_then(|config| config.retries).unwrap_or(EventInvoke::RETRIES);
        let age_s_max = config.and_then(|config| config.age_s_max).unwrap_or(EventInvoke::AGE_S_MAX);
        Terms { retries, age_max: Duration::from_secs(age_s_max.into()), retry_delay }
    }
}

/// How an event has fared so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// How many attempts were function errors.
    pub failures: u32,
    /// How many attempts in a row no version got.
    pub put_off: u32,
}

/// What one attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The function's result.
    Answered,
    /// A function error.
    Failed,
    /// No version got it: there was no room, or serin itself failed.
    PutOff,
}

/// Why nothing more is tried, in AWS's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The function answered.
    Success,
    /// It failed as often as it may.
    RetriesExhausted,
    /// The event is too old, or would be at the next attempt.
    EventAgeExceeded,
    /// The function may not run at all.
    ZeroReservedConcurrency,
}

/// What comes next for an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing; its destinations hear of it.
    Concluded(Condition),
    /// Another attempt.
    Again(Timestamp),
}

/// Whether an event is too old to be tried at all.
pub fn is_expired(standing: &Standing, terms: &Terms, now: Timestamp) -> bool {
    now.since(standing.accepted_at) >= terms.age_max
}

/// What follows an attempt; `standing` is what was before it.
pub fn after(attempt: Attempt, standing: &Standing, terms: &Terms, now: Timestamp) -> Next {
    let expires_at = standing.accepted_at.plus(terms.age_max);
    match attempt {
        Attempt::Answered => Next::Concluded(Condition::Success),
        Attempt::Failed if standing.failures >= terms.retries => Next::Concluded(Condition::RetriesExhausted),
        Attempt::Failed => {
            let at = now.plus(terms.retry_delay * (standing.failures + 1));
            // Known now, while there is an answer to tell of.
            if at >= expires_at { Next::Concluded(Condition::EventAgeExceeded) } else { Next::Again(at) }
        }
        Attempt::PutOff => {
            Next::Again(now.plus(back_off(standing.put_off, terms.retry_delay)).min(expires_at))
        }
    }
}

/// How long after the attempt that was put off for the nth time, counted from 0: from a sixtieth of the delay after a
/// function error (AWS's second) to five times that (five minutes), twice as long each time.
pub fn back_off(put_off: u32, retry_delay: Duration) -> Duration {
    (retry_delay / 60).saturating_mul(2_u32.saturating_pow(put_off)).min(back_off_max(retry_delay))
}

/// The longest that an attempt is put off.
pub fn back_off_max(retry_delay: Duration) -> Duration {
    retry_delay * 5
}

/// What a version answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The version that ran.
    pub version: String,
    /// Whether it is a function error.
    pub is_error: bool,
    /// What it said.
    pub payload: Bytes,
}

/// How an event ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conclusion {
    /// Why nothing more is tried.
    pub condition: Condition,
    /// When.
    pub at: Timestamp,
    /// How often a version got it.
    pub invocations: u32,
    /// The last answer, where the last attempt had one.
    pub answer: Option<Answer>,
}

/// Who hears of an event's end, as what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportKind {
    /// The destination of events that succeeded.
    OnSuccess,
    /// The destination of events that were given up.
    OnFailure,
    /// The dead-letter queue.
    DeadLetter,
}

impl ReportKind {
    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            ReportKind::OnSuccess => "on_success",
            ReportKind::OnFailure => "on_failure",
            ReportKind::DeadLetter => "dead_letter",
        }
    }
}

/// What one destination is still to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// As what it hears.
    pub kind: ReportKind,
    /// The ARN of a queue or a function.
    pub to: String,
    /// What it is told.
    pub body: String,
    /// Attributes of the message: a type and a value each.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub attributes: BTreeMap<String, (String, String)>,
}

/// What is owed to the destinations of an event that ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owed {
    /// Since when.
    pub since: Timestamp,
    /// To whom what.
    pub reports: Vec<Report>,
}

/// What is to be told of an event's end, and to whom.
pub fn reports(
    event: &AsyncEvent,
    end: &Conclusion,
    config: Option<&EventInvoke>,
    dead_letter: Option<&str>,
) -> Vec<Report> {
    let (kind, to) = match end.condition {
        Condition::Success => (ReportKind::OnSuccess, config.and_then(|config| config.on_success.as_ref())),
        Condition::RetriesExhausted | Condition::EventAgeExceeded | Condition::ZeroReservedConcurrency => {
            (ReportKind::OnFailure, config.and_then(|config| config.on_failure.as_ref()))
        }
    };
    let body = || record(event, end);
    let told =
        to.map(|to| Report { kind, to: to.clone(), body: body(), attributes: BTreeMap::new() }).into_iter();
    let letter = dead_letter.filter(|_| end.condition != Condition::Success).map(|to| Report {
        kind: ReportKind::DeadLetter,
        to: to.to_owned(),
        body: String::from_utf8_lossy(&event.payload).into_owned(),
        attributes: error_attributes(event, end),
    });
    told.chain(letter).collect()
}

/// AWS's invocation record. One that is too long for its destination goes without the answer, and then without the
/// payload.
fn record(event: &AsyncEvent, end: &Conclusion) -> String {
    let context = json!({
        "requestId": event.id.to_string(),
        "functionArn": event.arn,
        "condition": format!("{:?}", end.condition),
        "approximateInvokeCount": end.invocations,
    });
    let at = end.at.to_string();
    let mut record = format!(r#"{{"version":"1.0","timestamp":"{at}","requestContext":{context}"#);
    // As they came, for a payload may hold numbers that are too large for us.
    let asked = format!(r#","requestPayload":{}"#, String::from_utf8_lossy(&event.payload));
    let answered = end.answer.as_ref().map(|answer| format!(r#","responsePayload":{}"#, answer.as_json()));
    let response = end.answer.as_ref().map(|answer| {
        let mut response = Map::new();
        response.insert("statusCode".to_owned(), 200.into());
        response.insert("executedVersion".to_owned(), answer.version.clone().into());
        if answer.is_error {
            response.insert("functionError".to_owned(), "Unhandled".into());
        }
        format!(r#","responseContext":{}"#, Value::Object(response))
    });
    let (response, answered) = (response.unwrap_or_default(), answered.unwrap_or_default());
    let mut left = REPORT_BYTES_MAX.saturating_sub(record.len() + response.len() + 1);
    if asked.len() <= left {
        left -= asked.len();
        record += &asked;
    }
    record += &response;
    if answered.len() <= left {
        record += &answered;
    }
    record + "}"
}

impl Answer {
    /// The payload as JSON: a service may answer with other text, which becomes a string.
    fn as_json(&self) -> String {
        let text = String::from_utf8_lossy(&self.payload);
        match serde_json::from_str::<IgnoredAny>(&text) {
            Ok(_) => text.into_owned(),
            Err(_) => Value::String(text.into_owned()).to_string(),
        }
    }

    /// The error in a sentence.
    fn error(&self) -> String {
        let said: Option<Value> = serde_json::from_slice(&self.payload).ok();
        let message = said.as_ref().and_then(|said| said.get("errorMessage")?.as_str());
        message.map_or_else(|| String::from_utf8_lossy(&self.payload).into_owned(), str::to_owned)
    }
}

/// What a dead letter says of the error.
fn error_attributes(event: &AsyncEvent, end: &Conclusion) -> BTreeMap<String, (String, String)> {
    let (code, message) = match (&end.answer, end.condition) {
        (Some(answer), _) => (200, answer.error()),
        (None, Condition::ZeroReservedConcurrency) => (
            429,
            "Function not invoked. The function is configured with zero reserved concurrent executions."
                .to_owned(),
        ),
        (None, _) => (429, "The event became too old before the function had room for it.".to_owned()),
    };
    // What XML 1.0 has no characters for, no message of SQS may hold.
    let is_sendable = |char: &char| matches!(char, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
    let message: String = message.chars().filter(is_sendable).collect();
    let message = &message[..message.floor_char_boundary(ERROR_BYTES_MAX)];
    let message = if message.is_empty() { "The function failed without words." } else { message };
    let attribute = |kind: &str, value: String| (kind.to_owned(), value);
    BTreeMap::from([
        ("RequestID".to_owned(), attribute("String", event.id.to_string())),
        ("ErrorCode".to_owned(), attribute("Number", code.to_string())),
        ("ErrorMessage".to_owned(), attribute("String", message.to_owned())),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn terms(retries: u32, age_s_max: u64) -> Terms {
        Terms { retries, age_max: Duration::from_secs(age_s_max), retry_delay: MINUTE }
    }

    fn event(payload: &str) -> AsyncEvent {
        AsyncEvent {
            id: Uuid::nil(),
            function: "f".parse().unwrap(),
            qualifier: None,
            arn: "arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST".to_owned(),
            trace: Vec::new(),
            hops: 0,
            accepted_at: Timestamp(0),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
        }
    }

    #[test]
    fn what_follows_an_attempt() {
        use {Attempt::*, Condition::*};
        let in_s = |seconds: u64| Next::Again(Timestamp((1_000_000 + seconds * 1000) as i64));
        let table = [
            // (attempt, failures, put off, retries, oldest in s, what follows at 1000 s)
            (Answered, 0, 0, 2, 21_600, Next::Concluded(Success)),
            (Answered, 2, 7, 2, 60, Next::Concluded(Success)),
            (Failed, 0, 0, 2, 21_600, in_s(60)),
            (Failed, 1, 9, 2, 21_600, in_s(120)),
            (Failed, 2, 0, 2, 21_600, Next::Concluded(RetriesExhausted)),
            (Failed, 0, 0, 0, 21_600, Next::Concluded(RetriesExhausted)),
            (Failed, 0, 0, 1, 21_600, in_s(60)),
            (Failed, 1, 0, 1, 21_600, Next::Concluded(RetriesExhausted)),
            // The configuration was changed meanwhile.
            (Failed, 2, 0, 1, 21_600, Next::Concluded(RetriesExhausted)),
            // The next attempt would come too late.
            (Failed, 0, 0, 2, 1060, Next::Concluded(EventAgeExceeded)),
            (Failed, 0, 0, 2, 1061, in_s(60)),
            (Failed, 1, 0, 2, 1100, Next::Concluded(EventAgeExceeded)),
            (PutOff, 0, 0, 2, 21_600, in_s(1)),
            (PutOff, 2, 1, 2, 21_600, in_s(2)),
            (PutOff, 0, 8, 0, 21_600, in_s(256)),
            (PutOff, 0, 9, 0, 21_600, in_s(300)),
            (PutOff, 0, u32::MAX, 0, 21_600, in_s(300)),
            (PutOff, 0, 9, 2, 1010, in_s(10)),
        ];
        for (attempt, failures, put_off, retries, age_s_max, expected) in table {
            let standing = Standing { accepted_at: Timestamp(0), failures, put_off };
            let next = after(attempt, &standing, &terms(retries, age_s_max), Timestamp(1_000_000));
            assert_eq!(
                next, expected,
                "{attempt:?} {failures} {put_off}, {retries} retries, {age_s_max} s at most"
            );
        }
    }

    #[test]
    fn events_expire_at_their_greatest_age() {
        let standing = Standing { accepted_at: Timestamp(5), ..Standing::default() };
        assert!(!is_expired(&standing, &terms(2, 60), Timestamp(60_004)));
        assert!(is_expired(&standing, &terms(2, 60), Timestamp(60_005)));
        assert!(!is_expired(&standing, &terms(2, 60), Timestamp(0)), "the clock was set back");
    }

    #[test]
    fn terms_are_awss_unless_configured() {
        assert_eq!(Terms::of(None, MINUTE), terms(2, 21_600));
        let config = EventInvoke {
            retries: Some(0),
            age_s_max: Some(60),
            on_success: None,
            on_failure: None,
            modified_at: Timestamp(0),
        };
        assert_eq!(Terms::of(Some(&config), MINUTE), terms(0, 60));
    }

    fn config(on_success: Option<&str>, on_failure: Option<&str>) -> EventInvoke {
        EventInvoke {
            retries: None,
            age_s_max: None,
            on_success: on_success.map(str::to_owned),
            on_failure: on_failure.map(str::to_owned),
            modified_at: Timestamp(0),
        }
    }

    fn ended(condition: Condition, answer: Option<(bool, &str)>) -> Conclusion {
        let answer = answer.map(|(is_error, payload)| Answer {
            version: "7".to_owned(),
            is_error,
            payload: Bytes::copy_from_slice(payload.as_bytes()),
        });
        Conclusion { condition, at: Timestamp(1_573_755_365_568), invocations: 3, answer }
    }

    #[test]
    fn records_are_shaped_as_awss() {
        let end =
            ended(Condition::RetriesExhausted, Some((true, r#"{"errorMessage":"boom","errorType":"E"}"#)));
        let told =
            reports(&event(r#"{"n":123456789012345678901}"#), &end, Some(&config(None, Some("d"))), None);
        let record: Value = serde_json::from_str(&told[0].body).unwrap();
        let expected = json!({
            "version": "1.0",
            "timestamp": "2019-11-14T18:16:05.568Z",
            "requestContext": {
                "requestId": "00000000-0000-0000-0000-000000000000",
                "functionArn": "arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST",
                "condition": "RetriesExhausted",
                "approximateInvokeCount": 3,
            },
            "requestPayload": { "n": 123_456_789_012_345_678_901_u128 as f64 },
            "responseContext": { "statusCode": 200, "executedVersion": "7", "functionError": "Unhandled" },
            "responsePayload": { "errorMessage": "boom", "errorType": "E" },
        });
        assert_eq!(record, expected);
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&record), keys(&expected), "in AWS's order");
        assert!(told[0].body.contains("123456789012345678901"), "numbers stay as they came");

        let success = ended(Condition::Success, Some((false, "pong")));
        let told = reports(&event("1"), &success, Some(&config(Some("d"), None)), Some("q"));
        let record: Value = serde_json::from_str(&told[0].body).unwrap();
        assert_eq!(
            (record["requestContext"]["condition"].as_str(), &record["responsePayload"]),
            (Some("Success"), &json!("pong"))
        );
        assert_eq!(record["responseContext"], json!({ "statusCode": 200, "executedVersion": "7" }));
        assert_eq!((told.len(), told[0].kind), (1, ReportKind::OnSuccess), "no dead letter of a success");

        let late = ended(Condition::EventAgeExceeded, None);
        let told = reports(&event("1"), &late, Some(&config(None, Some("d"))), None);
        let record: Value = serde_json::from_str(&told[0].body).unwrap();
        assert_eq!(keys(&record), ["version", "timestamp", "requestContext", "requestPayload"]);
    }

    #[test]
    fn records_that_are_too_long_leave_out_what_is_long() {
        let long = |bytes: usize| format!("\"{}\"", "x".repeat(bytes));
        for (asked, answered, expected) in [
            (600 << 10, 300 << 10, (true, true)),
            (600 << 10, 600 << 10, (true, false)),
            ((1 << 20) - 2, 10, (false, true)),
        ] {
            let end = ended(Condition::Success, Some((false, &long(answered))));
            let told = reports(&event(&long(asked)), &end, Some(&config(Some("d"), None)), None);
            assert!(told[0].body.len() <= REPORT_BYTES_MAX);
            let record: Value = serde_json::from_str(&told[0].body).unwrap();
            let has = |name: &str| record.get(name).is_some();
            assert_eq!((has("requestPayload"), has("responsePayload")), expected, "{asked} {answered}");
        }
    }

    #[test]
    fn dead_letters_are_the_event_and_say_what_was_wrong() {
        let value = |report: &Report, name: &str| report.attributes[name].1.clone();
        for (condition, answer, code, message) in [
            (Condition::RetriesExhausted, Some((true, r#"{"errorMessage":"bo\u0000om"}"#)), "200", "boom"),
            (Condition::RetriesExhausted, Some((true, "\"plain\"")), "200", "\"plain\""),
            (Condition::RetriesExhausted, Some((true, "")), "200", "The function failed without words."),
            (
                Condition::EventAgeExceeded,
                None,
                "429",
                "The event became too old before the function had room for it.",
            ),
        ] {
            let told = reports(&event("{\"a\":1}"), &ended(condition, answer), None, Some("q"));
            assert_eq!(
                (told[0].kind, &*told[0].to, &*told[0].body),
                (ReportKind::DeadLetter, "q", "{\"a\":1}")
            );
            assert_eq!((&*value(&told[0], "ErrorCode"), &*value(&told[0], "ErrorMessage")), (code, message));
        }
        let wordy = format!(r#"{{"errorMessage":"{}"}}"#, "ü".repeat(2000));
        let told = reports(
            &event("1"),
            &ended(Condition::RetriesExhausted, Some((true, &wordy))),
            Some(&config(None, Some("d"))),
            Some("q"),
        );
        assert_eq!(
            told.iter().map(|report| report.kind.name()).collect::<Vec<_>>(),
            ["on_failure", "dead_letter"]
        );
        assert_eq!(value(&told[1], "ErrorMessage").len(), ERROR_BYTES_MAX);
    }
}
