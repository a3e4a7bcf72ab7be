//! What names a function, and what is said of what does not.

use serde_json::{Value, json};

use super::{ARN, Table, function};

const NAMESPACED: &str = r"Member must satisfy regular expression pattern: (arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?([a-zA-Z0-9-_\.]+)(:(\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9-_]+))?";
const PLAIN: &str = r"Member must satisfy regular expression pattern: (arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?([a-zA-Z0-9-_]+)(:(\$LATEST|[a-zA-Z0-9-_]+))?";
const QUALIFIER: &str =
    r"Member must satisfy regular expression pattern: \$(LATEST(\.PUBLISHED)?)|[a-zA-Z0-9-_$]+";

fn paths(name: &str) -> [(&'static str, &'static str, String); 4] {
    let path = |rest: &str| format!("/2015-03-31/functions/{}{rest}", name.replace('$', "%24"));
    [
        ("GetFunction", "GET", path("")),
        ("GetFunctionConfiguration", "GET", path("/configuration")),
        ("DeleteFunction", "DELETE", path("")),
        ("Invoke", "POST", path("/invocations")),
    ]
}

#[test]
fn what_names_no_function_is_told_by_its_pattern_or_its_length() {
    let table = Table::open();
    table.make("f", json!({}));
    for name in [
        "f:$LATES",
        "f:a:b",
        "f!",
        "arn:aws:lambda:invalid-region:000000000000:function:f",
        "arn:aws:lambda:us-east-1:00000000000:function:f",
        "arn:aws:lambda:us-east-1:000000000000:function:f:$LATES",
        "arn:aws:s3:us-east-1:000000000000:function:f",
    ] {
        for (operation, method, path) in paths(name) {
            let request = (method, path.as_str(), Value::Null);
            table.violates(&format!("{operation} {name}"), request, (name, "functionName"), NAMESPACED);
        }
    }
    let long = "n".repeat(257);
    for (operation, method, path) in paths(&long) {
        let text = "Member must have length less than or equal to 256";
        table.violates(operation, (method, &path, Value::Null), (&long, "functionName"), text);
    }
    for (method, path, qualifier, text) in [
        (
            "GET",
            "/2015-03-31/functions/f",
            "q".repeat(129),
            "Member must have length less than or equal to 128",
        ),
        (
            "POST",
            "/2015-03-31/functions/f/invocations",
            "q".repeat(129),
            "Member must have length less than or equal to 128",
        ),
        ("GET", "/2015-03-31/functions/f", "a.b".to_owned(), QUALIFIER),
        ("POST", "/2015-03-31/functions/f/invocations", "a.b".to_owned(), QUALIFIER),
        ("DELETE", "/2015-03-31/functions/f", "a.b".to_owned(), QUALIFIER),
    ] {
        let path = format!("{path}?Qualifier={qualifier}");
        table.violates(&path, (method, &path, Value::Null), (&qualifier, "qualifier"), text);
    }
    // None of them deleted anything.
    table.expect(
        "still there",
        ("GET", "/2015-03-31/functions/f/aliases", Value::Null),
        200,
        "",
        &json!({ "Aliases": [] }),
    );
}

#[test]
fn what_nothing_is_called_is_not_found() {
    let table = Table::open();
    let long = "n".repeat(65);
    let full = format!("{ARN}:{long}");
    for (name, shown) in [
        (long.as_str(), long.as_str()),
        (full.as_str(), long.as_str()),
        ("a.b", "a.b"),
        ("arn:aws:lambda:us-east-1:000000000000:function", "function"),
        ("000000000000:function", "function"),
        ("none", "none"),
    ] {
        for (operation, method, path) in paths(name) {
            let arn = format!("{ARN}:{shown}{}", if operation == "Invoke" { ":$LATEST" } else { "" });
            let text = format!("Function not found: {arn}");
            table.not_found(&format!("{operation} {name}"), (method, &path, Value::Null), &text);
        }
    }
    for qualifier in ["$LATEST", "7", "live"] {
        let text = format!("Function not found: {ARN}:none:{qualifier}");
        let path = format!("/2015-03-31/functions/none?Qualifier={}", qualifier.replace('$', "%24"));
        table.not_found(&path, ("GET", &path, Value::Null), &text);
    }
}

#[test]
fn functions_of_elsewhere_are_told_apart() {
    let table = Table::open();
    table.make("f", json!({}));
    let denied = json!({ "Message": null });
    for (operation, method, path) in paths("arn:aws:lambda:us-east-1:111111111111:function:f") {
        table.expect(operation, (method, &path, Value::Null), 403, "AccessDeniedException", &denied);
    }
    let text = "Functions from 'eu-central-1' are not reachable in this region ('us-east-1')";
    for (operation, method, path) in paths("arn:aws:lambda:eu-central-1:000000000000:function:f") {
        table.not_found(operation, (method, &path, Value::Null), text);
    }
}

#[test]
fn new_functions_are_named_more_narrowly() {
    let table = Table::open();
    let create = |name: &str| ("POST", "/2015-03-31/functions", function(name, json!({})));
    for name in [
        "f!",
        "a.b",
        "f:$LATES",
        "arn:aws:lambda:invalid-region:000000000000:function:f",
        "f:$LATEST.PUBLISHED",
    ] {
        table.violates(name, create(name), (name, "functionName"), PLAIN);
    }
    let unqualified = PLAIN.replace(r"(:(\$LATEST|[a-zA-Z0-9-_]+))?", "");
    for name in ["f:live", "f:$LATEST"] {
        table.violates(name, create(name), (name, "functionName"), &unqualified);
    }
    let long = "n".repeat(65);
    let text = format!(
        "1 validation error detected: Value '{long}' at 'functionName' failed to satisfy constraint: Member must have \
         length less than or equal to 64"
    );
    table.invalid("65 characters", create(&long), &text);
    let longer = "n".repeat(141);
    let text = "Member must have length less than or equal to 140";
    table.violates("141 characters", create(&longer), (&longer, "functionName"), text);
    assert_eq!(table.ask("GET", "/2015-03-31/functions", &Value::Null).body, json!({ "Functions": [] }));
}

#[test]
fn arns_are_of_the_partition_of_their_region() {
    let mut table = Table::open();
    table.make("f", json!({}));
    for (region, partition) in [
        ("us-east-1", "aws"),
        ("cn-northwest-1", "aws-cn"),
        ("us-gov-west-1", "aws-us-gov"),
        ("us-isob-east-1", "aws-iso-b"),
    ] {
        table.region = region;
        let shown = table.ask("GET", "/2015-03-31/functions/f/configuration", &Value::Null).body;
        assert_eq!(shown["FunctionArn"], format!("arn:{partition}:lambda:{region}:000000000000:function:f"));
        let runtime = shown["RuntimeVersionConfig"]["RuntimeVersionArn"].as_str().unwrap();
        assert!(runtime.starts_with(&format!("arn:{partition}:lambda:{region}::runtime:")), "{runtime}");
        table.count(2);
    }
}
