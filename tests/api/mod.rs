//! Our own API: what a faulty request is told, and that the OpenAPI document describes what there is.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::access::routes::routes;
use crate::support::house::House;
use crate::support::service::Service;

/// Paths that the document leaves out: the document itself, the page, and AWS's.
const UNTOLD: [&str; 3] = ["/", "/openapi.json", "/v1/openapi.json"];

#[track_caller]
fn document(house: &House) -> Value {
    house.get("/openapi.json").ok()
}

#[test]
fn a_faulty_path_or_query_is_refused_in_the_shape_of_every_other_refusal() {
    let house = House::start();
    let service = Service::start(0.0, 1);
    house.publish("f", &service.url());
    house.alias("f", "live", "1");
    for path in [
        "/v1/history?limit=many",
        "/v1/history?nonsense=1",
        "/v1/rollouts?live=perhaps",
        "/v1/rollouts/f:live/events?after=-1",
        "/v1/logs/f?after=x",
        "/v1/events?after=x",
        "/v1/functions/%FF",
        "/v1/functions/f/aliases/%FF",
        "/v1/plans/%FF",
        "/v1/rollouts/%FF",
    ] {
        let mut response = ureq::get(format!("{}{path}", house.url()))
            .config()
            .http_status_as_error(false)
            .build()
            .call()
            .unwrap();
        assert_eq!(response.status(), 400, "{path}");
        assert_eq!(response.headers()["content-type"], "application/json", "{path}");
        let body: Value = response.body_mut().read_json().unwrap();
        assert_eq!(body["error"]["kind"], "invalid", "{path}: {body}");
        assert_ne!(body["error"]["message"], "", "{path}");
    }
}

/// Derived code takes an array for an object, member by member.
#[test]
fn an_array_is_no_object() {
    let house = House::start();
    let service = Service::start(0.0, 1);
    house.publish("f", &service.url());
    house.publish("f", &service.url());
    house.alias("f", "live", "1");
    for (method, path, body) in [
        ("PUT", "/v1/functions/f/aliases/live", json!(["2", {}])),
        ("POST", "/v1/functions/f/aliases/new", json!(["1"])),
        ("POST", "/v1/functions/f/versions", json!([service.url()])),
        ("POST", "/v1/functions/f/versions", json!({ "url": service.url(), "timeouts": ["1s", "2s"] })),
        ("POST", "/v1/rollouts/f:live/rollback", json!(["2", null])),
        ("POST", "/v1/backup", json!([])),
    ] {
        let refused = house.ask(method, path, Some(&body), &[]);
        assert_eq!(refused.status, 400, "{method} {path}: {refused:?}");
        assert!(refused.error().contains("expected a JSON object"), "{method} {path}: {refused:?}");
    }
    assert_eq!(house.get("/v1/functions/f/aliases/live").ok()["routing"]["text"], "v1");
    // What may be left out may be null, too.
    let publish = json!({ "url": service.url(), "timeouts": null, "new": true });
    assert_eq!(house.post("/v1/functions/f/versions", &publish).ok()["version"], "3");
    assert_eq!(house.verb("f:live", "pause", &json!(null)).status, 404, "there is no rollout");
}

/// It wrapped around to a negative one, and so all entries came after it.
#[test]
fn a_sequence_number_that_no_journal_reaches_is_refused() {
    let house = House::start();
    let service = Service::start(0.0, 1);
    house.publish("f", &service.url());
    house.alias("f", "live", "1");
    for path in ["/v1/history", "/v1/rollouts/f:live/events"] {
        let last = house.get(&format!("{path}?after={}", i64::MAX)).ok();
        assert_eq!(last["events"], json!([]), "{path}");
        let refused = house.get(&format!("{path}?after={}", i64::MAX as u64 + 1));
        assert_eq!(refused.status, 400, "{path}: {refused:?}");
    }
}

#[test]
fn the_document_describes_every_route_of_ours_and_what_each_may_refuse() {
    let house = House::start();
    let document = document(&house);
    let mut described = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            described.insert((path.clone(), method.to_uppercase()));
            let refusal = &operation["responses"]["default"]["content"]["application/json"]["schema"]["$ref"];
            assert_eq!(refusal, "#/components/schemas/ErrorBody", "{method} {path}");
        }
    }
    let ours = routes().into_iter().filter(|(path, _)| {
        !UNTOLD.contains(&path.as_str()) && (path.starts_with("/v1/") || !path[1..].contains('/'))
    });
    let there: BTreeSet<_> = ours
        .flat_map(|(path, methods)| methods.into_iter().map(move |method| (path.clone(), method.to_owned())))
        .collect();
    assert_eq!(described, there);
}

#[test]
fn the_document_asks_for_a_token_where_one_is_wanted() {
    let house = House::start();
    let document = document(&house);
    assert_eq!(document["security"], json!([{ "token": [] }]));
    assert_eq!(document["components"]["securitySchemes"]["token"]["scheme"], "bearer");
    for path in ["/livez", "/readyz"] {
        assert_eq!(document["paths"][path]["get"]["security"], json!([{}]), "{path}");
    }
}
