//! Grants: what was asked for and no more.

use serde_json::{Value, json};

use super::{ARN, Table};

const PATH: &str = "/2015-03-31/functions/f/policy";
const STALE_POLICY: &str = "The Revision Id provided does not match the latest Revision Id. Call the GetPolicy API to \
                            retrieve the latest Revision Id";

fn grant(sid: &str, principal: &str, more: Value) -> (&'static str, &'static str, Value) {
    let mut body = json!({ "StatementId": sid, "Action": "lambda:InvokeFunction", "Principal": principal });
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    ("POST", PATH, body)
}

#[test]
fn no_condition_of_a_grant_is_dropped() {
    let table = Table::open();
    table.make("f", json!({}));
    for (sid, principal, more, shown, condition) in [
        (
            "a",
            "111122223333",
            json!({ "InvokedViaFunctionUrl": true }),
            r#"{"AWS":"arn:aws:iam::111122223333:root"}"#,
            r#"{"Bool":{"lambda:InvokedViaFunctionUrl":"true"}}"#,
        ),
        (
            "b",
            "*",
            json!({ "FunctionUrlAuthType": "NONE" }),
            r#""*""#,
            r#"{"StringEquals":{"lambda:FunctionUrlAuthType":"NONE"}}"#,
        ),
        (
            "c",
            "*",
            json!({ "PrincipalOrgID": "o-1234567890" }),
            r#""*""#,
            r#"{"StringEquals":{"aws:PrincipalOrgID":"o-1234567890"}}"#,
        ),
        (
            "d",
            "alexa-appkit.amazon.com",
            json!({ "EventSourceToken": "amzn1.ask.skill" }),
            r#"{"Service":"alexa-appkit.amazon.com"}"#,
            r#"{"StringEquals":{"lambda:EventSourceToken":"amzn1.ask.skill"}}"#,
        ),
        (
            "e",
            "s3.amazonaws.com",
            json!({ "SourceAccount": "111122223333", "SourceArn": "arn:aws:s3:::b" }),
            r#"{"Service":"s3.amazonaws.com"}"#,
            r#"{"StringEquals":{"AWS:SourceAccount":"111122223333"},"ArnLike":{"AWS:SourceArn":"arn:aws:s3:::b"}}"#,
        ),
    ] {
        let statement = format!(
            r#"{{"Sid":"{sid}","Effect":"Allow","Principal":{shown},"Action":"lambda:InvokeFunction","Resource":"{ARN}:f","Condition":{condition}}}"#
        );
        table.expect(sid, grant(sid, principal, more), 201, "", &json!({ "Statement": statement }));
    }
    // They are kept as they were shown.
    let policy = table.ask("GET", PATH, &Value::Null).body;
    let document: Value = serde_json::from_str(policy["Policy"].as_str().unwrap()).unwrap();
    let first = &document["Statement"][0];
    assert_eq!(first["Condition"], json!({ "Bool": { "lambda:InvokedViaFunctionUrl": "true" } }));
}

#[test]
fn principals_that_are_none_are_refused() {
    let table = Table::open();
    table.make("f", json!({}));
    let text = "The provided principal was invalid. Please check the principal and try again.";
    for principal in ["invalid.nonaws.com", "ana", "1234", "arn:aws:s3:::bucket", "arn:aws:iam::1:root"] {
        table.invalid(principal, grant("s", principal, json!({})), text);
    }
    let gone = "The resource you requested does not exist.";
    table.not_found("nothing was granted", ("GET", PATH, Value::Null), gone);
    table.not_found("no function", ("GET", "/2015-03-31/functions/none/policy", Value::Null), gone);
}

#[test]
fn a_grant_on_a_function_changes_its_revision() {
    let table = Table::open();
    table.make("f", json!({}));
    let of_function = || {
        let shown = table.ask("GET", "/2015-03-31/functions/f/configuration", &Value::Null).body;
        shown["RevisionId"].as_str().unwrap().to_owned()
    };
    let of_policy = || table.ask("GET", PATH, &Value::Null).body["RevisionId"].as_str().unwrap().to_owned();
    let stale = json!({ "Type": "User", "message": STALE_POLICY });
    let before = of_function();
    let wrong = grant("s3", "s3.amazonaws.com", json!({ "RevisionId": "wrong" }));
    table.expect("a wrong one", wrong, 412, "PreconditionFailedException", &stale);
    assert_eq!(of_function(), before);
    let given = grant("s3", "s3.amazonaws.com", json!({ "RevisionId": before }));
    let answer = table.ask(given.0, given.1, &given.2);
    assert_eq!(answer.status, 201, "the function's: {answer:?}");
    let granted = of_function();
    assert_ne!(granted, before);
    assert_eq!(of_policy(), granted);

    // The publication that follows is a change of the function, and so of what its policy is known by.
    table.ask("POST", "/2015-03-31/functions/f/versions", &json!({}));
    assert_ne!(of_policy(), granted);
    let old = format!("{PATH}/s3?RevisionId={granted}");
    table.expect("what was", ("DELETE", &old, Value::Null), 412, "PreconditionFailedException", &stale);
    let now = format!("{PATH}/s3?RevisionId={}", of_policy());
    table.expect("what is", ("DELETE", &now, Value::Null), 204, "", &Value::Null);
    assert_ne!(of_function(), granted);
    table.count(6);
}

#[test]
fn a_grant_on_a_version_or_an_alias_leaves_the_function_as_it_is() {
    let table = Table::open();
    table.make("f", json!({ "Publish": true }));
    let alias = json!({ "Name": "live", "FunctionVersion": "1" });
    table.ask("POST", "/2015-03-31/functions/f/aliases", &alias);
    let of_function = || table.ask("GET", "/2015-03-31/functions/f/configuration", &Value::Null).body;
    let before = of_function();
    for qualifier in ["1", "live"] {
        let (method, _, body) = grant("s3", "s3.amazonaws.com", json!({}));
        let answer = table.ask(method, &format!("{PATH}?Qualifier={qualifier}"), &body);
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(of_function(), before);
        table.count(2);
    }
}
