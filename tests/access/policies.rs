//! Policies on exactly one function, version or alias, for invocations on both listeners and for the control API.

use serde_json::{Value, json};

use super::{ANA, ask_as, furnish, house, own};
use crate::support::house::{House, Reply, agent, ask};
use crate::support::service::Service;

const INVOKE: &str = "lambda:InvokeFunction";

/// Invokes a function as the holder of a token, on the API's listener and on the router's, which must agree.
#[track_caller]
fn invoke_with(house: &House, target: &str, headers: &[(&str, &str)]) -> Reply {
    let path = format!("/2015-03-31/functions/{target}/invocations");
    let router = format!("http://{}", house.router());
    let body = json!({});
    let both = [house.url(), router].map(|url| ask(&agent(), &url, "POST", &path, Some(&body), headers));
    assert_eq!(both[0], both[1], "{target}: the two listeners disagree");
    both[0].clone()
}

#[track_caller]
fn invoke_as(house: &House, token: &str, target: &str) -> Reply {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    invoke_with(house, target, if token.is_empty() { &[] } else { &headers })
}

fn permit(house: &House, sid: &str, principal: &str, qualifier: Option<&str>, more: &Value) {
    let mut body = json!({ "StatementId": sid, "Action": INVOKE, "Principal": principal });
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    let query = qualifier.map(|qualifier| format!("?Qualifier={qualifier}")).unwrap_or_default();
    own(house, "POST", &format!("/2015-03-31/functions/f/policy{query}"), &body);
}

#[test]
fn whoever_may_not_invoke_may_send_no_event() {
    let house = house();
    let service = Service::start(0.0, 1);
    furnish(&house, "f", [&service.url(), &service.url()]);
    permit(&house, "ana", ANA, Some("live"), &json!({}));
    let event = [("authorization", "Bearer the-token-of-ana"), ("x-amz-invocation-type", "Event")];
    let statuses = ["f", "f:live", "f:1"].map(|target| invoke_with(&house, target, &event).status);
    assert_eq!(statuses, [403, 202, 403]);
    // What was accepted once needs nobody's leave when it is carried out.
    crate::support::until("it is delivered, from both listeners", || {
        let delivered = "serin_async_events_total{function=\"f\",outcome=\"delivered\"} 2\n";
        own(&house, "GET", "/metrics", &Value::Null).as_str().unwrap().contains(delivered)
    });
}

#[test]
fn permission_on_an_alias_alone_opens_neither_the_function_nor_the_version_behind_it() {
    let mut house = house();
    let service = Service::start(0.0, 1);
    furnish(&house, "f", [&service.url(), &service.url()]);
    let all = ["f", "f:live", "f:beta", "f:1", "f:2", "f:$LATEST"];
    let allowed = |house: &House, token: &str| -> Vec<&str> {
        all.into_iter().filter(|target| invoke_as(house, token, target).status == 200).collect()
    };
    assert_eq!(allowed(&house, "the-token-of-owner"), all);
    assert!(allowed(&house, "the-token-of-ana").is_empty());
    let denied = invoke_as(&house, "the-token-of-ana", "f");
    assert_eq!(
        (denied.status, denied.error().as_str()),
        (
            403,
            "User: arn:aws:iam::000000000000:user/ana is not authorized to perform: lambda:InvokeFunction on resource: \
             arn:aws:lambda:us-east-1:000000000000:function:f because no resource-based policy allows the \
             lambda:InvokeFunction action"
        )
    );
    assert!(
        invoke_as(&house, "the-token-of-ana", "f:7").error().contains("function:f:7 because"),
        "absence is not told"
    );

    permit(&house, "a", ANA, Some("live"), &json!({}));
    assert_eq!(allowed(&house, "the-token-of-ana"), ["f:live"]);
    permit(&house, "v", ANA, Some("2"), &json!({}));
    assert_eq!(allowed(&house, "the-token-of-ana"), ["f:live", "f:2"]);
    permit(&house, "f", "000000000000", None, &json!({}));
    assert_eq!(
        allowed(&house, "the-token-of-ana"),
        ["f", "f:live", "f:2"],
        "and not f:$LATEST, nor the other alias"
    );
    assert!(allowed(&house, "the-token-of-s3-too").is_empty());

    house.shut_down();
    house.boot();
    assert_eq!(allowed(&house, "the-token-of-ana"), ["f", "f:live", "f:2"], "after a restart");

    own(&house, "DELETE", "/2015-03-31/functions/f/policy/f", &Value::Null);
    own(&house, "DELETE", "/v1/functions/f/aliases/live", &Value::Null);
    own(&house, "POST", "/v1/functions/f/aliases/live", &json!({ "functionVersion": "1" }));
    assert_eq!(
        allowed(&house, "the-token-of-ana"),
        ["f:2"],
        "a new alias of the same name has no permissions"
    );
}

#[test]
fn a_rollout_does_not_change_who_may() {
    let house = house();
    let service = Service::start(0.0, 1);
    furnish(&house, "f", [&service.url(), &service.url()]);
    permit(&house, "a", ANA, Some("live"), &json!({}));
    let body = json!({ "functionVersion": "1", "additionalVersion": "2", "additionalWeight": 1.0 });
    let weights = json!({ "RoutingConfig": { "AdditionalVersionWeights": { "2": 1.0 } } });
    own(&house, "PUT", "/2015-03-31/functions/f/aliases/live", &weights);
    assert_eq!(invoke_as(&house, "the-token-of-ana", "f:live").status, 200, "{body}");
    assert_eq!(invoke_as(&house, "the-token-of-ana", "f:2").status, 403);
}

#[test]
fn whoever_is_not_known_is_told_so_and_http_traffic_is_not_asked() {
    let house = house();
    let service = Service::start(0.0, 1);
    furnish(&house, "f", [&service.url(), &service.url()]);
    permit(&house, "all", "*", Some("live"), &json!({}));
    for (token, text) in [
        ("", "Missing Authentication Token"),
        ("no-such-token", "The security token included in the request is invalid."),
    ] {
        let reply = invoke_as(&house, token, "f:live");
        assert_eq!((reply.status, reply.error().as_str()), (403, text));
    }
    assert_eq!(invoke_as(&house, "the-token-of-ana", "f:live").status, 200, "everybody who is known");
    let router = format!("http://{}", house.router());
    assert_eq!(ask(&agent(), &router, "GET", "/f:live/", None, &[]).status, 200);
}

#[test]
fn services_call_for_the_resources_they_are_allowed_to() {
    let house = house();
    let service = Service::start(0.0, 1);
    furnish(&house, "f", [&service.url(), &service.url()]);
    let bucket = "arn:aws:s3:::examplebucket";
    let conditions = json!({ "SourceArn": bucket, "SourceAccount": "123456789012" });
    permit(&house, "1", "s3.amazonaws.com", Some("live"), &conditions);
    permit(&house, "2", ANA, Some("live"), &conditions);
    let call = |token: &str, arn: Option<&str>, account: Option<&str>| {
        let bearer = format!("Bearer {token}");
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(arn.map(|arn| ("x-amz-source-arn", arn)));
        headers.extend(account.map(|account| ("x-amz-source-account", account)));
        invoke_with(&house, "f:live", &headers).status
    };
    assert_eq!(call("the-token-of-s3-too", Some(bucket), Some("123456789012")), 200);
    for (arn, account) in [
        (None, None),
        (Some(bucket), None),
        (None, Some("123456789012")),
        (Some("arn:aws:s3:::other"), Some("123456789012")),
        (Some(bucket), Some("999999999999")),
    ] {
        assert_eq!(call("the-token-of-s3-too", arn, account), 403, "{arn:?} {account:?}");
    }
    assert_eq!(
        call("the-token-of-ana", Some(bucket), Some("123456789012")),
        403,
        "only services speak for resources"
    );
}

#[test]
fn the_control_api_is_held_to_policies_too() {
    let house = house();
    furnish(&house, "f", ["http://127.0.0.1:1", "http://127.0.0.1:2"]);
    let get = |path: &str| ask_as(&house, "the-token-of-ana", "GET", path, None);
    let denied = get("/2015-03-31/functions/f/aliases/live");
    assert_eq!(
        denied.error(),
        "User: arn:aws:iam::000000000000:user/ana is not authorized to perform: lambda:GetAlias on resource: \
         arn:aws:lambda:us-east-1:000000000000:function:f because no resource-based policy allows the lambda:GetAlias \
         action"
    );
    permit(&house, "read", ANA, None, &json!({ "Action": "lambda:GetAlias" }));
    permit(&house, "policy", ANA, Some("live"), &json!({ "Action": "lambda:GetPolicy" }));
    assert_eq!(get("/2015-03-31/functions/f/aliases/live").status, 200);
    assert_eq!(get("/2015-03-31/functions/f/aliases").status, 403, "ListAliases is another action");
    assert_eq!(get("/2015-03-31/functions/f/policy?Qualifier=live").status, 200);
    assert_eq!(get("/2015-03-31/functions/f%3Alive/policy").status, 200);
    for other in ["", "?Qualifier=1", "?Qualifier=beta"] {
        assert_eq!(get(&format!("/2015-03-31/functions/f/policy{other}")).status, 403, "{other}");
    }
    for unclear in ["f/policy?Qualifier=live&Qualifier=beta", "f:live/policy?Qualifier=beta"] {
        assert_eq!(get(&format!("/2015-03-31/functions/{unclear}")).status, 400, "{unclear}");
    }
    let listed = get("/2015-03-31/functions/");
    assert!(
        listed.error().contains("no identity-based policy allows the lambda:ListFunctions action"),
        "{listed:?}"
    );
    let history = ask_as(&house, "the-token-of-owner", "GET", "/v1/history", None).ok();
    let actors: Vec<&str> =
        history["events"].as_array().unwrap().iter().map(|e| e["actor"].as_str().unwrap()).collect();
    assert!(actors.iter().all(|actor| *actor == super::OWNER), "{actors:?}");
}

#[test]
fn nobody_has_invoked_on_success_what_they_may_not_invoke() {
    let house = house();
    let service = Service::start(0.0, 1);
    furnish(&house, "f", [&service.url(), &service.url()]);
    own(&house, "POST", "/v1/functions/g/versions", &json!({ "url": service.url() }));
    permit(&house, "configure", ANA, None, &json!({ "Action": "lambda:*" }));
    let first = json!({ "StatementId": "ana", "Action": INVOKE, "Principal": ANA });
    own(&house, "POST", "/2015-03-31/functions/g/policy?Qualifier=1", &first);
    let arn = |name: &str| format!("arn:aws:lambda:us-east-1:000000000000:function:{name}");
    let set = |token: &str, method: &str, side: &str, target: &str| {
        let config = json!({ "DestinationConfig": { side: { "Destination": target } } });
        let path = "/2019-09-25/functions/f/event-invoke-config";
        ask_as(&house, token, method, path, Some(&config))
    };
    let ana = "the-token-of-ana";
    for method in ["PUT", "POST"] {
        for side in ["OnSuccess", "OnFailure"] {
            for target in
                [arn("g"), arn("f:live"), arn("f:$LATEST"), "arn:aws:sqs:us-east-1:000000000000:q".to_owned()]
            {
                let denied = set(ana, method, side, &target);
                assert_eq!(denied.status, 403, "{method} {side} {target}: {denied:?}");
            }
            assert_eq!(set(ana, "PUT", side, &arn("g:1")).status, 200, "what is granted");
            assert_eq!(set("the-token-of-owner", method, side, &arn("g")).status, 200);
            let foreign = "arn:aws:lambda:us-east-1:111111111111:function:g";
            assert_eq!(set("the-token-of-owner", method, side, foreign).status, 403, "another account's");
        }
    }
    let dead_letter = json!({ "DeadLetterConfig": { "TargetArn": "arn:aws:sqs:us-east-1:000000000000:q" } });
    let configure = |token| {
        ask_as(&house, token, "PUT", "/2015-03-31/functions/f/configuration", Some(&dead_letter)).status
    };
    assert_eq!((configure(ana), configure("the-token-of-owner")), (403, 200));
}
