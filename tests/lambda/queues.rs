//! Queues that are drained through aliases: moto's server as SQS, the real binary, kills, failures and canaries.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::house::{Reply, agent, ask};
use crate::support::serin::Daemon;
use crate::support::sqs::{Queue, Sqs};
use crate::support::{in_time, until};

/// What the versions saw: for each invocation its version and its messages' ids.
type Seen = Arc<Mutex<Vec<(&'static str, Vec<String>)>>>;

/// A version that does as the bodies of its messages say.
///
/// `fail once…` is reported as an item failure when it is first seen, `crash once…` fails the whole invocation then.
struct Version {
    url: String,
    _runtime: tokio::runtime::Runtime,
}

#[derive(Clone)]
struct Role {
    name: &'static str,
    seen: Seen,
}

async fn work(State(role): State<Role>, Json(event): Json<Value>) -> (StatusCode, Json<Value>) {
    let records = event["Records"].as_array().unwrap();
    let mut seen = role.seen.lock().unwrap();
    let mut failures = Vec::new();
    let mut crashes = false;
    for record in records {
        assert_eq!(record["eventSource"], "aws:sqs");
        let (id, body) = (record["messageId"].as_str().unwrap(), record["body"].as_str().unwrap());
        let is_first = !seen.iter().any(|(_, ids)| ids.iter().any(|known| known == id));
        if is_first && body.starts_with("fail once") {
            failures.push(json!({ "itemIdentifier": id }));
        }
        crashes |= is_first && body.starts_with("crash once");
    }
    let ids = records.iter().map(|record| record["messageId"].as_str().unwrap().to_owned()).collect();
    seen.push((role.name, ids));
    if crashes {
        let error = json!({ "errorMessage": "crashed", "errorType": "Crash" });
        return (StatusCode::INTERNAL_SERVER_ERROR, Json(error));
    }
    (StatusCode::OK, Json(json!({ "batchItemFailures": failures })))
}

impl Version {
    fn start(name: &'static str, seen: &Seen) -> Version {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new().route("/", post(work)).with_state(Role { name, seen: Arc::clone(seen) });
        runtime.spawn(async move { axum::serve(listener, routes).await });
        Version { url, _runtime: runtime }
    }
}

/// Invocations by version.
fn invocations(seen: &Seen) -> BTreeMap<&'static str, usize> {
    let mut by_version = BTreeMap::new();
    for (name, _) in seen.lock().unwrap().iter() {
        *by_version.entry(*name).or_default() += 1;
    }
    by_version
}

/// How often a message was delivered.
fn deliveries(seen: &Seen, id: &str) -> usize {
    seen.lock().unwrap().iter().filter(|(_, ids)| ids.iter().any(|known| known == id)).count()
}

struct Api {
    url: String,
    agent: ureq::Agent,
    token: Option<&'static str>,
}

impl Api {
    fn of(daemon: &Daemon) -> Api {
        Api { url: daemon.url(), agent: agent(), token: None }
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Reply {
        let bearer = self.token.map(|token| format!("Bearer {token}"));
        let headers: Vec<(&str, &str)> =
            bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
        ask(&self.agent, &self.url, method, path, body, &headers)
    }

    fn get(&self, path: &str) -> Value {
        self.ask("GET", path, None).ok()
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        self.ask("POST", path, Some(body)).ok()
    }

    /// Function `f` with a version for each of them and the alias `live` on the first.
    fn furnish(&self, versions: &[&Version]) {
        for version in versions {
            self.post("/v1/functions/f/versions", &json!({ "url": version.url, "new": true }));
        }
        self.post("/v1/functions/f/aliases/live", &json!({ "functionVersion": "1" }));
    }

    /// A mapping of a queue to `f:live`; its UUID.
    fn map(&self, queue: &Queue<'_>, more: &Value) -> String {
        let mut body = json!({ "FunctionName": "f:live", "EventSourceArn": queue.arn });
        for (key, value) in more.as_object().unwrap() {
            body[key] = value.clone();
        }
        let made = self.post("/2015-03-31/event-source-mappings", &body);
        assert_eq!((made["State"].as_str(), &made["EventSourceArn"]), (Some("Creating"), &json!(queue.arn)));
        made["UUID"].as_str().unwrap().to_owned()
    }

    fn mapping(&self, id: &str) -> Value {
        self.get(&format!("/2015-03-31/event-source-mappings/{id}"))
    }

    /// Requests that serin counted, by executed version.
    fn counted(&self) -> BTreeMap<String, usize> {
        let text = self.get("/metrics");
        let mut counted = BTreeMap::new();
        for line in text.as_str().unwrap().lines().filter(|line| line.starts_with("serin_requests_total{")) {
            let (labels, value) = line.rsplit_once(' ').unwrap();
            let version = labels.split("executed_version=\"").nth(1).unwrap().split('"').next().unwrap();
            counted.insert(format!("v{version}"), value.parse().unwrap());
        }
        counted
    }
}

fn start(dir: &Path, sqs: &Sqs) -> Daemon {
    Daemon::start(dir, &["--sqs-endpoint", &sqs.url])
}

#[test]
#[ignore = "needs moto from PyPI; scripts/test installs it and runs this"]
fn five_thousand_messages_go_through_a_canary_and_a_kill() {
    const MESSAGES: usize = 5000;
    let (sqs, dir, seen) = (Sqs::start(), tempfile::tempdir().unwrap(), Seen::default());
    let (one, two) = (Version::start("v1", &seen), Version::start("v2", &seen));
    let queue = sqs.queue("orders", 5);
    let mut daemon = start(dir.path(), &sqs);
    let api = Api::of(&daemon);
    api.furnish(&[&one, &two]);
    let plan = "function: f\nalias: live\nversion: \"2\"\nsteps: [10%, 100%]\nanalysis: none\nbake: 10h\n";
    api.post("/v1/rollouts", &json!({ "plan": "queue", "planText": plan }));
    until("the canary has its 10 %", || api.get("/v1/rollouts/f:live")["weight"]["committed"] == 0.1);

    let mapping = api.map(&queue, &json!({ "BatchSize": 2, "ScalingConfig": { "MaximumConcurrency": 10 } }));
    let (sent, before, api, daemon) = std::thread::scope(|scope| {
        let sending = scope.spawn(|| queue.send_slowly(MESSAGES));
        in_time("a third is delivered", || seen.lock().unwrap().len() * 2 >= MESSAGES / 3);
        let counted: usize = api.counted().values().sum();
        daemon.signal(Signal::KILL);
        daemon.ended();
        let left = queue.left();
        let before = invocations(&seen);
        println!("killed after {before:?} invocations with {left} messages in the queue");
        assert!(before.values().sum::<usize>() >= counted, "what was counted was delivered");
        assert!(left > 0 && !sending.is_finished(), "the kill came too late");
        let daemon = start(dir.path(), &sqs);
        let api = Api::of(&daemon);
        (sending.join().unwrap(), before, api, daemon)
    });
    assert_eq!(sent.len(), MESSAGES);
    assert_eq!(api.get("/v1/rollouts/f:live")["weight"]["committed"], 0.1);
    in_time("the queue is empty", || queue.left() == 0);
    until("nothing is wrong", || api.mapping(&mapping)["LastProcessingResult"].is_null());

    let lost = sent.iter().filter(|id| deliveries(&seen, id) == 0).count();
    let delivered: usize = seen.lock().unwrap().iter().map(|(_, ids)| ids.len()).sum();
    let by_version = invocations(&seen);
    let all: usize = by_version.values().sum();
    let (expected, found) = (0.1 * all as f64, by_version["v2"] as f64);
    let sigma = (all as f64 * 0.1 * 0.9).sqrt();
    println!(
        "{MESSAGES} messages: {lost} lost, {} delivered again; {all} invocations {by_version:?}, the canary's {:.2} % \
         are {:+.2} sigma from 10 %",
        delivered - (MESSAGES - lost),
        100.0 * found / all as f64,
        (found - expected) / sigma
    );
    assert_eq!(lost, 0);
    assert!((found - expected).abs() <= 4.0 * sigma, "{found} of {all}");
    let since: BTreeMap<String, usize> =
        by_version.iter().map(|(name, count)| ((*name).to_owned(), count - before[name])).collect();
    assert_eq!(api.counted(), since, "every invocation is counted for the version that ran it");
    daemon.stop();
}

#[test]
#[ignore = "needs moto from PyPI; scripts/test installs it and runs this"]
fn a_mapping_keeps_what_failed_and_follows_its_alias() {
    let (sqs, dir, seen) = (Sqs::start(), tempfile::tempdir().unwrap(), Seen::default());
    let (one, two) = (Version::start("v1", &seen), Version::start("v2", &seen));
    let queue = sqs.queue("orders", 3);
    let daemon = start(dir.path(), &sqs);
    let api = Api::of(&daemon);
    api.furnish(&[&one, &two]);

    // Reported items come again, the others do not.
    let mapping = api.map(&queue, &json!({ "FunctionResponseTypes": ["ReportBatchItemFailures"] }));
    let bodies: Vec<String> = (0..40)
        .map(|number| if number % 4 == 0 { format!("fail once {number}") } else { format!("fine {number}") })
        .collect();
    let sent = queue.send(&bodies);
    in_time("all of them are done", || queue.left() == 0);
    for (id, body) in &sent {
        let expected = if body.starts_with("fail once") { 2 } else { 1 };
        assert_eq!(deliveries(&seen, id), expected, "{body}");
    }
    until("nothing is wrong", || api.mapping(&mapping)["LastProcessingResult"].is_null());
    for (outcome, count) in [("processed", 40), ("failed", 10)] {
        let line = format!(
            "serin_event_source_messages_total{{mapping=\"{mapping}\",function=\"f\",outcome=\"{outcome}\"}} {count}\n"
        );
        until(&line, || api.get("/metrics").as_str().unwrap().contains(&line));
    }

    // A function error keeps its whole batch, and the mapping says so.
    let sent = queue.send(&["crash once".to_owned()]);
    let id = sent.keys().next().unwrap();
    until("the mapping tells of the function error", || {
        api.mapping(&mapping)["LastProcessingResult"] == "PROBLEM: Function call failed: crashed"
    });
    in_time("it comes again", || queue.left() == 0);
    assert_eq!(deliveries(&seen, id), 2);

    // The alias moves; the mapping stays as it is and follows.
    assert_eq!(invocations(&seen).keys().collect::<Vec<_>>(), [&"v1"]);
    api.ask("PUT", "/2015-03-31/functions/f/aliases/live", Some(&json!({ "FunctionVersion": "2" }))).ok();
    let known = invocations(&seen)["v1"];
    queue.send(&bodies[1..4]);
    in_time("they are done", || queue.left() == 0);
    assert_eq!(invocations(&seen)["v1"], known);
    assert!(invocations(&seen)["v2"] > 0);

    // What no filter wants is deleted unseen.
    let pattern = json!({ "body": { "kind": ["order"] } }).to_string();
    let change = json!({ "FilterCriteria": { "Filters": [{ "Pattern": pattern }] } });
    api.ask("PUT", &format!("/2015-03-31/event-source-mappings/{mapping}"), Some(&change)).ok();
    let filtered = queue.send(&[json!({ "kind": "refund" }).to_string(), "order".to_owned()]);
    let wanted = queue.send(&[json!({ "kind": "order" }).to_string()]);
    in_time("both are gone", || queue.left() == 0);
    let first = wanted.keys().next().unwrap();
    assert_eq!(deliveries(&seen, first), 1);
    // The poller of before may have taken some in the second before the change reaches it.
    println!("filtered out: {} of 2", filtered.keys().filter(|id| deliveries(&seen, id) == 0).count());
    in_time("a message that no filter wants goes unseen", || {
        let sent = queue.send(&["unwanted".to_owned()]);
        in_time("it is gone", || queue.left() == 0);
        deliveries(&seen, sent.keys().next().unwrap()) == 0
    });

    // Disabled, it leaves messages alone; enabled again, it takes them.
    api.ask(
        "PUT",
        &format!("/2015-03-31/event-source-mappings/{mapping}"),
        Some(&json!({ "Enabled": false })),
    )
    .ok();
    in_time("it stops", || {
        queue.send(&["unwanted".to_owned()]);
        queue.left() > 30
    });
    api.ask(
        "PUT",
        &format!("/2015-03-31/event-source-mappings/{mapping}"),
        Some(&json!({ "Enabled": true })),
    )
    .ok();
    in_time("it goes on", || queue.left() == 0);

    // Gone is the alias: nothing is taken, and the mapping says why.
    api.ask("DELETE", "/2015-03-31/functions/f/aliases/live", None);
    queue.send(&[json!({ "kind": "order" }).to_string()]);
    in_time("the mapping tells of the missing alias", || {
        // Nothing is told of a mapping that has just begun again and found nothing yet.
        let result = api.mapping(&mapping)["LastProcessingResult"].as_str().unwrap_or_default().to_owned();
        result.starts_with("PROBLEM: Function does not exist: f:live")
            || result.contains("Function not found")
    });
    assert_eq!(queue.left(), 1);
    daemon.stop();
}

#[test]
#[ignore = "needs moto from PyPI; scripts/test installs it and runs this"]
fn what_serin_invokes_itself_needs_no_ones_leave() {
    use std::os::unix::fs::PermissionsExt;
    let (sqs, dir, seen) = (Sqs::start(), tempfile::tempdir().unwrap(), Seen::default());
    let one = Version::start("v1", &seen);
    let queue = sqs.queue("orders", 5);
    let principals = dir.path().join("principals.yaml");
    let text = "principals:\n  - principal: arn:aws:iam::000000000000:user/owner\n    owner: true\n    token: {inline: the-token-of-owner}\n";
    std::fs::write(&principals, text).unwrap();
    std::fs::set_permissions(&principals, PermissionsExt::from_mode(0o600)).unwrap();
    let flags = ["--sqs-endpoint", &sqs.url, "--principals", principals.to_str().unwrap()];
    let daemon = Daemon::start(dir.path(), &flags);
    let api = Api { token: Some("the-token-of-owner"), ..Api::of(&daemon) };
    api.furnish(&[&one]);
    api.map(&queue, &json!({}));
    queue.send(&["order".to_owned()]);
    in_time("it is done", || queue.left() == 0);
    assert_eq!(invocations(&seen)["v1"], 1);
    let nobody = Api::of(&daemon);
    let path = "/2015-03-31/functions/f:live/invocations";
    assert_eq!(nobody.ask("POST", path, Some(&json!({ "Records": [] }))).status, 403);
    let router = format!("http://{}", daemon.router);
    assert_eq!(ask(&agent(), &router, "POST", path, Some(&json!({ "Records": [] })), &[]).status, 403);
    daemon.stop();
}

fn refused(body: &Value, text: &str) {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path(), &[]);
    let api = Api::of(&daemon);
    api.post("/v1/functions/f/versions", &json!({ "url": "http://127.0.0.1:9", "new": true }));
    let reply = api.ask("POST", "/2015-03-31/event-source-mappings", Some(body));
    assert_eq!((reply.status, reply.error().contains(text)), (400, true), "{}", reply.body);
}

#[test]
fn other_sources_and_unknown_filters_are_refused_by_name() {
    for arn in [
        "arn:aws:kinesis:us-east-1:000000000000:stream/clicks",
        "arn:aws:dynamodb:us-east-1:000000000000:table/t/stream/2026-01-01T00:00:00.000",
        "arn:aws:kafka:us-east-1:000000000000:cluster/c/1",
    ] {
        let text =
            format!("Unrecognized event source. {arn} is not supported: serin polls SQS queues alone.");
        refused(&json!({ "FunctionName": "f", "EventSourceArn": arn }), &text);
    }
    let filtered = |pattern: &str| {
        json!({
            "FunctionName": "f", "EventSourceArn": "arn:aws:sqs:us-east-1:000000000000:q",
            "FilterCriteria": { "Filters": [{ "Pattern": pattern }] },
        })
    };
    refused(&filtered(r#"{"body": "x"}"#), "Invalid filter pattern definition.");
    refused(&filtered(r#"{"body": [{"wildcard": "x*"}]}"#), "The filter operator wildcard is not supported");
}

#[test]
fn a_mapping_without_keys_or_service_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let address: SocketAddr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (endpoint, problem) in [
        (
            "https://sqs.invalid".to_owned(),
            "PROBLEM: the daemon has no keys for SQS; start it with AWS_ACCESS_KEY_ID",
        ),
        (format!("http://{address}"), "PROBLEM: SQS did not answer GetQueueUrl: connection refused"),
    ] {
        let daemon = Daemon::start(dir.path(), &["--sqs-endpoint", &endpoint]);
        let api = Api::of(&daemon);
        let mappings =
            |api: &Api| api.get("/2015-03-31/event-source-mappings")["EventSourceMappings"].clone();
        if mappings(&api) == json!([]) {
            api.post("/v1/functions/f/versions", &json!({ "url": "http://127.0.0.1:9", "new": true }));
            let body =
                json!({ "FunctionName": "f:1", "EventSourceArn": "arn:aws:sqs:us-east-1:000000000000:q" });
            let made = api.post("/2015-03-31/event-source-mappings", &body);
            assert_eq!(made.get("LastProcessingResult"), None);
        }
        until("the mapping says what is wrong", || {
            mappings(&api)[0]["LastProcessingResult"].as_str().unwrap_or_default().starts_with(problem)
        });
        daemon.stop();
    }
}
