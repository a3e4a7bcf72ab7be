//! Event source mappings and their tags.

use serde_json::{Value, json};

use super::Table;

const MAPPINGS: &str = "/2015-03-31/event-source-mappings";
const QUEUE: &str = "arn:aws:sqs:us-east-1:000000000000:q";

fn shown(id: &str, state: &str) -> Value {
    json!({ "UUID": id, "BatchSize": 10, "MaximumBatchingWindowInSeconds": 0, "EventSourceArn": QUEUE,
            "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:f", "LastModified": "<seconds>", "State": state,
            "StateTransitionReason": "USER_INITIATED", "FunctionResponseTypes": [],
            "EventSourceMappingArn": format!("arn:aws:lambda:us-east-1:000000000000:event-source-mapping:{id}") })
}

#[test]
fn states_follow_what_was_asked() {
    let table = Table::open();
    table.make("f", json!({}));
    let body = json!({ "FunctionName": "f", "EventSourceArn": QUEUE, "Enabled": false, "Tags": { "team": "payments" } });
    let made = table.ask("POST", MAPPINGS, &body);
    let id = made.body["UUID"].as_str().unwrap().to_owned();
    table.same("made", &made, 202, "", &shown(&id, "Disabled"));
    let path = format!("{MAPPINGS}/{id}");
    table.expect("read", ("GET", &path, Value::Null), 200, "", &shown(&id, "Disabled"));
    for (enabled, state) in
        [(true, "Enabling"), (true, "Updating"), (false, "Disabling"), (false, "Disabled")]
    {
        table.expect(state, ("PUT", &path, json!({ "Enabled": enabled })), 202, "", &shown(&id, state));
    }

    let tags = format!("/2017-03-31/tags/arn:aws:lambda:us-east-1:000000000000:event-source-mapping:{id}");
    table.expect("tags", ("GET", &tags, Value::Null), 200, "", &json!({ "Tags": { "team": "payments" } }));
    table.expect("tag", ("POST", &tags, json!({ "Tags": { "a": "1", "b": "2" } })), 204, "", &Value::Null);
    table.expect(
        "untag",
        ("DELETE", &format!("{tags}?tagKeys=a&tagKeys=none"), Value::Null),
        204,
        "",
        &Value::Null,
    );
    let left = json!({ "Tags": { "b": "2", "team": "payments" } });
    table.expect("tags", ("GET", &tags, Value::Null), 200, "", &left);
    table.expect("tags are no part of it", ("GET", &path, Value::Null), 200, "", &shown(&id, "Disabled"));
    table.expect("deleted", ("DELETE", &path, Value::Null), 202, "", &shown(&id, "Deleting"));

    let arn = tags.trim_start_matches("/2017-03-31/tags/");
    let text = format!("Event source mapping not found: {arn}");
    table.not_found("list", ("GET", &tags, Value::Null), &text);
    table.not_found("tag", ("POST", &tags, json!({ "Tags": { "a": "1" } })), &text);
    table.not_found("untag", ("DELETE", &format!("{tags}?tagKeys=a"), Value::Null), &text);
    let other = tags.replace("000000000000", "111111111111");
    table.expect(
        "another account",
        ("GET", &other, Value::Null),
        403,
        "AccessDeniedException",
        &json!({ "Message": null }),
    );
}

#[test]
fn tags_are_of_functions_and_mappings() {
    let table = Table::open();
    table.make("f", json!({ "Tags": { "team": "payments" } }));
    let tags = "/2017-03-31/tags/arn:aws:lambda:us-east-1:000000000000:function:f";
    table.expect("tags", ("GET", tags, Value::Null), 200, "", &json!({ "Tags": { "team": "payments" } }));
    let pattern = r"Member must satisfy regular expression pattern: arn:(aws[a-zA-Z-]*):lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:(function:[a-zA-Z0-9-_]+(:(\$LATEST|[a-zA-Z0-9-_]+))?|code-signing-config:csc-[a-z0-9]{17}|event-source-mapping:[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|(capacity-provider|network-connector):[a-zA-Z0-9-_]{1,64})";
    for arn in ["arn:aws:something", "f", "arn:aws:lambda:us-east-1:000000000000:event-source-mapping:1"] {
        let path = format!("/2017-03-31/tags/{arn}");
        table.violates(arn, ("GET", &path, Value::Null), (arn, "resource"), pattern);
    }
    let version = "/2017-03-31/tags/arn:aws:lambda:us-east-1:000000000000:function:f:1";
    let text = "Tags on function aliases and versions are not supported. Please specify a function ARN.";
    table.invalid("a version", ("GET", version, Value::Null), text);
}

#[test]
fn what_queues_have_not_is_refused() {
    let table = Table::open();
    table.make("f", json!({}));
    let body = json!({ "FunctionName": "f", "EventSourceArn": QUEUE,
                       "DestinationConfig": { "OnFailure": { "Destination": QUEUE } } });
    let text = "Unsupported DestinationConfig parameter for given event source mapping type.";
    table.invalid("destinations", ("POST", MAPPINGS, body), text);
    let body = json!({ "FunctionName": "none", "EventSourceArn": QUEUE });
    table.invalid("no function", ("POST", MAPPINGS, body), "Function does not exist");
    let none = format!("{MAPPINGS}/7d7e4b3a-0000-4000-8000-000000000000");
    for method in ["GET", "PUT", "DELETE"] {
        let body = if method == "PUT" { json!({}) } else { Value::Null };
        table.not_found(method, (method, &none, body), "The resource you requested does not exist.");
    }
}
