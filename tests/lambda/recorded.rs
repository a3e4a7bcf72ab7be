//! Requests and the answers that were recorded from AWS: status, type, text, key case, fields.

use serde_json::{Value, json};

use crate::support::house::{House, Reply};

const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function";

fn house() -> House {
    let house = House::start();
    for port in 1..=2 {
        house.publish("fn", &format!("http://127.0.0.1:{port}"));
    }
    house
}

fn lambda(house: &House, method: &str, path: &str, body: Value) -> Reply {
    let body = (!body.is_null()).then_some(body);
    house.ask(method, &format!("/2015-03-31/functions{path}"), body.as_ref(), &[])
}

/// An answer that is an error of a type with a text under a key, and nothing else but its `Type`.
#[track_caller]
fn assert_error(reply: &Reply, status: u16, key: &str, text: &str) {
    assert_eq!((reply.status, reply.body[key].as_str()), (status, Some(text)), "{}", reply.body);
}

fn alias(name: &str, version: &str, weights: Value) -> Value {
    let mut body = json!({ "Name": name, "FunctionVersion": version });
    if !weights.is_null() {
        body["RoutingConfig"] = json!({ "AdditionalVersionWeights": weights });
    }
    body
}

#[test]
fn create_alias() {
    let house = house();
    let create = |body: Value| lambda(&house, "POST", "/fn/aliases", body);
    let made = create(alias("live", "1", json!({ "2": 0.03 })));
    assert_eq!(made.status, 201);
    let keys: Vec<&String> = made.body.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["AliasArn", "Name", "FunctionVersion", "Description", "RoutingConfig", "RevisionId"]);
    assert_eq!(made.body["AliasArn"], format!("{ARN}:fn:live"));
    assert_eq!(made.body["RoutingConfig"], json!({ "AdditionalVersionWeights": { "2": 0.03 } }));
    assert_eq!(made.body["RevisionId"].as_str().unwrap().len(), 36);

    let plain = create(alias("plain", "$LATEST", json!({})));
    assert_eq!(
        (plain.status, plain.body.get("RoutingConfig"), &plain.body["Description"]),
        (201, None, &json!(""))
    );

    let invalid = |body: Value, text: &str| assert_error(&create(body), 400, "message", text);
    invalid(
        alias("a", "$LATEST", json!({ "1": 0.5 })),
        "$LATEST is not supported for an alias pointing to more than 1 version",
    );
    assert_eq!(create(alias("a", "$LATEST", json!({ "1": 0.5 }))).body.get("Type"), None);
    invalid(
        alias("a", "1", json!({ "1": 0.1, "2": 0.1 })),
        "Number of items in AdditionalVersionWeights cannot be greater than 1",
    );
    invalid(
        alias("a", "1", json!({ "1": 0.5 })),
        "Invalid function version 1. Function version 1 is already included in routing configuration.",
    );
    invalid(
        alias("a", "1", json!({ "2": 2 })),
        "1 validation error detected: Value '{2=2.0}' at 'routingConfig.additionalVersionWeights' failed to satisfy \
         constraint: Map value must satisfy constraint: [Member must have value less than or equal to 1.0, Member must \
         have value greater than or equal to 0.0, Member must not be null]",
    );
    invalid(
        alias("a", "1", json!({ "$LATEST": 0.5 })),
        "1 validation error detected: Value '{$LATEST=0.5}' at 'routingConfig.additionalVersionWeights' failed to \
         satisfy constraint: Map keys must satisfy constraint: [Member must have length less than or equal to 1024, \
         Member must have length greater than or equal to 1, Member must satisfy regular expression pattern: [0-9]+]",
    );
    invalid(
        alias("2024", "1", Value::Null),
        "1 validation error detected: Value '2024' at 'name' failed to satisfy constraint: Member must satisfy regular \
         expression pattern: (?!^[0-9]+$)([a-zA-Z0-9-_]+)",
    );
    assert_eq!(create(alias("2024-01-02", "1", Value::Null)).status, 201);

    let absent = |path: &str, body: Value, text: &str| {
        assert_error(&lambda(&house, "POST", path, body), 404, "Message", text);
    };
    absent("/fn/aliases", alias("a", "10", Value::Null), &format!("Function not found: {ARN}:fn:10"));
    absent("/fn/aliases", alias("a", "1", json!({ "10": 0.1 })), &format!("Function not found: {ARN}:fn:10"));
    absent("/none/aliases", alias("a", "1", Value::Null), &format!("Function not found: {ARN}:none:1"));
    let again = create(alias("live", "1", Value::Null));
    assert_error(&again, 409, "message", &format!("Alias already exists: {ARN}:fn:live"));
    assert_eq!(again.body["Type"], "User");
}

#[test]
fn versions_of_different_roles_or_dead_letters_do_not_share_an_alias() {
    let house = house();
    let publish = |more: Value| {
        let mut body = json!({ "url": "http://127.0.0.1:9", "new": true });
        for (key, value) in more.as_object().unwrap() {
            body[key] = value.clone();
        }
        house.post("/v1/functions/fn/versions", &body).ok()["version"].as_str().unwrap().to_owned()
    };
    let other_role = publish(json!({ "role": "arn:aws:iam::000000000000:role/other" }));
    let other_queue = publish(json!({ "deadLetter": "arn:aws:sqs:us-east-1:000000000000:dead" }));
    let with =
        |version: &str| lambda(&house, "POST", "/fn/aliases", alias("a", "1", json!({ version: 0.1 })));
    assert_error(
        &with(&other_role),
        400,
        "message",
        "Specified versions must be associated with the same execution role",
    );
    assert_error(
        &with(&other_queue),
        400,
        "message",
        "Specified versions must be associated with the same dead letter configuration",
    );
    house.alias("fn", "live", "1");
    let plan = format!("function: fn\nalias: live\nversion: \"{other_role}\"\nsteps: [100%]\n");
    let refused = house.start_rollout(&plan, &json!({}));
    assert!(refused.error().contains("same execution role"), "{}", refused.error());
}

#[test]
fn get_update_and_delete_alias() {
    let house = house();
    lambda(&house, "POST", "/fn/aliases", alias("live", "1", json!({ "2": 0.03 }))).ok();
    let get = |path: &str| lambda(&house, "GET", path, Value::Null);
    let first = get("/fn/aliases/live").ok();
    assert_error(&get("/fn/aliases/x"), 404, "Message", &format!("Cannot find alias arn: {ARN}:fn:x"));
    let update = |body: Value| lambda(&house, "PUT", "/fn/aliases/live", body);

    let untouched = update(json!({})).ok();
    assert_ne!(untouched["RevisionId"], first["RevisionId"]);
    assert_eq!(untouched["RoutingConfig"], first["RoutingConfig"]);
    let stale = update(json!({ "RevisionId": first["RevisionId"] }));
    assert_error(
        &stale,
        412,
        "message",
        "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve \
         the latest Revision Id",
    );
    update(json!({ "RevisionId": untouched["RevisionId"], "Description": "ours" })).ok();
    for empty in [json!({ "AdditionalVersionWeights": {} }), json!({})] {
        update(json!({ "RoutingConfig": { "AdditionalVersionWeights": { "2": 0.05 } } })).ok();
        let cleared = update(json!({ "RoutingConfig": empty })).ok();
        assert_eq!((cleared.get("RoutingConfig"), &cleared["Description"]), (None, &json!("ours")));
    }
    let absent = lambda(&house, "PUT", "/fn/aliases/x", json!({}));
    assert_error(&absent, 404, "Message", &format!("Alias not found: {ARN}:fn:x"));

    for path in ["/fn/aliases/live", "/fn/aliases/live", "/fn/aliases/x"] {
        assert_eq!(lambda(&house, "DELETE", path, Value::Null).status, 204);
    }
}

#[test]
fn functions_are_named_in_every_way_lambda_knows() {
    let house = house();
    house.alias("fn", "live", "1");
    for name in [
        "fn",
        "000000000000%3Afunction%3Afn",
        "arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Afn",
        "arn:aws:lambda:us-east-1:000000000000:function:fn",
    ] {
        assert_eq!(
            lambda(&house, "GET", &format!("/{name}/aliases/live"), Value::Null).status,
            200,
            "{name}"
        );
    }
    let region = [(
        "authorization",
        "AWS4-HMAC-SHA256 Credential=AK/20260101/eu-west-3/lambda/aws4_request, Signature=0",
    )];
    let shown = house.ask("GET", "/2015-03-31/functions/fn/aliases/live", None, &region).ok();
    assert_eq!(shown["AliasArn"], "arn:aws:lambda:eu-west-3:000000000000:function:fn:live");
}

#[test]
fn list_aliases_in_pages() {
    let house = house();
    for (name, version) in [("a", "1"), ("b", "2"), ("c", "1"), ("d", "1")] {
        house.alias("fn", name, version);
    }
    let list = |query: &str| lambda(&house, "GET", &format!("/fn/aliases{query}"), Value::Null).ok();
    let names = |page: &Value| -> Vec<String> {
        page["Aliases"]
            .as_array()
            .unwrap()
            .iter()
            .map(|alias| alias["Name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&list("")), ["a", "b", "c", "d"]);
    assert_eq!(names(&list("?FunctionVersion=1")), ["a", "c", "d"]);
    let (mut query, mut seen) = ("?MaxItems=3".to_owned(), Vec::new());
    loop {
        let page = list(&query);
        seen.extend(names(&page));
        match page["NextMarker"].as_str() {
            Some(marker) => query = format!("?MaxItems=3&Marker={marker}"),
            None => break,
        }
    }
    assert_eq!(seen, ["a", "b", "c", "d"]);
    let absent = lambda(&house, "GET", "/none/aliases", Value::Null);
    assert_error(&absent, 404, "Message", &format!("Function not found: {ARN}:none"));
    assert_eq!(lambda(&house, "GET", "/fn/aliases?MaxItems=0", Value::Null).status, 400);
}

fn permission(sid: &str) -> Value {
    json!({ "StatementId": sid, "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com",
            "SourceArn": "arn:aws:s3:::examplebucket", "SourceAccount": "123456789012" })
}

#[test]
fn permissions_are_kept_apart_as_aws_keeps_them() {
    let house = house();
    house.alias("fn", "live", "1");
    let add = |query: &str, body: Value| lambda(&house, "POST", &format!("/fn/policy{query}"), body);
    let made = add("?Qualifier=live", permission("s3"));
    assert_eq!(made.status, 201);
    let text = made.body["Statement"].as_str().unwrap();
    assert_eq!(
        text,
        format!(
            "{{\"Sid\":\"s3\",\"Effect\":\"Allow\",\"Principal\":{{\"Service\":\"s3.amazonaws.com\"}},\
             \"Action\":\"lambda:InvokeFunction\",\"Resource\":\"{ARN}:fn:live\",\"Condition\":{{\"StringEquals\":\
             {{\"AWS:SourceAccount\":\"123456789012\"}},\"ArnLike\":{{\"AWS:SourceArn\":\"arn:aws:s3:::examplebucket\"}}}}}}"
        )
    );
    // The same Sid on function, version and alias: three policies.
    add("", permission("s3")).ok();
    add("?Qualifier=1", permission("s3")).ok();
    let again = add("?Qualifier=live", permission("s3"));
    assert_error(
        &again,
        409,
        "message",
        "The statement id (s3) provided already exists. Please provide a new statement id, or remove the existing \
         statement.",
    );
    assert_error(
        &add("?Qualifier=%24LATEST", permission("x")),
        400,
        "message",
        "We currently do not support adding policies for $LATEST.",
    );
    assert_error(
        &add("?Qualifier=x", permission("x")),
        404,
        "Message",
        &format!("Cannot find alias arn: {ARN}:fn:x"),
    );
    assert_error(
        &add("?Qualifier=42", permission("x")),
        404,
        "Message",
        &format!("Function not found: {ARN}:fn:42"),
    );

    let get = |query: &str| lambda(&house, "GET", &format!("/fn/policy{query}"), Value::Null);
    let policy = get("?Qualifier=live").ok();
    let document: Value = serde_json::from_str(policy["Policy"].as_str().unwrap()).unwrap();
    assert_eq!((&document["Version"], &document["Id"]), (&json!("2012-10-17"), &json!("default")));
    assert_eq!(document["Statement"].as_array().unwrap().len(), 1);
    assert_error(&get("?Qualifier=2"), 404, "Message", "The resource you requested does not exist.");

    let stale = json!({ "StatementId": "y", "Action": "lambda:*", "Principal": "*", "RevisionId": "stale" });
    assert_error(
        &add("?Qualifier=live", stale),
        412,
        "message",
        "The Revision Id provided does not match the latest Revision Id. Call the GetPolicy API to retrieve the latest \
         Revision Id",
    );
    let alias = lambda(&house, "GET", "/fn/aliases/live", Value::Null).ok();
    let body = json!({ "StatementId": "y", "Action": "lambda:*", "Principal": "123456789012", "RevisionId": alias["RevisionId"] });
    let accepted = add("?Qualifier=live", body).ok();
    assert!(accepted["Statement"].as_str().unwrap().contains("arn:aws:iam::123456789012:root"));

    let remove = |query: &str| lambda(&house, "DELETE", &format!("/fn/policy/{query}"), Value::Null);
    assert_error(&remove("x?Qualifier=live"), 404, "Message", "Statement x is not found in resource policy.");
    assert_error(
        &remove("x?Qualifier=2"),
        404,
        "Message",
        "No policy is associated with the given resource.",
    );
    assert_eq!(remove("s3?Qualifier=live").status, 204);
    let none = lambda(&house, "DELETE", "/none/policy/x", Value::Null);
    assert_error(&none, 404, "Message", &format!("No policy found for: {ARN}:none"));
}

#[test]
fn what_lambda_has_and_serin_has_not_is_refused_by_name() {
    let house = house();
    let refused = house.ask("GET", "/2015-03-31/functions/fn/concurrency", None, &[]);
    assert_eq!(refused.status, 501);
    assert!(refused.body["message"].as_str().unwrap().contains("/2015-03-31/functions/fn/concurrency"));
}

#[test]
fn invoke_at_the_control_listener_is_the_routers() {
    let house = House::start();
    let version = crate::support::service::Service::start(0.0, 1);
    house.publish("fn", &version.url());
    let invoke = |path: &str, body: Value| lambda(&house, "POST", path, body);
    assert_eq!(invoke("/fn/invocations", json!({ "a": 1 })).ok(), json!({}));
    assert_error(
        &invoke("/fn%3Anone/invocations", json!({})),
        404,
        "Message",
        &format!("Function not found: {ARN}:fn:none"),
    );
    version.set_failures(1.0);
    assert_eq!(invoke("/fn/invocations", json!({})).status, 200, "a failed handler is an answer");
}
