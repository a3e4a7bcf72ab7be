//! What Lambda clients stored is there after a restart, word for word, and the journal tells of it.

use std::io::{Cursor, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::support::house::House;
use crate::support::until;

/// A zip of one file in base64, as clients send it.
fn zipped(text: &str) -> String {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("bootstrap", SimpleFileOptions::default().unix_permissions(0o755)).unwrap();
    zip.write_all(text.as_bytes()).unwrap();
    BASE64.encode(zip.finish().unwrap().into_inner())
}

fn ask(house: &House, method: &str, path: &str, body: Value) -> Value {
    let body = (!body.is_null()).then_some(body);
    house.ask(method, path, body.as_ref(), &[]).ok()
}

/// Everything a client can read of the house, without the URLs that are sealed anew each time.
fn everything(house: &House, mapping: &str) -> Vec<Value> {
    let read = |path: &str| {
        let mut body = ask(house, "GET", path, Value::Null);
        if let Some(code) = body.get_mut("Code") {
            code.as_object_mut().unwrap().remove("Location");
        }
        body
    };
    [
        "/2015-03-31/functions/f",
        "/2015-03-31/functions?FunctionVersion=ALL",
        "/2015-03-31/functions/f/versions",
        "/2019-09-30/functions/f/concurrency",
        "/2019-09-30/functions/f/provisioned-concurrency?List=ALL",
        "/2019-09-25/functions/f/event-invoke-config/list",
        &format!("/2015-03-31/event-source-mappings/{mapping}"),
        "/2016-08-19/account-settings",
    ]
    .map(read)
    .map(|mut answer| {
        // What a poller found last is known to the poller that found it.
        answer.as_object_mut().and_then(|answer| answer.remove("LastProcessingResult"));
        answer
    })
    .to_vec()
}

#[test]
fn a_restart_forgets_nothing() {
    let mut house = House::start();
    let create = json!({
        "FunctionName": "f", "Runtime": "provided.al2023", "Handler": "h", "Role": "arn:aws:iam::000000000000:role/r",
        "Code": { "ZipFile": zipped("one") }, "Publish": true, "Tags": { "team": "payments" },
        "Environment": { "Variables": { "AB": "c" } }, "VpcConfig": { "SubnetIds": ["subnet-1"], "SecurityGroupIds": [] },
        "LoggingConfig": { "LogFormat": "JSON" }, "Layers": ["arn:aws:lambda:us-east-1:000000000000:layer:l:1"],
    });
    ask(&house, "POST", "/2015-03-31/functions", create);
    ask(&house, "PUT", "/2015-03-31/functions/f/code", json!({ "ZipFile": zipped("two") }));
    ask(&house, "PUT", "/2017-10-31/functions/f/concurrency", json!({ "ReservedConcurrentExecutions": 7 }));
    let provisioned = json!({ "ProvisionedConcurrentExecutions": 2 });
    ask(&house, "PUT", "/2019-09-30/functions/f/provisioned-concurrency?Qualifier=1", provisioned);
    let handling = json!({
        "MaximumRetryAttempts": 1,
        "DestinationConfig": { "OnFailure": { "Destination": "arn:aws:sqs:us-east-1:000000000000:dead" } },
    });
    ask(&house, "PUT", "/2019-09-25/functions/f/event-invoke-config?Qualifier=1", handling);
    let mapping = json!({
        "FunctionName": "f:1", "EventSourceArn": "arn:aws:sqs:us-east-1:000000000000:q", "BatchSize": 3,
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
    });
    let mapping = ask(&house, "POST", "/2015-03-31/event-source-mappings", mapping);
    let mapping = mapping["UUID"].as_str().unwrap().to_owned();

    let before = everything(&house, &mapping);
    house.shut_down();
    house.boot();
    assert_eq!(everything(&house, &mapping), before);

    let told = house.get("/v1/history?limit=100").ok().to_string();
    for what in ["functionCreated", "versionPublished", "functionChanged", "eventSourceChanged"] {
        assert!(told.contains(what), "{what} is not in {told}");
    }
    // The version goes with what was kept for it, and the function with its code; the mapping stays, as on AWS.
    ask(&house, "DELETE", "/2015-03-31/functions/f?Qualifier=1", Value::Null);
    let left = ask(&house, "GET", "/2019-09-25/functions/f/event-invoke-config/list", Value::Null);
    assert_eq!(left, json!({ "FunctionEventInvokeConfigs": [] }));
    ask(&house, "DELETE", "/2015-03-31/functions/f", Value::Null);
    ask(&house, "GET", &format!("/2015-03-31/event-source-mappings/{mapping}"), Value::Null);
    let code = house.config.data_dir.join("code");
    until("nothing names the zips any more", || std::fs::read_dir(&code).unwrap().count() == 0);
}

#[test]
fn a_function_stays_what_it_is_made_of() {
    let house = House::start();
    house.publish("service", "http://127.0.0.1:1");
    let create = json!({
        "FunctionName": "zip", "Runtime": "provided.al2", "Handler": "h", "Role": "arn:aws:iam::000000000000:role/r",
        "Code": { "ZipFile": zipped("one") },
    });
    ask(&house, "POST", "/2015-03-31/functions/", create);
    let publish = json!({ "url": "http://127.0.0.1:1" });
    let refused = house.post("/v1/functions/zip/versions", &publish);
    assert!(refused.status == 400 && refused.error().contains("runs from a zip"), "{}", refused.body);
    let code = json!({ "ZipFile": zipped("two") });
    let refused = house.ask("PUT", "/2015-03-31/functions/service/code", Some(&code), &[]);
    assert!(refused.status == 400 && refused.error().contains("serin function publish"), "{}", refused.body);
    let timeout = json!({ "Timeout": 5 });
    let refused = house.ask("PUT", "/2015-03-31/functions/service/configuration", Some(&timeout), &[]);
    assert!(refused.status == 400 && refused.error().contains("Timeout"), "{}", refused.body);

    let shown = ask(&house, "GET", "/2015-03-31/functions/service", Value::Null);
    assert_eq!(shown["Code"]["ImageUri"], "http://127.0.0.1:1");
    let configuration = &shown["Configuration"];
    assert_eq!((configuration["PackageType"].as_str(), configuration.get("Runtime")), (Some("Image"), None));
    // A description changed by a Lambda client is published under the same URL, as a new version.
    let described = json!({ "Description": "new" });
    ask(&house, "PUT", "/2015-03-31/functions/service/configuration", described);
    let second = ask(&house, "POST", "/2015-03-31/functions/service/versions", json!({}));
    assert_eq!((&second["Version"], &second["Description"]), (&json!("2"), &json!("new")));
}
