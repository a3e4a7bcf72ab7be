//! Functions and what is kept beside them.

use serde_json::{Value, json};

use super::{ARN, ROLE, STALE, Table, configuration, function, zipped};

const FUNCTIONS: &str = "/2015-03-31/functions";
const F: &str = "/2015-03-31/functions/f";
const CONFIGURATION: &str = "/2015-03-31/functions/f/configuration";
const CODE: &str = "/2015-03-31/functions/f/code";

fn revision(answer: &Value) -> String {
    answer["RevisionId"].as_str().unwrap().to_owned()
}

#[test]
fn revisions_change_with_every_state() {
    let table = Table::open();
    let reason = "The function is being created.";
    let creating = json!({ "State": "Pending", "StateReason": reason, "StateReasonCode": "Creating", "LastUpdateStatus": null });
    let updating = json!({ "LastUpdateStatus": "InProgress", "LastUpdateStatusReason": reason,
                           "LastUpdateStatusReasonCode": "Creating" });
    let (arn, settled) = (format!("{ARN}:f"), configuration("f", &format!("{ARN}:f"), json!({})));
    let shown = |more: Value| configuration("f", &arn, more);
    let get = || table.expect("settled", ("GET", CONFIGURATION, Value::Null), 200, "", &settled);

    let made = table.expect(
        "made",
        ("POST", FUNCTIONS, function("f", json!({}))),
        201,
        "",
        &shown(creating.clone()),
    );
    let active = get();
    assert_ne!(revision(&made), revision(&active));
    assert_eq!(revision(&get()), revision(&active), "until something changes");

    let stale = json!({ "Type": "User", "message": STALE });
    for old in ["wrong".to_owned(), revision(&made)] {
        let body = json!({ "RevisionId": old });
        let kind = "PreconditionFailedException";
        table.expect("stale", ("PUT", CONFIGURATION, body.clone()), 412, kind, &stale);
        table.expect("stale", ("POST", &format!("{F}/versions"), body), 412, kind, &stale);
        let body = json!({ "RevisionId": old, "ZipFile": zipped("two") });
        table.expect("stale", ("PUT", CODE, body), 412, kind, &stale);
    }
    let body = json!({ "RevisionId": revision(&active), "ZipFile": zipped("two") });
    let changed = table.expect("code", ("PUT", CODE, body), 200, "", &shown(updating.clone()));
    let after_code = get();
    let body = json!({ "RevisionId": revision(&after_code), "Timeout": 3 });
    let configured = table.expect("configuration", ("PUT", CONFIGURATION, body), 200, "", &shown(updating));
    let after_configuration = get();
    let mut all: Vec<String> = [&made, &active, &changed, &after_code, &configured, &after_configuration]
        .into_iter()
        .map(revision)
        .collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 6, "each state has its own");

    let versioned = |more: Value| configuration("f", &format!("{ARN}:f:1"), more);
    let body = json!({ "RevisionId": revision(&after_configuration) });
    let version = json!({ "Version": "1" });
    let published = table.expect(
        "publish",
        ("POST", &format!("{F}/versions"), body),
        201,
        "",
        &versioned(version.clone()),
    );
    let of_version = table.expect(
        "version",
        ("GET", &format!("{CONFIGURATION}?Qualifier=1"), Value::Null),
        200,
        "",
        &versioned(version),
    );
    assert_eq!(revision(&published), revision(&of_version), "becoming active changes no version's");
    let latest = get();
    assert_ne!(revision(&latest), revision(&after_configuration), "publishing changes $LATEST's");
    let alias = json!({ "Name": "live", "FunctionVersion": "1" });
    let wanted = json!({ "AliasArn": format!("{ARN}:f:live"), "Name": "live", "FunctionVersion": "1", "Description": "", "RevisionId": "<uuid>" });
    table.expect("alias", ("POST", &format!("{F}/aliases"), alias), 201, "", &wanted);
    assert_eq!(revision(&get()), revision(&latest), "an alias changes none");

    let body = json!({ "ZipFile": zipped("three"), "Publish": true });
    let mut pending = creating;
    pending["Version"] = json!("2");
    let shown = configuration("f", &format!("{ARN}:f:2"), pending);
    table.expect("code, published", ("PUT", CODE, body), 200, "", &shown);
}

#[test]
fn what_is_empty_is_shown_where_aws_shows_it() {
    let table = Table::open();
    let get = |name: &str, more: Value| {
        let shown = configuration(name, &format!("{ARN}:{name}"), more);
        table.expect(
            name,
            ("GET", &format!("{FUNCTIONS}/{name}/configuration"), Value::Null),
            200,
            "",
            &shown,
        );
    };
    let none = json!({ "Variables": {} });
    table.make("none", json!({}));
    get("none", json!({}));
    table.make("f", json!({ "Environment": none }));
    get("f", json!({ "Environment": none }));
    let one = json!({ "Variables": { "ONE": "1" } });
    table.ask("PUT", CONFIGURATION, &json!({ "Environment": one }));
    get("f", json!({ "Environment": one }));
    table.ask("PUT", CONFIGURATION, &json!({ "Environment": none }));
    get("f", json!({}));

    let vpc = json!({ "SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"] });
    table.make("in-vpc", json!({ "VpcConfig": vpc }));
    get(
        "in-vpc",
        json!({ "VpcConfig": { "SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"], "VpcId": "",
                                         "Ipv6AllowedForDualStack": false } }),
    );
    let path = format!("{FUNCTIONS}/in-vpc/configuration");
    table.ask("PUT", &path, &json!({ "VpcConfig": { "SubnetIds": [], "SecurityGroupIds": [] } }));
    get(
        "in-vpc",
        json!({ "VpcConfig": { "SubnetIds": [], "SecurityGroupIds": [], "VpcId": "",
                                         "Ipv6AllowedForDualStack": false } }),
    );

    let queue = "arn:aws:sqs:us-east-1:000000000000:dead";
    let dead = |body: Value| {
        table.ask("PUT", CONFIGURATION, &json!({ "DeadLetterConfig": body })).body["DeadLetterConfig"].clone()
    };
    assert_eq!(dead(json!({ "TargetArn": queue })), json!({ "TargetArn": queue }));
    assert_eq!(dead(json!({})), json!({ "TargetArn": queue }), "nothing was said of the queue");
    assert_eq!(dead(json!({ "TargetArn": "" })), Value::Null);
    table.count(3);
}

#[test]
fn runtimes_that_are_gone_are_told_from_those_that_never_were() {
    let table = Table::open();
    table.make("f", json!({}));
    for runtime in ["python3.7", "python2.7", "nodejs12.x", "nodejs14.x"] {
        let text = format!(
            "The runtime parameter of {runtime} is no longer supported for creating or updating AWS Lambda functions. We \
             recommend you use a supported runtime while creating or updating functions."
        );
        table.invalid(runtime, ("POST", FUNCTIONS, function("g", json!({ "Runtime": runtime }))), &text);
        table.invalid(runtime, ("PUT", CONFIGURATION, json!({ "Runtime": runtime })), &text);
    }
}

#[test]
fn faults_of_configurations() {
    let table = Table::open();
    let subnets = r"Member must satisfy constraint: [Member must have length less than or equal to 1024, Member must have length greater than or equal to 0, Member must satisfy regular expression pattern: subnet-[0-9a-z]*, Member must not be null]";
    let body = function("f", json!({ "VpcConfig": { "SubnetIds": ["bad-1"] } }));
    table.violates("a subnet", ("POST", FUNCTIONS, body), ("[bad-1]", "vpcConfig.subnetIds"), subnets);
    let value = "x".repeat(4096);
    let body = function("f", json!({ "Environment": { "Variables": { "ZZ": value, "AA": "1" } } }));
    let text = format!(
        "Lambda was unable to configure your environment variables because the environment variables you have provided \
         exceeded the 4KB limit. String measured: {{\"ZZ\":\"{value}\",\"AA\":\"1\"}}"
    );
    table.invalid("too large an environment", ("POST", FUNCTIONS, body), &text);
    let body = function("f", json!({ "Role": "r1" }));
    let pattern = r"Member must satisfy regular expression pattern: arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+";
    table.violates("a role", ("POST", FUNCTIONS, body), ("r1", "role"), pattern);
    use base64::Engine;
    let large = base64::engine::general_purpose::STANDARD.encode(vec![0; (50 << 20) + 1]);
    let body = json!({ "FunctionName": "f", "Runtime": "provided.al2023", "Handler": "h", "Role": ROLE, "Code": { "ZipFile": large } });
    let wanted = json!({ "Type": "User", "message": "Zipped size must be smaller than 52428800 bytes" });
    table.expect(
        "too large a zip",
        ("POST", FUNCTIONS, body),
        413,
        "RequestEntityTooLargeException",
        &wanted,
    );
}

#[test]
fn concurrency() {
    let table = Table::open();
    table.make("f", json!({ "Publish": true }));
    let reserved = "/2017-10-31/functions/f/concurrency";
    let put = |executions: u32| ("PUT", reserved, json!({ "ReservedConcurrentExecutions": executions }));
    table.expect("reserved", put(5), 200, "", &json!({ "ReservedConcurrentExecutions": 5 }));
    let text = "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution \
                below its minimum value of [100].";
    table.expect("too much", put(901), 400, "InvalidParameterValueException", &json!({ "message": text }));
    let provisioned =
        |qualifier: &str| format!("/2019-09-30/functions/f/provisioned-concurrency?Qualifier={qualifier}");
    let one = json!({ "ProvisionedConcurrentExecutions": 1 });
    let unpublished = "Provisioned Concurrency Configs cannot be applied to unpublished function versions.";
    table.invalid("put $LATEST", ("PUT", &provisioned("%24LATEST"), one.clone()), unpublished);
    let text = "The function resource provided must be an alias or a published version.";
    table.invalid("get $LATEST", ("GET", &provisioned("%24LATEST"), Value::Null), text);
    table.invalid("delete $LATEST", ("DELETE", &provisioned("%24LATEST"), Value::Null), text);
    let none = "/2019-09-30/functions/none/provisioned-concurrency?Qualifier=live";
    let text = format!("Cannot find alias arn: {ARN}:none:live");
    table.not_found("get, no function", ("GET", none, Value::Null), &text);
    table.not_found("put, no function", ("PUT", none, one.clone()), &text);
    let none = "/2019-09-30/functions/none/provisioned-concurrency?Qualifier=1";
    table.not_found("a version", ("GET", none, Value::Null), &format!("Function not found: {ARN}:none:1"));
    let absent =
        json!({ "Type": "User", "message": "No Provisioned Concurrency Config found for this function" });
    let kind = "ProvisionedConcurrencyConfigNotFoundException";
    table.expect("none", ("GET", &provisioned("1"), Value::Null), 404, kind, &absent);
    table.ask("DELETE", reserved, &Value::Null);
    let many = json!({ "ProvisionedConcurrentExecutions": 1001 });
    let text = "Specified ConcurrentExecutions for function is greater than account's unreserved concurrency [1000].";
    table.expect(
        "more than all",
        ("PUT", &provisioned("1"), many),
        400,
        "InvalidParameterValueException",
        &json!({ "message": text }),
    );
    let many = json!({ "ProvisionedConcurrentExecutions": 901 });
    let text = "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its \
                minimum value of [100].";
    table.expect(
        "too much",
        ("PUT", &provisioned("1"), many),
        400,
        "InvalidParameterValueException",
        &json!({ "message": text }),
    );
}

#[test]
fn event_invoke_configs() {
    let table = Table::open();
    let text = "You must specify at least one of error handling or destination setting.";
    let path = "/2019-09-25/functions/none/event-invoke-config";
    table.invalid("nothing is set", ("PUT", path, json!({})), text);
    table.not_found(
        "no function",
        ("PUT", path, json!({ "MaximumRetryAttempts": 1 })),
        "The function doesn't exist.",
    );
    table.make("f", json!({}));
    let path = "/2019-09-25/functions/f/event-invoke-config";
    let wanted = json!({ "LastModified": "<seconds>", "FunctionArn": format!("{ARN}:f:$LATEST"), "MaximumRetryAttempts": 1,
                         "DestinationConfig": { "OnSuccess": {}, "OnFailure": {} } });
    table.expect("set", ("PUT", path, json!({ "MaximumRetryAttempts": 1 })), 200, "", &wanted);
    table.expect("read", ("GET", path, Value::Null), 200, "", &wanted);
}

#[test]
fn what_terraform_reads_with_every_function() {
    let table = Table::open();
    table.make("f", json!({}));
    let signing = |name: &str| format!("/2020-06-30/functions/{name}/code-signing-config");
    table.expect("signing", ("GET", &signing("f"), Value::Null), 200, "", &json!({}));
    table.not_found(
        "no function",
        ("GET", &signing("none"), Value::Null),
        &format!("Function not found: {ARN}:none"),
    );
    let recursion = |name: &str| format!("/2024-08-31/functions/{name}/recursion-config");
    let wanted = json!({ "RecursiveLoop": "Terminate" });
    table.expect("recursion", ("GET", &recursion("f"), Value::Null), 200, "", &wanted);
    table.not_found(
        "no function",
        ("GET", &recursion("none"), Value::Null),
        &format!("Function not found: {ARN}:none"),
    );
}

#[test]
fn invoke_async_is_an_event() {
    let table = Table::open();
    table.make("f", json!({}));
    let path = "/2014-11-13/functions/f/invoke-async";
    table.expect("taken", ("POST", path, json!({ "a": 1 })), 202, "", &Value::Null);
    let text = format!("Function not found: {ARN}:none:$LATEST");
    table.not_found("no function", ("POST", "/2014-11-13/functions/none/invoke-async", json!({})), &text);
    let other = "/2014-11-13/functions/arn:aws:lambda:us-east-1:111111111111:function:f/invoke-async";
    table.expect(
        "another account",
        ("POST", other, json!({})),
        403,
        "AccessDeniedException",
        &json!({ "Message": null }),
    );
    let bad = table.send("POST", path, "{");
    assert_eq!((bad.status, bad.kind.as_str()), (400, "InvalidRequestContentException"));
}
