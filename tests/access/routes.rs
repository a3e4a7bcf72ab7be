//! Every route of the route table, and the router's, with every kind of credentials: nobody gets through who should not.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use serde_json::{Value, json};

use super::{ask_as, furnish, house};
use crate::support::house::{House, Reply, agent, ask};
use crate::support::root;

/// What anybody may read.
const OPEN: [&str; 3] = ["/", "/livez", "/readyz"];

/// Every path of the route table with its methods, as the table itself says them.
pub fn routes() -> Vec<(String, Vec<&'static str>)> {
    let source = std::fs::read_to_string(root().join("src/api/mod.rs")).unwrap();
    let mut routes = Vec::new();
    for (at, call) in source.match_indices(".route(") {
        let rest = source[at + call.len()..].trim_start();
        // A path that is no literal is each of those in the last list before.
        let (paths, handlers) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let (path, handlers) = quoted.split_once('"').expect("the quote's end");
                (vec![path], handlers)
            }
            None => {
                let list = source[..at].rfind("[\"").expect("a list of paths");
                let list = source[list..at].split(']').next().expect("its end");
                (list.split('"').skip(1).step_by(2).collect(), rest)
            }
        };
        // Up to the next route or statement: the methods of this one.
        let ends = [".route(", ".layer(", ";"].into_iter().filter_map(|end| handlers.find(end)).min();
        let handlers = &handlers[..ends.unwrap_or(handlers.len())];
        let methods =
            [("get(", "GET"), ("post(", "POST"), ("put(", "PUT"), ("delete(", "DELETE"), ("any(", "POST")];
        let is_called = |name: &str| {
            let before = |at: usize| handlers[..at].chars().next_back();
            let begins_word = |at| before(at).is_none_or(|char| !char.is_alphanumeric() && char != '_');
            handlers.match_indices(name).any(|(at, _)| begins_word(at))
        };
        let named: Vec<&str> =
            methods.into_iter().filter(|(name, _)| is_called(name)).map(|(_, method)| method).collect();
        routes.extend(paths.into_iter().map(|path| (path.to_owned(), named.clone())));
    }
    routes
}

/// A path with real names where the table has placeholders.
fn filled(path: &str) -> String {
    let named = [
        ("{target}", "f:live"),
        ("{function}", "f"),
        ("{alias}", "live"),
        ("{version}", "1"),
        ("{name}", "p"),
    ];
    let mut path = path.to_owned();
    for (placeholder, name) in named {
        path = path.replace(placeholder, name);
    }
    while let Some((start, end)) = path.find('{').zip(path.find('}')) {
        path.replace_range(start..=end, "x");
    }
    path
}

/// The headers of a signature made so many seconds ago.
fn signed(
    house: &House,
    method: &str,
    path: &str,
    body: &str,
    key: (&str, &str),
    ago_s: u64,
) -> Vec<(String, String)> {
    let host = house.url().trim_start_matches("http://").to_owned();
    let service = if path == "/" { "monitoring" } else { "lambda" };
    let identity = Credentials::new(key.0, key.1, None, None, "test").into();
    #[expect(clippy::disallowed_methods, reason = "signatures carry the wall's time")]
    let at = SystemTime::now() - Duration::from_secs(ago_s);
    let params = SigningParams::builder()
        .identity(&identity)
        .region("us-east-1")
        .name(service)
        .time(at)
        .settings(SigningSettings::default())
        .build()
        .unwrap()
        .into();
    let headers = [("host", host.as_str())].into_iter();
    let request = SignableRequest::new(method, path, headers, SignableBody::Bytes(body.as_bytes())).unwrap();
    let (instructions, _) = sign(request, &params).unwrap().into_parts();
    instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn asked(
    house: &House,
    method: &str,
    path: &str,
    body: Option<&Value>,
    headers: &[(String, String)],
) -> Reply {
    let mut headers: Vec<(&str, &str)> =
        headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    if path == "/" && method == "POST" {
        headers.push(("x-amz-target", "GraniteServiceVersion20100801.ListMetrics"));
    }
    ask(&agent(), &house.url(), method, path, body, &headers)
}

/// What is long is on disk until the signature is known to be right.
#[test]
fn a_signature_covers_a_body_that_is_not_in_memory() {
    let house = house();
    let path = "/2015-03-31/functions";
    let body = |zip: &str| json!({ "FunctionName": "f", "Code": { "ZipFile": zip } });
    let sent = body(&"A".repeat(400_000));
    let key = ("AKIAOWNER", "the-secret-of-owner");
    let right =
        asked(&house, "POST", path, Some(&sent), &signed(&house, "POST", path, &sent.to_string(), key, 0));
    assert_eq!(right.status, 400, "{}", right.error());
    let other = body(&format!("{}B", "A".repeat(399_999)));
    let wrong =
        asked(&house, "POST", path, Some(&sent), &signed(&house, "POST", path, &other.to_string(), key, 0));
    assert_eq!(wrong.status, 403, "{}", wrong.error());
}

#[test]
fn nobody_gets_through_who_should_not() {
    let house = house();
    furnish(&house, "f", ["http://127.0.0.1:1", "http://127.0.0.1:2"]);
    let seq = || {
        ask_as(&house, "the-token-of-owner", "GET", "/v1/history?limit=1", None).ok()["events"][0]["seq"]
            .clone()
    };
    let before = seq();
    let routes = routes();
    assert!(routes.len() > 30, "the route table was not read: {routes:?}");
    let (mut tried, mut refused) = (0, 0);
    for (template, methods) in &routes {
        assert!(!methods.is_empty(), "{template} has no methods");
        let path = filled(template);
        for method in methods {
            let body = (*method != "GET").then(|| json!({}));
            let text = body.as_ref().map(ToString::to_string).unwrap_or_default();
            let bearer = |token: &str| vec![("authorization".to_owned(), format!("Bearer {token}"))];
            let sign = |key, ago_s| signed(&house, method, &path, &text, key, ago_s);
            let credentials = [
                ("none", vec![]),
                ("a token of nobody", bearer("guess")),
                ("basic", vec![("authorization".to_owned(), "Basic b3duZXI6b3duZXI=".to_owned())]),
                ("an unknown key", sign(("AKIANOBODY", "the-secret-of-owner"), 0)),
                ("a wrong secret", sign(("AKIAOWNER", "guess"), 0)),
                ("an expired signature", sign(("AKIAOWNER", "the-secret-of-owner"), 400)),
                ("a claim", vec![("x-serin-actor".to_owned(), "owner".to_owned())]),
                ("somebody who is no owner", bearer("the-token-of-ana")),
                ("somebody's signature who is no owner", sign(("AKIAANA", "the-secret-of-ana"), 0)),
            ];
            for (kind, headers) in credentials {
                let reply = asked(&house, method, &path, body.as_ref(), &headers);
                let is_open = *method == "GET" && OPEN.contains(&path.as_str());
                tried += 1;
                if is_open {
                    assert_eq!(reply.status, 200, "{method} {path} with {kind}");
                    continue;
                }
                refused += 1;
                assert!(matches!(reply.status, 401 | 403), "{method} {path} with {kind}: {reply:?}");
            }
            // What changes something, or never ends, is only tried as others.
            if *method == "GET" && path != "/v1/events" && !path.starts_with("/code/") {
                let owner =
                    asked(&house, method, &path, None, &sign(("AKIAOWNER", "the-secret-of-owner"), 0));
                assert!(!matches!(owner.status, 401 | 403), "{method} {path} as the owner: {owner:?}");
            }
        }
    }
    println!("{tried} requests over {} routes, {refused} refused", routes.len());
    assert_eq!(seq(), before, "something was changed");
}

#[test]
fn ways_around_a_path_lead_nowhere() {
    let house = house();
    furnish(&house, "f", ["http://127.0.0.1:1", "http://127.0.0.1:2"]);
    for path in [
        "//v1/functions/f",
        "/v1//functions/f",
        "/V1/functions/f",
        "/v1/functions/f/",
        "/v1/./functions/f",
        "/livez/../v1/functions/f",
        "/livez/%2e%2e/v1/functions/f",
        "/%76%31/functions/f",
        "/v1%2ffunctions%2ff",
        "/v1/functions/f?x=/livez",
        "/v1/functions/f;/livez",
        "//2015-03-31/functions/f",
        "/2015-03-31//functions/f",
        "/2015-03-31/functions/f/invocations/../aliases/live",
        "/2015-03-31/functions/x/../f",
        "/2015-03-31/functions/f/aliases/x%2finvocations",
        "/2015-03-31/functions/f/policy/invocations",
        "/2015-03-31/functions/f/aliases/invocations",
    ] {
        for method in ["DELETE", "PUT", "POST", "PATCH"] {
            let reply = ask_as(&house, "", method, path, Some(&json!({})));
            assert!(reply.status >= 400, "{method} {path}: {reply:?}");
        }
    }
    assert_eq!(ask_as(&house, "the-token-of-owner", "GET", "/v1/functions/f/aliases/live", None).status, 200);
}

#[test]
fn with_a_token_alone_everything_wants_it() {
    let house = House::start_with(|config| config.token = Some("ana:a-secret-of-hers-alone".to_owned()));
    house.publish("f", "http://127.0.0.1:1");
    house.alias("f", "live", "1");
    let mut refused = 0;
    for (template, methods) in routes() {
        let path = filled(&template);
        for method in methods {
            let body = (method != "GET").then(|| json!({}));
            let text = body.as_ref().map(ToString::to_string).unwrap_or_default();
            let unsigned = signed(&house, method, &path, &text, ("AKIAOWNER", "the-secret-of-owner"), 0);
            for headers in
                [vec![], vec![("authorization".to_owned(), "Bearer ana:guess".to_owned())], unsigned]
            {
                let reply = asked(&house, method, &path, body.as_ref(), &headers);
                if method == "GET" && OPEN.contains(&path.as_str()) {
                    assert_eq!(reply.status, 200, "{method} {path}: {reply:?}");
                    continue;
                }
                assert!(matches!(reply.status, 401 | 403), "{method} {path}: {reply:?}");
                refused += 1;
            }
        }
    }
    assert!(refused > 200, "{refused}");
    assert_eq!(house.get("/v1/functions/f/aliases/live").status, 200);
    assert_eq!(house.get("/metrics").status, 200);
    // The router's own listener asks the same of invocations, and nothing of HTTP.
    let router = format!("http://{}", house.router());
    let invoke = "/2015-03-31/functions/f:live/invocations";
    let bearer = ("authorization", "Bearer ana:a-secret-of-hers-alone");
    let status =
        |method, path, headers: &[_]| ask(&agent(), &router, method, path, Some(&json!({})), headers).status;
    assert_eq!((status("POST", invoke, &[]), status("POST", invoke, &[bearer])), (403, 200));
    assert_eq!(status("POST", invoke, &[("authorization", "Bearer ana:guess")]), 403);
    assert_eq!(status("POST", "/f:live/x", &[]), 502, "nobody is asked, and nobody answers there");
}
