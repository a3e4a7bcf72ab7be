//! Answers to the last field, as tables: status, error type, text, key case, and which fields are there in which order.
//!
//! What is expected is what AWS answered when LocalStack's tests and Terraform's were recorded; a word in angle brackets
//! stands for what differs from call to call.

use std::cell::Cell;

use serde_json::{Value, json};
use serin::config::ServeConfig;

use crate::support::functions::zip_of;
use crate::support::house::{House, agent};

mod functions;
mod long_streams;
mod mappings;
mod names;
mod permissions;
mod running;
mod streamed;

/// A region that a signature names.
const REGION: &str = "us-east-1";
const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function";
const ROLE: &str = "arn:aws:iam::000000000000:role/r";
const STALE: &str = "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API \
                     to retrieve the latest Revision Id";

/// What asks, and counts what it compared.
struct Table {
    house: House,
    agent: ureq::Agent,
    region: &'static str,
    checks: Cell<usize>,
}

/// An answer, whole.
#[derive(Debug)]
struct Answer {
    status: u16,
    kind: String,
    body: Value,
}

impl Table {
    fn open() -> Table {
        Table::open_with(|_| {})
    }

    fn open_with(change: impl FnOnce(&mut ServeConfig)) -> Table {
        Table { house: House::start_with(change), agent: agent(), region: REGION, checks: Cell::new(0) }
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(method, path, &body)
    }

    fn send(&self, method: &str, path: &str, body: &str) -> Answer {
        let signature = format!(
            "AWS4-HMAC-SHA256 Credential=AK/20260101/{}/lambda/aws4_request, SignedHeaders=host, Signature=0",
            self.region
        );
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.house.url()))
            .header("authorization", signature)
            .header("content-type", "application/json")
            .body(body.to_owned())
            .unwrap();
        let mut response = self.agent.run(request).unwrap();
        let kind = response.headers().get("x-amzn-errortype").map(|kind| kind.to_str().unwrap().to_owned());
        let status = response.status().as_u16();
        let text = response.body_mut().read_to_string().unwrap();
        let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() };
        Answer { status, kind: kind.unwrap_or_default(), body }
    }

    /// Makes a function, as AWS's clients do.
    fn make(&self, name: &str, more: Value) -> Value {
        let answer = self.ask("POST", "/2015-03-31/functions", &function(name, more));
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.body
    }

    /// Asks, and holds the answer to status, error type and body, field by field and in order.
    #[track_caller]
    fn expect(
        &self,
        what: &str,
        (method, path, body): (&str, &str, Value),
        status: u16,
        kind: &str,
        wanted: &Value,
    ) -> Value {
        let answer = self.ask(method, path, &body);
        self.same(what, &answer, status, kind, wanted);
        answer.body
    }

    #[track_caller]
    fn same(&self, what: &str, answer: &Answer, status: u16, kind: &str, wanted: &Value) {
        let mut faults = Vec::new();
        if (answer.status, answer.kind.as_str()) != (status, kind) {
            faults.push(format!("{} {:?} and not {status} {kind:?}", answer.status, answer.kind));
        }
        self.count(1);
        compare("", &answer.body, wanted, &mut faults);
        self.count(values(wanted));
        assert!(faults.is_empty(), "{what}: {}\n{}", faults.join("\n"), answer.body);
    }

    fn count(&self, checks: usize) {
        self.checks.set(self.checks.get() + checks);
    }

    /// A ValidationException about one value.
    #[track_caller]
    fn violates(
        &self,
        what: &str,
        request: (&str, &str, Value),
        (value, member): (&str, &str),
        constraint: &str,
    ) {
        let text = format!(
            "1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: {constraint}"
        );
        self.expect(what, request, 400, "ValidationException", &json!({ "message": text }));
    }

    #[track_caller]
    fn not_found(&self, what: &str, request: (&str, &str, Value), text: &str) {
        let body = json!({ "Type": "User", "Message": text });
        self.expect(what, request, 404, "ResourceNotFoundException", &body);
    }

    #[track_caller]
    fn invalid(&self, what: &str, request: (&str, &str, Value), text: &str) {
        let body = json!({ "Type": "User", "message": text });
        self.expect(what, request, 400, "InvalidParameterValueException", &body);
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        println!("{} checks", self.checks.get());
    }
}

/// A request of CreateFunction.
fn function(name: &str, more: Value) -> Value {
    let mut body = json!({ "FunctionName": name, "Runtime": "provided.al2023", "Handler": "h", "Role": ROLE,
                           "Code": { "ZipFile": zipped("one") } });
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

fn zipped(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(zip_of(&[("bootstrap", text.as_bytes(), 0o755)]))
}

/// How many single values an answer has.
fn values(value: &Value) -> usize {
    match value {
        Value::Object(members) => members.values().map(values).sum::<usize>().max(1),
        Value::Array(items) => items.iter().map(values).sum::<usize>().max(1),
        _ => 1,
    }
}

fn compare(place: &str, found: &Value, wanted: &Value, faults: &mut Vec<String>) {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            let (has, wants): (Vec<_>, Vec<_>) = (found.keys().collect(), wanted.keys().collect());
            if has != wants {
                faults.push(format!("{place}: the fields {has:?} and not {wants:?}"));
            }
            for (key, wanted) in wanted {
                if let Some(found) = found.get(key) {
                    compare(&format!("{place}.{key}"), found, wanted, faults);
                }
            }
        }
        (Value::Array(found), Value::Array(wanted)) if found.len() == wanted.len() => {
            let both = found.iter().zip(wanted).enumerate();
            both.for_each(|(at, (found, wanted))| compare(&format!("{place}[{at}]"), found, wanted, faults));
        }
        (found, Value::String(word)) if word.starts_with('<') && is_like(word, found) => {}
        (found, wanted) if found != wanted => faults.push(format!("{place}: {found} and not {wanted}")),
        _ => {}
    }
}

fn is_like(word: &str, found: &Value) -> bool {
    let text = found.as_str().unwrap_or_default();
    match word {
        "<uuid>" => text.len() == 36 && uuid::Uuid::try_parse(text).is_ok(),
        "<time>" => text.len() == 28 && text.ends_with("+0000") && text.as_bytes()[10] == b'T',
        "<seconds>" => found.as_f64().is_some_and(|seconds| seconds > 1.7e9),
        "<sha256>" => text.len() == 44 && text.ends_with('='),
        "<bytes>" => found.as_u64().is_some_and(|bytes| bytes > 0),
        "<runtime>" => text.rsplit(':').next().is_some_and(|digits| digits.len() == 64),
        _ => panic!("nothing is called {word}"),
    }
}

/// FunctionConfiguration of a function of these tests; `more` is put over it, and null takes a member away.
fn configuration(name: &str, arn: &str, more: Value) -> Value {
    let all = json!({
        "FunctionName": name, "FunctionArn": arn, "Runtime": "provided.al2023", "Role": ROLE, "Handler": "h",
        "CodeSize": "<bytes>", "Description": "", "Timeout": 3, "MemorySize": 128, "LastModified": "<time>",
        "CodeSha256": "<sha256>", "Version": "$LATEST", "VpcConfig": null, "Environment": null,
        "TracingConfig": { "Mode": "PassThrough" },
        "RevisionId": "<uuid>", "State": "Active", "StateReason": null, "StateReasonCode": null,
        "LastUpdateStatus": "Successful", "LastUpdateStatusReason": null, "LastUpdateStatusReasonCode": null,
        "PackageType": "Zip", "Architectures": ["x86_64"], "EphemeralStorage": { "Size": 512 },
        "SnapStart": { "ApplyOn": "None", "OptimizationStatus": "Off" },
        "RuntimeVersionConfig": { "RuntimeVersionArn": "<runtime>" },
        "LoggingConfig": { "LogFormat": "Text", "LogGroup": format!("/aws/lambda/{name}") },
    });
    let Value::Object(mut all) = all else { unreachable!("an object is one") };
    for (key, value) in more.as_object().unwrap() {
        all[key] = value.clone();
    }
    all.retain(|_, value| !value.is_null());
    Value::Object(all)
}
