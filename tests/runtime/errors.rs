//! What functions answer and how they fail, in AWS's words.

use std::sync::Arc;

use serde_json::{Value, json};
use serin::runtime::{Failure, Outcome};
use serin_core::lambda::process::ProcessTarget;

use crate::support::functions::{Functions, invocation, version, zip_of};

fn body(outcome: &Outcome) -> Value {
    serde_json::from_slice(&outcome.payload).unwrap()
}

fn tail(outcome: &Outcome) -> String {
    String::from_utf8(outcome.log_tail.clone()).unwrap()
}

#[test]
fn a_function_of_the_lambda_runtime_crate_answers() {
    let functions = Functions::start();
    let target = functions.rust();
    let outcome = functions.invoke(&target, &json!({ "a": [1, "é"] }));
    assert_eq!((body(&outcome), outcome.failure), (json!({ "a": [1, "é"] }), None));
    assert!(outcome.init.is_some() && outcome.memory_mb > 0, "{outcome:?}");
    let warm = functions.invoke(&target, &json!({}));
    assert!(warm.init.is_none(), "the same process: {warm:?}");
    assert_eq!(functions.ready(), 1);
}

#[test]
fn a_function_is_told_who_asks_for_what_and_until_when() {
    let functions = Functions::start();
    let target = functions.rust();
    let client = json!({ "client": { "installation_id": "i", "app_title": "t", "app_version_name": "1",
        "app_version_code": "1", "app_package_name": "p" }, "custom": { "k": "v" }, "env": {} });
    let mut asked = invocation(&target, &json!({ "do": "context" }));
    asked.client_context = Some(client.to_string().into_bytes());
    asked.trace = Some("Root=1-5e71-abc;Sampled=1".to_owned());
    let id = asked.id.to_string();
    let permit = functions.runtimes.admit(&asked.function, version()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let told = body(&runtime.block_on(functions.runtimes.invoke(asked, permit)).unwrap());
    assert_eq!(told["arn"], "arn:aws:lambda:us-east-1:000000000000:function:f:live");
    assert_eq!((&told["requestId"], &told["version"]), (&json!(id), &json!("1")));
    assert_eq!(
        (&told["trace"], &told["client"]["custom"]["k"]),
        (&json!("Root=1-5e71-abc;Sampled=1"), &json!("v"))
    );
    let left_ms = told["deadlineMs"].as_i64().unwrap() - serin::clock::wall_now().0;
    assert!((0..=20_000).contains(&left_ms), "{left_ms}");
    let told = body(&functions.invoke(&target, &json!({ "do": "context" })));
    assert!(told["trace"].as_str().unwrap().starts_with("Root=1-"), "{told}");
}

#[test]
fn a_handlers_error_is_passed_on_as_it_is() {
    let functions = Functions::start();
    let outcome = functions.invoke(&functions.rust(), &json!({ "do": "fail", "number": 7 }));
    assert_eq!(outcome.failure, Some(Failure::Handler));
    assert_eq!(body(&outcome)["errorMessage"], "failed on 7");
    assert!(body(&outcome)["errorType"].is_string());
    assert_eq!(functions.ready(), 1, "a handler that fails is no process that does");
}

#[test]
fn a_process_that_ends_is_an_error_and_the_next_one_starts_anew() {
    let functions = Functions::start();
    let target = functions.rust();
    let outcome = functions.invoke(&target, &json!({ "do": "exit", "number": 3 }));
    let id = body(&outcome)["errorMessage"].as_str().unwrap()[11..47].to_owned();
    assert_eq!(
        body(&outcome),
        json!({
            "errorType": "Runtime.ExitError",
            "errorMessage": format!("RequestId: {id} Error: Runtime exited with error: exit status 3"),
        })
    );
    assert_eq!(outcome.failure, Some(Failure::Exited));
    assert!(tail(&outcome).contains("Status: error\tError Type: Runtime.ExitError"), "{}", tail(&outcome));
    let quiet = functions.invoke(&target, &json!({ "do": "exit", "number": 0 }));
    assert!(
        body(&quiet)["errorMessage"].as_str().unwrap().ends_with("Runtime exited without providing a reason")
    );
    assert_eq!(functions.invoke(&target, &json!({})).failure, None);
}

#[test]
fn a_function_that_takes_too_long_is_ended() {
    let functions = Functions::start();
    let target = Arc::new(ProcessTarget { timeout_s: 1, ..(*functions.rust()).clone() });
    let outcome = functions.invoke(&target, &json!({ "do": "sleep", "number": 60_000 }));
    assert_eq!(outcome.failure, Some(Failure::TimedOut));
    let error = body(&outcome);
    assert_eq!(error["errorType"], "Sandbox.Timedout");
    let message = error["errorMessage"].as_str().unwrap();
    assert!(
        message.starts_with("RequestId: ") && message.ends_with(" Error: Task timed out after 1.00 seconds")
    );
    assert!(
        tail(&outcome).contains(" Task timed out after 1.00 seconds\nEND RequestId: "),
        "{}",
        tail(&outcome)
    );
    assert!(tail(&outcome).ends_with("\tStatus: timeout\t\n"), "{}", tail(&outcome));
    assert_eq!(functions.ready(), 0);
    assert_eq!(functions.invoke(&target, &json!({})).failure, None, "the next one has a process of its own");
}

#[test]
fn a_process_that_cannot_begin_says_why() {
    let functions = Functions::start();
    let failed = |zip: &[u8]| {
        let outcome = functions.invoke(&Arc::new(functions.target(zip)), &json!({}));
        assert_eq!(outcome.failure, Some(Failure::Init), "{outcome:?}");
        let error = body(&outcome);
        let message = error["errorMessage"].as_str().unwrap().to_owned();
        (
            error["errorType"].as_str().unwrap().to_owned(),
            message[message.find("Error:").unwrap()..].to_owned(),
        )
    };
    let pair = |kind: &str, message: &str| (kind.to_owned(), message.to_owned());
    assert_eq!(
        failed(&zip_of(&[("bootstrap", b"#!/bin/sh\necho no; exit 4\n", 0o755)])),
        pair("Runtime.ExitError", "Error: Runtime exited with error: exit status 4")
    );
    let said = functions.log();
    let (begun, said) = said.split_once('\n').unwrap();
    assert!(
        begun.starts_with("INIT_START Runtime Version: ") && said.starts_with("no\nSTART RequestId: "),
        "{said}"
    );
    assert_eq!(
        failed(&zip_of(&[("handler.py", b"", 0o644)])),
        pair(
            "Runtime.InvalidEntrypoint",
            "Error: Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]"
        )
    );
    assert_eq!(
        failed(&zip_of(&[("bootstrap", b"#!/bin/sh\n", 0o644)])),
        pair("Runtime.InvalidEntrypoint", "Error: fork/exec /var/task/bootstrap: permission denied")
    );
    assert_eq!(
        failed(&zip_of(&[("bootstrap", b"#!/bin/nothing\n", 0o755)])),
        pair("Runtime.InvalidEntrypoint", "Error: fork/exec /var/task/bootstrap: no such file or directory")
    );
    assert_eq!(
        failed(&zip_of(&[("bootstrap", b"\x7fELF", 0o755)])),
        pair("Runtime.InvalidEntrypoint", "Error: fork/exec /var/task/bootstrap: exec format error")
    );
}

#[test]
fn an_answer_is_as_large_as_lambda_allows() {
    let functions = Functions::start();
    let target = Arc::new(ProcessTarget { memory_mb: 512, ..(*functions.rust()).clone() });
    let mib = 1024 * 1024;
    let just = functions.invoke(&target, &json!({ "do": "answer", "number": 6 * mib + 98 }));
    assert_eq!((just.failure, just.payload.len()), (None, 6 * mib + 100));
    let over = functions.invoke(&target, &json!({ "do": "answer", "number": 6 * mib + 99 }));
    assert_eq!(over.failure, Some(Failure::TooLarge));
    assert_eq!(
        body(&over),
        json!({
            "errorType": "Function.ResponseSizeTooLarge",
            "errorMessage": "Response payload size exceeded maximum allowed payload size (6291556 bytes).",
        })
    );
}

#[test]
fn the_log_is_worded_as_lambda_words_it() {
    let functions = Functions::start();
    let outcome = functions.invoke(&functions.rust(), &json!({ "do": "say", "number": 2 }));
    let log = tail(&outcome);
    let lines: Vec<&str> = log.lines().collect();
    let id = lines[0].strip_prefix("START RequestId: ").unwrap().strip_suffix(" Version: 1").unwrap();
    assert_eq!(lines[1..4], ["line 0", "line 1", "and an error"]);
    assert_eq!(lines[4], format!("END RequestId: {id}"));
    let report = lines[5];
    assert!(report.starts_with(&format!("REPORT RequestId: {id}\tDuration: ")), "{report}");
    assert!(report.contains("\tMemory Size: 128 MB\tMax Memory Used: "), "{report}");
    assert!(report.contains("\tInit Duration: "), "{report}");
    let kept = functions.log();
    let (begun, kept) = kept.split_once('\n').unwrap();
    assert!(
        begun.starts_with(
            "INIT_START Runtime Version: provided:al2023.v1\tRuntime Version ARN: arn:aws:lambda:"
        ),
        "{begun}"
    );
    assert_eq!(kept, log, "who keeps the log gets the same");
    let much = functions.invoke(&functions.rust(), &json!({ "do": "say", "number": 3000 }));
    assert_eq!(much.log_tail.len(), 4096);
    assert!(tail(&much).contains("line 2999\nand an error\nEND"), "the end of it");
    assert!(functions.log().contains("\nline 0\n") && functions.log().contains("\nline 1500\n"), "all of it");
}
