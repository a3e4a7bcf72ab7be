//! Every operation of Lambda's, as the table of operations has it, by everybody with every kind of grant, with a version
//! or an alias named in every way: nobody may what they may not, and whoever may is let through.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use serin::api::lambda::operations::{OPERATIONS, Operation, is_invoke};
use ureq::Agent;

use super::{ask_as, house_of, own, routes::routes};
use crate::support::house::{House, Reply, agent, ask};

/// Who asks, and on what `lambda:*` is granted to them.
const EVERYBODY: [(&str, Grant); 8] = [
    ("the-token-of-owner", Grant::All),
    ("the-token-of-function", Grant::On("")),
    ("the-token-of-live", Grant::On("live")),
    ("the-token-of-beta", Grant::On("beta")),
    ("the-token-of-one", Grant::On("1")),
    ("the-token-of-none", Grant::Nothing),
    ("a-token-of-nobody-here", Grant::Unknown),
    ("", Grant::Unknown),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grant {
    All,
    On(&'static str),
    Nothing,
    Unknown,
}

/// How a version or an alias is named, and by how many names that the query has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Absent,
    Path,
    Query,
    Both,
    Encoded,
    EncodedPath,
    Twice,
    OtherFirst,
    OtherLast,
    EncodedFirst,
}

const WAYS: [Way; 9] = [
    Way::Path,
    Way::Query,
    Way::Both,
    Way::Encoded,
    Way::EncodedPath,
    Way::Twice,
    Way::OtherFirst,
    Way::OtherLast,
    Way::EncodedFirst,
];

impl Way {
    /// What is put behind the function's name, and into the query.
    fn spelled(self, qualifier: &str) -> (String, String) {
        let in_query = |query: String| (String::new(), query);
        match self {
            Way::Absent => (String::new(), String::new()),
            Way::Path => (format!(":{qualifier}"), String::new()),
            Way::Query => in_query(format!("Qualifier={qualifier}")),
            Way::Both => (format!(":{qualifier}"), format!("Qualifier={qualifier}")),
            Way::Encoded => {
                let bytes: String = qualifier.bytes().map(|byte| format!("%{byte:02x}")).collect();
                in_query(format!("%51u%61lifier={bytes}"))
            }
            Way::EncodedPath => (format!("%3a{qualifier}"), String::new()),
            Way::Twice => in_query(format!("Qualifier={qualifier}&Qualifier={qualifier}")),
            Way::OtherFirst => in_query(format!("Qualifier=beta&Qualifier={qualifier}")),
            Way::OtherLast => in_query(format!("Qualifier={qualifier}&Qualifier=beta")),
            Way::EncodedFirst => in_query(format!("%51ualifier=beta&Qualifier={qualifier}")),
        }
    }

    fn is_unclear(self) -> bool {
        matches!(self, Way::Twice | Way::OtherFirst | Way::OtherLast | Way::EncodedFirst)
    }

    fn is_in_path(self) -> bool {
        matches!(self, Way::Path | Way::Both | Way::EncodedPath)
    }
}

/// What must come of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Whatever the operation makes of it.
    LetThrough,
    /// 400: it could be read in two ways, or names a version or an alias where there is none.
    Unclear,
    /// 403: they may not.
    Denied,
}

fn expected(operation: &Operation, grant: Grant, way: Way, qualifier: &str) -> Outcome {
    let names_function = operation.path.contains("{function}") || operation.path.contains("{resource}");
    let unclear = way.is_unclear() || (way != Way::Absent && !operation.takes_qualifier);
    match grant {
        Grant::Unknown => Outcome::Denied,
        _ if unclear => Outcome::Unclear,
        Grant::All => Outcome::LetThrough,
        Grant::On(scope) if names_function && scope == qualifier => Outcome::LetThrough,
        Grant::On(_) | Grant::Nothing => Outcome::Denied,
    }
}

fn outcome(reply: &Reply) -> Outcome {
    let text = reply.body.to_string();
    let says = |part: &str| text.contains(part);
    let unclear =
        ["more than once", "permitted on Lambda functions only", "takes no Qualifier", "Tags on function"];
    match reply.status {
        401 | 403 => Outcome::Denied,
        400 if unclear.into_iter().any(says) => Outcome::Unclear,
        _ => Outcome::LetThrough,
    }
}

fn target(operation: &Operation, function: &str, way: Way, qualifier: &str) -> String {
    let (suffix, mut query) = way.spelled(qualifier);
    let arn = format!("arn:aws:lambda:us-east-1:000000000000:function:{function}{suffix}");
    let path = operation
        .path
        .replace("{function}", &format!("{function}{suffix}"))
        .replace("{resource}", &arn)
        .replace("{alias}", "live")
        .replace("{sid}", "nothing")
        .replace("{uuid}", "7d7e4b3a-0000-4000-8000-000000000000");
    if let Some((name, value)) = operation.marked_by {
        query = [format!("{name}={value}"), query]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join("&");
    }
    if query.is_empty() { path } else { format!("{path}?{query}") }
}

fn furnish(house: &House, function: &str) {
    super::furnish(house, function, ["http://127.0.0.1:1", "http://127.0.0.1:1"]);
    for (token, grant) in EVERYBODY {
        let Grant::On(scope) = grant else { continue };
        let query = if scope.is_empty() { String::new() } else { format!("?Qualifier={scope}") };
        let name = token.trim_start_matches("the-token-of-");
        let principal = format!("arn:aws:iam::000000000000:user/{name}");
        let body = json!({ "StatementId": name, "Action": "lambda:*", "Principal": principal });
        own(house, "POST", &format!("/2015-03-31/functions/{function}/policy{query}"), &body);
    }
}

fn principals() -> String {
    let known = EVERYBODY.iter().filter(|(_, grant)| *grant != Grant::Unknown);
    let entry = |(token, grant): &(&str, Grant)| {
        let name = token.trim_start_matches("the-token-of-");
        let owner = *grant == Grant::All;
        format!(
            "  - {{principal: \"arn:aws:iam::000000000000:user/{name}\", owner: {owner}, token: {{inline: {token}}}}}\n"
        )
    };
    format!("principals:\n{}", known.map(entry).collect::<String>())
}

fn sent(agent: &Agent, url: &str, token: &str, operation: &Operation, target: &str) -> Reply {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    let headers = if token.is_empty() { &[][..] } else { &headers[..] };
    let body = (operation.method != "GET").then(|| json!({}));
    ask(agent, url, operation.method, target, body.as_ref(), headers)
}

#[test]
fn every_operation_lets_in_who_may_and_nobody_else() {
    let house = house_of(&principals());
    // Its versions would count on where it is made again, so each has a name of its own.
    let (mut function, mut made) = ("f".to_owned(), 0);
    furnish(&house, &function);
    let seq = || {
        ask_as(&house, "the-token-of-owner", "GET", "/v1/history?limit=1", None).ok()["events"][0]["seq"]
            .clone()
    };
    let (agent, router) = (agent(), format!("http://{}", house.router()));
    let (mut counts, mut wrong) = (BTreeMap::<String, u32>::new(), Vec::new());
    for operation in OPERATIONS {
        let has_name = operation.path.contains("{function}") || operation.path.contains("{resource}");
        let named = ["live", "1"].into_iter().flat_map(|qualifier| WAYS.map(|way| (way, qualifier)));
        for (way, qualifier) in [(Way::Absent, "")].into_iter().chain(named) {
            if way.is_in_path() && !has_name {
                continue;
            }
            let target = |function: &str| target(operation, function, way, qualifier);
            let urls = [house.url(), router.clone()];
            let urls = &urls[..if is_invoke(operation.path) { 2 } else { 1 }];
            for (url, (token, grant)) in urls.iter().flat_map(|url| EVERYBODY.map(|one| (url, one))) {
                let expected = expected(operation, grant, way, qualifier);
                let may_change = operation.method != "GET";
                let before = (may_change && expected != Outcome::LetThrough).then(seq);
                let target = target(&function);
                let reply = sent(&agent, url, token, operation, &target);
                let found = outcome(&reply);
                *counts.entry(format!("{found:?}")).or_default() += 1;
                if found != expected {
                    wrong.push(format!(
                        "{} {target} by {token:?}: {expected:?}, not {reply:?}",
                        operation.name
                    ));
                }
                if let Some(before) = before {
                    assert_eq!(seq(), before, "{} {target} by {token:?} changed something", operation.name);
                } else if may_change && reply.status < 300 {
                    let path = format!("/v1/functions/{function}");
                    ask_as(&house, "the-token-of-owner", "DELETE", &path, None);
                    made += 1;
                    function = format!("f{made}");
                    furnish(&house, &function);
                }
            }
        }
    }
    let tried: u32 = counts.values().sum();
    println!("{tried} requests to {} operations, {counts:?}, {} wrong", OPERATIONS.len(), wrong.len());
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(counts.len() == 3 && tried > 4000, "{counts:?}");
}

#[test]
fn what_is_checked_is_what_is_acted_on() {
    let house = house_of(&principals());
    furnish(&house, "f");
    let by_live = |path: &str| ask_as(&house, "the-token-of-live", "GET", path, None);
    for (target, shown) in [
        ("f:live", "live"),
        ("f?Qualifier=live", "live"),
        ("f?%51ualifier=%6cive", "live"),
        ("f%3Alive?Qu%61lifier=live", "live"),
    ] {
        let found = by_live(&format!("/2015-03-31/functions/{target}")).ok();
        let arn = found["Configuration"]["FunctionArn"].as_str().unwrap().to_owned();
        assert_eq!(arn, format!("arn:aws:lambda:us-east-1:000000000000:function:f:{shown}"), "{target}");
    }
    // Found by hand: each of these was answered for the whole function, or for the other alias.
    for target in [
        "f/configuration?Qualifier=live",
        "f/versions?Qualifier=live",
        "f:live/aliases/beta",
        "f/aliases/beta?Qualifier=live",
        "f?%51ualifier=beta&Qualifier=live",
        "f/policy?%51ualifier=beta&Qualifier=live",
    ] {
        let reply = by_live(&format!("/2015-03-31/functions/{target}"));
        let is_configuration = target.starts_with("f/configuration");
        let expected = if is_configuration { 200 } else { 400 };
        assert_eq!(reply.status, expected, "{target}: {reply:?}");
    }
    let put = ask_as(
        &house,
        "the-token-of-live",
        "PUT",
        "/2015-03-31/functions/f/configuration?Qualifier=live",
        Some(&json!({ "Description": "changed" })),
    );
    assert_eq!(put.status, 400, "{put:?}");
    let shown = own(&house, "GET", "/2015-03-31/functions/f/configuration", &Value::Null);
    assert_eq!(shown["Description"], "");
}

#[test]
fn functions_of_another_account_are_denied_without_a_word() {
    let house = house_of(&principals());
    furnish(&house, "f");
    let router = format!("http://{}", house.router());
    for name in [
        "arn:aws:lambda:us-east-1:111111111111:function:f",
        "111111111111:function:f",
        "111111111111:function:f:live",
    ] {
        for (method, rest) in [("GET", ""), ("GET", "/policy"), ("POST", "/invocations"), ("DELETE", "")] {
            let path = format!("/2015-03-31/functions/{name}{rest}");
            let body = json!({});
            let reply =
                ask_as(&house, "the-token-of-owner", method, &path, Some(&body).filter(|_| method == "POST"));
            assert_eq!((reply.status, &reply.body), (403, &json!({ "Message": null })), "{method} {path}");
            if rest == "/invocations" {
                let bearer = [("authorization", "Bearer the-token-of-owner")];
                let reply = ask(&agent(), &router, method, &path, Some(&body), &bearer);
                assert_eq!(
                    (reply.status, &reply.body),
                    (403, &json!({ "Message": null })),
                    "{method} {path}"
                );
            }
        }
    }
    let tags = "/2017-03-31/tags/arn:aws:lambda:us-east-1:111111111111:function:f";
    assert_eq!(ask_as(&house, "the-token-of-owner", "GET", tags, None).status, 403);
    let region = "/2015-03-31/functions/arn:aws:lambda:eu-central-1:000000000000:function:f/invocations";
    let reply = ask_as(&house, "the-token-of-owner", "POST", region, Some(&json!({})));
    let text = "Functions from 'eu-central-1' are not reachable in this region ('us-east-1')";
    assert_eq!((reply.status, reply.error().as_str()), (404, text));
}

#[test]
fn every_route_of_lambdas_is_an_operation_and_every_operation_a_route() {
    let routes: Vec<(String, &str)> = routes()
        .into_iter()
        .filter(|(path, _)| path.starts_with("/20"))
        .flat_map(|(path, methods)| methods.into_iter().map(move |method| (path.clone(), method)))
        .collect();
    let has = |operation: &Operation, path: &str, method: &str| {
        operation.path == path.trim_end_matches('/') && operation.method == method
    };
    for (path, method) in &routes {
        assert!(
            OPERATIONS.iter().any(|operation| has(operation, path, method)),
            "{method} {path} is no operation"
        );
    }
    for operation in OPERATIONS {
        let is_routed = routes.iter().any(|(path, method)| has(operation, path, method));
        assert!(is_routed, "{} is not in the route table", operation.name);
    }
}
