//! Functions through the real daemon, from CreateFunction on.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::functions::{failing_function, running, rust_function, stream};
use crate::support::house::House;
use crate::support::serin::{Daemon, command};
use crate::support::until;

const FUNCTIONS: &str = "/2015-03-31/functions";

/// Asks Lambda's API.
fn ask(agent: &ureq::Agent, url: &str, path: &str, body: &Value) -> (u16, Value, String) {
    let mut answer = agent.post(format!("{url}{path}")).send_json(body).unwrap();
    let version =
        answer.headers().get("x-amz-executed-version").map(|version| version.to_str().unwrap().to_owned());
    let is_error = answer.headers().contains_key("x-amz-function-error");
    let status = answer.status().as_u16();
    let text = answer.body_mut().with_config().limit(1 << 24).read_to_string().unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    (status, body, format!("{}{}", version.unwrap_or_default(), if is_error { " failed" } else { "" }))
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).build().into()
}

/// Makes a function of `examples/function.rs`.
fn create(agent: &ureq::Agent, url: &str, name: &str, environment: &Value) {
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
    let body = json!({
        "FunctionName": name, "Runtime": "provided.al2023", "Handler": "bootstrap", "Publish": true,
        "Role": "arn:aws:iam::000000000000:role/r", "Timeout": 20, "Architectures": [architecture],
        "Code": { "ZipFile": BASE64.encode(rust_function()) }, "Environment": { "Variables": environment },
    });
    let (status, said, _) = ask(agent, url, FUNCTIONS, &body);
    assert_eq!(status, 201, "{said}");
}

/// A plan rolls out a second zip whose invocations fail, and takes it back by those failures alone.
#[test]
fn a_canary_of_functions_is_rolled_back_by_its_function_errors() {
    let house = House::start();
    let (agent, url) = (agent(), house.url());
    create(&agent, &url, "f", &json!({}));
    let service = json!({ "url": "http://127.0.0.1:9", "health": "/healthz" });
    let refused = house.post("/v1/functions/f/versions", &service);
    assert!(refused.status == 400 && refused.body.to_string().contains("runs from a zip"), "{refused:?}");
    let update = json!({ "ZipFile": BASE64.encode(failing_function()) });
    let mut changed = agent.put(format!("{url}{FUNCTIONS}/f/code")).send_json(&update).unwrap();
    assert_eq!(changed.status(), 200, "{:?}", changed.body_mut().read_to_string());
    let (status, version, _) = ask(&agent, &url, &format!("{FUNCTIONS}/f/versions"), &json!({}));
    assert_eq!((status, &version["Version"]), (201, &json!("2")), "{version}");
    house.alias("f", "live", "1");
    house.start_rollout("function: f\nalias: live\nsteps: [20%, 100%]\nbake: 1h\n", &json!({})).ok();
    let invoke = || ask(&agent, &url, &format!("{FUNCTIONS}/f:live/invocations"), &json!({ "a": 1 }));
    let (mut failed, mut right) = (0, 0);
    let mut phase = json!(null);
    for _ in 0..5_000 {
        match invoke() {
            (200, body, by) if by == "1" => {
                assert_eq!(body, json!({ "a": 1 }));
                right += 1;
            }
            (200, body, by) if by == "2 failed" => {
                assert_eq!(body["errorMessage"], "told to fail", "{body}");
                failed += 1;
            }
            other => panic!("{other:?}"),
        }
        if failed > 0 {
            phase = house.status("f:live")["phase"].clone();
            if phase == "RolledBack" {
                break;
            }
        }
    }
    assert_eq!(phase, "RolledBack", "{right} right, {failed} failed");
    let status = house.wait_for("f:live", "RolledBack", Duration::from_secs(10));
    assert_eq!(status["exposure"]["failures"], json!(failed), "every function error is one: {status}");
    assert_eq!(invoke().2, "1", "the canary gets nothing any more");
    println!("rolled back after {failed} function errors beside {right} right answers");
}

#[test]
fn a_function_out_of_reserved_places_is_throttled_and_that_is_no_failure() {
    let house = House::start();
    let (agent, url) = (agent(), house.url());
    create(&agent, &url, "f", &json!({}));
    house.alias("f", "live", "1");
    let reserve = json!({ "ReservedConcurrentExecutions": 0 });
    let path = format!("{url}/2017-10-31/functions/f/concurrency");
    assert_eq!(agent.put(&path).send_json(&reserve).unwrap().status(), 200);
    let mut refused = agent.post(format!("{url}{FUNCTIONS}/f:live/invocations")).send("{}").unwrap();
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["x-amzn-errortype"], "TooManyRequestsException");
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(
        refused.body_mut().read_json::<Value>().unwrap(),
        json!({
            "Reason": "ReservedFunctionConcurrentInvocationLimitExceeded", "Type": "User", "message": "Rate Exceeded.",
        })
    );
    assert_eq!(agent.delete(&path).call().unwrap().status(), 204);
    let (status, _, by) = ask(&agent, &url, &format!("{FUNCTIONS}/f:live/invocations"), &json!({}));
    assert_eq!((status, by.as_str()), (200, "1"));
}

/// What the daemon is told in its environment stays there; and when it is killed, nothing of its functions lives on.
#[test]
fn a_killed_daemon_leaves_no_processes_and_no_function_ever_sees_its_secrets() {
    const SECRET: &str = "canary-5e71-secret";
    let dir = tempfile::tempdir().unwrap();
    let mut serve = command();
    serve.env("SERIN_TOKEN", format!("ana:{SECRET}")).env("ANY_OTHER", SECRET);
    let mut daemon = Daemon::start_as(serve, dir.path(), &[]);
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .middleware(
            |mut request: ureq::http::Request<ureq::SendBody<'_>>,
             next: ureq::middleware::MiddlewareNext<'_>| {
                let bearer = format!("Bearer ana:{SECRET}");
                request.headers_mut().insert("authorization", bearer.parse().unwrap());
                next.handle(request)
            },
        )
        .build()
        .into();
    create(&agent, &daemon.url(), "f", &json!({}));
    let invoke = |payload: &Value| {
        let (status, body, _) = ask(&agent, &daemon.url(), &format!("{FUNCTIONS}/f/invocations"), payload);
        assert_eq!(status, 200, "{body}");
        body
    };
    let found = invoke(&json!({ "do": "self" }));
    assert!(found["environment"].as_object().is_some_and(|environment| environment.len() > 10), "{found}");
    assert!(!found.to_string().contains(SECRET), "{found}");
    let started = invoke(&json!({ "do": "child" }));
    let stream = stream(&started);
    // What has just begun has no environment to show for a moment.
    until("both run", || running(&stream) == 2);
    daemon.signal(Signal::KILL);
    daemon.ended();
    until("the function and what it started are gone", || running(&stream) == 0);
}
