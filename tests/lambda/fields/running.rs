//! What only functions that run can show: who gets a place, what logs say, and what a name's next function begins with.

use std::io::{Read, Write};
use std::net::TcpListener;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::{ARN, Table};
use crate::support::functions::zip_of;
use crate::support::{uninterrupted, until};

/// A function that says how it was begun; where it is kept ready it may fail to begin.
const BOOTSTRAP: &str = r#"#!/usr/bin/python3
import http.client, os, sys
how = os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]
if how == os.environ.get("FAILS"):
    sys.exit(3)
api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
while True:
    api.request("GET", "/2018-06-01/runtime/invocation/next")
    event = api.getresponse()
    event.read()
    print("said", how, flush=True)
    id = event.headers["Lambda-Runtime-Aws-Request-Id"]
    api.request("POST", f"/2018-06-01/runtime/invocation/{id}/response", f'"{how}"')
    api.getresponse().read()
"#;

fn make(table: &Table, more: Value) {
    let code = json!({ "ZipFile": BASE64.encode(zip_of(&[("bootstrap", BOOTSTRAP.as_bytes(), 0o755)])) });
    let mut more = more;
    more["Code"] = code;
    more["Publish"] = json!(true);
    // Machines are busy, and Python takes its time.
    more["Timeout"] = json!(60);
    table.make("f", more);
}

fn invoke(table: &Table, qualifier: &str) -> super::Answer {
    let path = format!("/2015-03-31/functions/f/invocations?Qualifier={qualifier}");
    table.ask("POST", &path, &json!({}))
}

fn provisioned(table: &Table, qualifier: &str) -> Value {
    let path = format!("/2019-09-30/functions/f/provisioned-concurrency?Qualifier={qualifier}");
    table.ask("GET", &path, &Value::Null).body
}

fn provision(table: &Table, qualifier: &str) {
    let path = format!("/2019-09-30/functions/f/provisioned-concurrency?Qualifier={qualifier}");
    let put = table.ask("PUT", &path, &json!({ "ProvisionedConcurrentExecutions": 1 }));
    assert_eq!(put.status, 202, "{put:?}");
}

#[test]
fn what_is_kept_ready_is_used_first_and_set_aside() {
    let table = Table::open();
    make(&table, json!({}));
    assert_eq!(invoke(&table, "1").body, "on-demand");
    let alias = json!({ "Name": "al", "FunctionVersion": "1" });
    assert_eq!(table.ask("POST", "/2015-03-31/functions/f/aliases", &alias).status, 201);
    provision(&table, "al");
    until("it is ready", || provisioned(&table, "al")["Status"] == "READY");
    for _ in 0..3 {
        for qualifier in ["al", "1"] {
            assert_eq!(invoke(&table, qualifier).body, "provisioned-concurrency", "{qualifier}");
        }
    }
    assert_eq!(invoke(&table, "%24LATEST").body, "on-demand");

    // All that is reserved is provisioned, so nothing of it is left for $LATEST.
    table.ask("PUT", "/2017-10-31/functions/f/concurrency", &json!({ "ReservedConcurrentExecutions": 1 }));
    let throttled = json!({ "Reason": "ReservedFunctionConcurrentInvocationLimitExceeded", "Type": "User",
                            "message": "Rate Exceeded." });
    until("the router has heard", || invoke(&table, "%24LATEST").status == 429);
    table.same("$LATEST", &invoke(&table, "%24LATEST"), 429, "TooManyRequestsException", &throttled);
    assert_eq!(invoke(&table, "al").body, "provisioned-concurrency");
}

#[test]
fn what_cannot_begin_is_not_ready() {
    let table = Table::open();
    make(&table, json!({ "Environment": { "Variables": { "FAILS": "provisioned-concurrency" } } }));
    provision(&table, "1");
    assert_eq!(invoke(&table, "1").body, "on-demand", "whoever comes is served all the same");
    until("it has failed", || provisioned(&table, "1")["Status"] == "FAILED");
    let failed = json!({ "RequestedProvisionedConcurrentExecutions": 1, "AvailableProvisionedConcurrentExecutions": 0,
                         "AllocatedProvisionedConcurrentExecutions": 0, "Status": "FAILED",
                         "StatusReason": "FUNCTION_ERROR_INIT_FAILURE", "LastModified": "<time>" });
    let path = "/2019-09-30/functions/f/provisioned-concurrency?Qualifier=1";
    table.expect("failed", ("GET", path, Value::Null), 200, "", &failed);
    assert_eq!(invoke(&table, "1").body, "on-demand");
}

fn messages(table: &Table) -> Vec<String> {
    let body = json!({ "logGroupName": "/aws/lambda/f" });
    let headers = [("x-amz-target", "Logs_20140328.FilterLogEvents")];
    let reply = table.house.ask("POST", "/", Some(&body), &headers);
    let events = reply.body["events"].as_array().cloned().unwrap_or_default();
    events.iter().map(|event| event["message"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_name_counts_on_and_what_it_said_is_forgotten() {
    let table = Table::open();
    make(&table, json!({}));
    for _ in 0..3 {
        assert_eq!(invoke(&table, "1").body, "on-demand");
    }
    until("all is written", || messages(&table).len() >= 13);
    let said = messages(&table);
    assert!(said.iter().all(|message| message.ends_with('\n')), "{said:?}");
    let begun: Vec<&String> = said.iter().filter(|message| message.starts_with("INIT_START ")).collect();
    let digits =
        "Runtime Version: provided:al2023.v1\tRuntime Version ARN: arn:aws:lambda:us-east-1::runtime:";
    assert!(begun.len() == 1 && begun[0].contains(digits), "{said:?}");
    let now = serin::clock::wall_now().0 / 1000;
    let invocations = |table: &Table| {
        let query = json!({ "Namespace": "AWS/Lambda", "MetricName": "Invocations", "Period": 60, "Statistics": ["Sum"],
                            "Dimensions": [{ "Name": "FunctionName", "Value": "f" }],
                            "StartTime": now - 3600, "EndTime": now + 3600 });
        let headers = [("x-amz-target", "GraniteServiceVersion20100801.GetMetricStatistics")];
        let reply = table.house.ask("POST", "/", Some(&query), &headers);
        let points = reply.body["Datapoints"].as_array().cloned().unwrap_or_else(|| panic!("{reply:?}"));
        points.iter().map(|point| point["Sum"].as_f64().unwrap()).sum::<f64>()
    };
    let counted = invocations(&table);

    for (highest, shown) in [(1, "2"), (2, "3")] {
        assert_eq!(table.ask("DELETE", "/2015-03-31/functions/f", &Value::Null).status, 204);
        make(&table, json!({}));
        let versions = table.ask("GET", "/2015-03-31/functions/f/versions", &Value::Null).body;
        let numbers: Vec<&Value> =
            versions["Versions"].as_array().unwrap().iter().map(|version| &version["Version"]).collect();
        assert_eq!(numbers, ["$LATEST", shown], "after {highest}");
        let gone = format!("Function not found: {ARN}:f:{highest}");
        let path = format!("/2015-03-31/functions/f?Qualifier={highest}");
        table.not_found("the version of before", ("GET", &path, Value::Null), &gone);
    }
    assert_eq!(messages(&table), Vec::<String>::new());
    assert_eq!((counted, invocations(&table)), (3.0, 0.0));
}

/// Answers everything as SQS answers for a queue that it does not have.
fn sqs_without_queues() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (mut stream, mut request) = (stream, [0; 16 * 1024]);
            let _ = uninterrupted(|| stream.read(&mut request));
            let body = r#"{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"The specified queue does not exist."}"#;
            let _ = write!(
                stream,
                "HTTP/1.1 400 Bad Request\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    address
}

#[test]
fn a_queue_that_is_not_there_is_no_source() {
    let endpoint = sqs_without_queues().parse().unwrap();
    let table = Table::open_with(|config| config.queues.endpoint = Some(endpoint));
    table.make("f", json!({}));
    let body =
        json!({ "FunctionName": "f", "EventSourceArn": "arn:aws:sqs:us-east-1:000000000000:not-there" });
    let text = "Error occurred while ReceiveMessage. SQS Error Code: AWS.SimpleQueueService.NonExistentQueue. SQS Error \
                Message: The specified queue does not exist.";
    table.invalid("no queue", ("POST", "/2015-03-31/event-source-mappings", body), text);
}

#[test]
fn two_updates_one_after_the_other_both_succeed() {
    let table = Table::open();
    table.make("f", json!({}));
    for n in 0..10 {
        let code = table.ask(
            "PUT",
            "/2015-03-31/functions/f/code",
            &json!({ "ZipFile": super::zipped(&n.to_string()) }),
        );
        assert_eq!(code.status, 200, "{code:?}");
        let body = json!({ "Description": n.to_string() });
        let configured = table.ask("PUT", "/2015-03-31/functions/f/configuration", &body);
        assert_eq!((configured.status, &configured.body["Description"]), (200, &json!(n.to_string())));
        table.count(2);
    }
}
