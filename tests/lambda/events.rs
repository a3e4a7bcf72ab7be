//! Asynchronous invocations: kept before they are accepted, tried again, reported, and lost to no kill.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::client::{Answer, Client};
use crate::support::functions::{rust_function, zip_of};
use crate::support::house::{House, agent, ask};
use crate::support::serin::Daemon;
use crate::support::sqs::Sqs;
use crate::support::{in_time, until};
use crate::upgrade::relay::Relay;

const EVENT: &str = "X-Amz-Invocation-Type: Event";

/// One invocation that a version saw.
#[derive(Clone, Debug)]
struct Call {
    id: String,
    version: &'static str,
    trace: Option<String>,
    body: Value,
}

type Calls = Arc<Mutex<Vec<Call>>>;

/// A version that notes its invocations, and fails those whose event says how often: `{"fail": 2}`.
struct Version {
    url: String,
    /// Whether it takes its time to answer.
    is_slow: Arc<AtomicBool>,
    _runtime: tokio::runtime::Runtime,
}

#[derive(Clone)]
struct Role {
    name: &'static str,
    calls: Calls,
    is_slow: Arc<AtomicBool>,
}

async fn slow_work(State(role): State<Role>, headers: HeaderMap, body: String) -> (StatusCode, String) {
    let answer = work(&role, &headers, &body);
    let asked: Value = serde_json::from_str(&body).unwrap();
    let usual_ms = if role.is_slow.load(Ordering::Relaxed) { 100 } else { 0 };
    tokio::time::sleep(Duration::from_millis(asked["ms"].as_u64().unwrap_or(usual_ms))).await;
    answer
}

fn work(role: &Role, headers: &HeaderMap, body: &str) -> (StatusCode, String) {
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let body: Value = serde_json::from_str(body).unwrap();
    let id = header("x-amzn-requestid").unwrap();
    let mut calls = role.calls.lock().unwrap();
    let before = calls.iter().filter(|call| call.body["fail"].is_u64() && call.id == id).count() as u64;
    let fails = body["fail"].as_u64().is_some_and(|times| before < times);
    calls.push(Call { id, version: role.name, trace: header("traceparent"), body });
    if fails {
        (
            StatusCode::INTERNAL_SERVER_ERROR,
            r#"{"errorMessage":"told to fail","errorType":"Told"}"#.to_owned(),
        )
    } else {
        (StatusCode::OK, r#"{"done":true}"#.to_owned())
    }
}

impl Version {
    fn start(name: &'static str, calls: &Calls) -> Version {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let is_slow = Arc::new(AtomicBool::new(false));
        let role = Role { name, calls: Arc::clone(calls), is_slow: Arc::clone(&is_slow) };
        let routes = Router::new().route("/", post(slow_work)).with_state(role);
        runtime.spawn(async move { axum::serve(listener, routes).await });
        Version { url, is_slow, _runtime: runtime }
    }
}

fn calls_of(calls: &Calls, id: &str) -> Vec<Call> {
    calls.lock().unwrap().iter().filter(|call| call.id == id).cloned().collect()
}

fn arn(function: &str) -> String {
    format!("arn:aws:lambda:us-east-1:000000000000:function:{function}")
}

/// Sends an event, and gives its request's identifier.
#[track_caller]
fn send(router: SocketAddr, function: &str, payload: &str) -> String {
    accepted(&Client::connect(router).post(&invocations(function), &[EVENT], payload))
}

fn invocations(function: &str) -> String {
    format!("/2015-03-31/functions/{function}/invocations")
}

#[track_caller]
fn accepted(answer: &Answer) -> String {
    assert_eq!((answer.status, answer.text(), answer.version()), (202, "", None), "{answer:?}");
    answer.header("x-amzn-requestid").unwrap().to_owned()
}

/// A house that tries events again after so long, with function `f` and its alias `live`, and function `told`.
struct Place {
    house: House,
    /// What `f` saw.
    calls: Calls,
    /// What `told` saw.
    told: Calls,
    versions: [Version; 2],
}

impl Place {
    fn with_delay(delay: Duration) -> Place {
        let house = House::start_with(|config| config.event_retry_delay = delay);
        let (calls, told) = (Calls::default(), Calls::default());
        let versions = [Version::start("1", &calls), Version::start("told", &told)];
        let number = house.publish("f", &versions[0].url);
        house.alias("f", "live", &number);
        house.publish("told", &versions[1].url);
        Place { house, calls, told, versions }
    }

    /// Configures how events to a function and qualifier are handled.
    fn configure(&self, function: &str, qualifier: &str, config: &Value) {
        let path = format!("/2019-09-25/functions/{function}/event-invoke-config?Qualifier={qualifier}");
        self.house.ask("PUT", &path, Some(config), &[]).ok();
    }

    fn send(&self, function: &str, payload: &str) -> String {
        send(self.house.router(), function, payload)
    }

    /// The value of a series in the metrics, 0 where there is none.
    fn metric(&self, series: &str) -> f64 {
        metric(self.house.get("/metrics").ok().as_str().unwrap(), series)
    }

    fn records(&self) -> Vec<Value> {
        self.told.lock().unwrap().iter().map(|call| call.body.clone()).collect()
    }
}

fn metric(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

#[test]
fn an_event_is_accepted_carried_out_and_told_of() {
    let place = Place::with_delay(Duration::from_millis(20));
    place.configure(
        "f",
        "live",
        &json!({ "DestinationConfig": { "OnSuccess": { "Destination": arn("told:1") } } }),
    );
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = [EVENT, &format!("traceparent: {trace}"), "X-Amz-Log-Type: Tail"];
    let answer = Client::connect(place.house.router()).post(&invocations("f:live"), &headers, "{\"fail\":2}");
    let id = accepted(&answer);
    assert_eq!(answer.header("x-amz-log-result"), None);
    until("it is told of", || !place.records().is_empty());
    let attempts = calls_of(&place.calls, &id);
    assert_eq!(attempts.len(), 3, "two retries");
    assert!(attempts.iter().all(|call| call.trace.as_deref() == Some(trace)));
    let record = &place.records()[0];
    assert_eq!(
        record["requestContext"],
        json!({
            "requestId": id, "functionArn": arn("f:live"), "condition": "Success", "approximateInvokeCount": 3,
        })
    );
    assert_eq!(record["requestPayload"], json!({ "fail": 2 }));
    assert_eq!(record["responseContext"], json!({ "statusCode": 200, "executedVersion": "1" }));
    assert_eq!(record["responsePayload"], json!({ "done": true }));
    for (series, value) in [
        ("serin_async_events_waiting{function=\"f\"}", 0.0),
        ("serin_async_events_oldest_seconds{function=\"f\"}", 0.0),
        ("serin_async_reports_waiting{function=\"f\"}", 0.0),
        ("serin_async_events_total{function=\"f\",outcome=\"retried\"}", 2.0),
        ("serin_async_events_total{function=\"f\",outcome=\"delivered\"}", 1.0),
        ("serin_async_events_total{function=\"told\",outcome=\"delivered\"}", 1.0),
        ("serin_async_reports_total{function=\"f\",destination=\"on_success\",outcome=\"sent\"}", 1.0),
    ] {
        until(series, || place.metric(series) == value);
    }
    // Counted as every invocation is.
    assert_eq!(
        place.metric("serin_requests_total{function=\"f\",alias=\"live\",executed_version=\"1\"}"),
        3.0
    );
}

#[test]
fn an_event_that_always_fails_is_given_up_by_its_own_terms() {
    let place = Place::with_delay(Duration::from_millis(20));
    let on_failure = |retries: u32| {
        json!({
            "MaximumRetryAttempts": retries, "DestinationConfig": { "OnFailure": { "Destination": arn("told") } },
        })
    };
    place.configure("f", "live", &on_failure(0));
    place.configure("f", "1", &on_failure(1));
    place.configure("f", "$LATEST", &on_failure(2));
    for (function, shown, attempts) in [("f:live", "f:live", 1), ("f:1", "f:1", 2), ("f", "f:$LATEST", 3)] {
        let id = place.send(function, "{\"fail\":99}");
        let record =
            || place.records().into_iter().find(|record| record["requestContext"]["requestId"] == *id);
        until("it is told of", || record().is_some());
        let context = &record().unwrap()["requestContext"];
        assert_eq!(
            (context["condition"].as_str(), context["approximateInvokeCount"].as_u64()),
            (Some("RetriesExhausted"), Some(attempts))
        );
        assert_eq!(context["functionArn"], arn(shown));
        assert_eq!(calls_of(&place.calls, &id).len() as u64, attempts);
        let response = &record().unwrap()["responsePayload"];
        assert_eq!(response["errorMessage"], "told to fail");
    }
}

#[test]
fn what_cannot_be_kept_is_not_accepted() {
    let place = Place::with_delay(Duration::from_millis(20));
    let mut client = Client::connect(place.house.router());
    let mut post = |payload: &str| client.post(&invocations("f:live"), &[EVENT], payload);
    let fits = format!("\"{}\"", "x".repeat((1 << 20) - 2));
    let id = accepted(&post(&fits));
    until("the longest event is delivered", || !calls_of(&place.calls, &id).is_empty());
    let long = post(&format!(" {fits}"));
    assert_eq!((long.status, long.header("x-amzn-errortype")), (413, Some("RequestTooLargeException")));
    let text = "Request must be smaller than 1048576 bytes for the InvokeFunction operation";
    assert_eq!(long.json(), json!({ "Type": "User", "message": text }));
    let bad = post("{");
    assert_eq!((bad.status, bad.header("x-amzn-errortype")), (400, Some("InvalidRequestContentException")));
    let absent = client.post(&invocations("absent"), &[EVENT], "{}");
    assert_eq!((absent.status, absent.header("x-amzn-errortype")), (404, Some("ResourceNotFoundException")));
    // An event without a payload is what a function is handed on Lambda.
    let id = accepted(&client.post(&invocations("f"), &[EVENT], ""));
    until("it is delivered", || !calls_of(&place.calls, &id).is_empty());
    assert_eq!(calls_of(&place.calls, &id)[0].body, json!({}));
}

#[test]
fn events_wait_through_a_restart_and_go_with_what_they_were_for() {
    // Longer than a restart takes.
    let mut place = Place::with_delay(Duration::from_secs(2));
    let id = place.send("f:live", "{\"fail\":1}");
    let failed = "serin_async_events_total{function=\"f\",outcome=\"retried\"}";
    until("it has failed once", || place.metric(failed) == 1.0);
    place.house.shut_down();
    place.house.boot();
    until("it is found again", || place.metric("serin_async_events_waiting{function=\"f\"}") == 1.0);
    assert_eq!(calls_of(&place.calls, &id).len(), 1, "its delay outlives the restart");
    until("it is tried again", || calls_of(&place.calls, &id).len() == 2);
    until("it is done", || place.metric("serin_async_events_waiting{function=\"f\"}") == 0.0);

    let id = place.send("f:live", "{\"fail\":1}");
    until("it has failed once", || place.metric(failed) == 1.0);
    place.house.ask("DELETE", "/2015-03-31/functions/f/aliases/live", None, &[]);
    let discarded = "serin_async_events_total{function=\"f\",outcome=\"discarded\"}";
    until("it is discarded", || place.metric(discarded) == 1.0);
    assert_eq!(calls_of(&place.calls, &id).len(), 1);
}

#[test]
fn a_destination_that_is_away_is_told_later() {
    let mut place = Place::with_delay(Duration::from_millis(20));
    let config = json!({
        "MaximumRetryAttempts": 0, "DestinationConfig": { "OnFailure": { "Destination": arn("told") } },
    });
    place.configure("f", "live", &config);
    place.house.ask("DELETE", "/2015-03-31/functions/told", None, &[]);
    let id = place.send("f:live", "{\"fail\":9}");
    let owed = "serin_async_reports_waiting{function=\"f\"}";
    until("its report waits", || place.metric(owed) == 1.0);
    place.house.shut_down();
    place.house.boot();
    until("its report still waits", || place.metric(owed) == 1.0);
    assert_eq!(calls_of(&place.calls, &id).len(), 1, "the event itself has ended");
    let url = place.versions[1].url.clone();
    place.house.publish("told", &url);
    until("it is told of", || !place.records().is_empty());
    assert_eq!(place.records()[0]["requestContext"]["requestId"], *id);
    until("nothing waits any more", || place.metric(owed) == 0.0);
}

#[test]
fn functions_from_zips_take_events_and_none_that_may_not_run() {
    let place = Place::with_delay(Duration::from_millis(20));
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
    let destination = json!({ "Destination": arn("told") });
    let both = json!({ "DestinationConfig": { "OnSuccess": destination, "OnFailure": destination } });
    let (real, idle) = (rust_function().to_vec(), zip_of(&[("bootstrap", b"#!/bin/sh\n", 0o755)]));
    for (name, zip) in [("runs", &real), ("narrow", &real), ("stopped", &idle)] {
        let body = json!({
            "FunctionName": name, "Runtime": "provided.al2023", "Handler": "bootstrap", "Timeout": 20,
            "Role": "arn:aws:iam::000000000000:role/r", "Architectures": [architecture],
            "Code": { "ZipFile": BASE64.encode(zip) },
        });
        place.house.post("/2015-03-31/functions", &body).ok();
        place.configure(name, "$LATEST", &both);
    }
    let nothing = json!({ "ReservedConcurrentExecutions": 0 });
    place.house.ask("PUT", "/2017-10-31/functions/stopped/concurrency", Some(&nothing), &[]).ok();
    for (name, condition, invocations, payload) in
        [("runs", "Success", 1, Some(json!({ "n": 1 }))), ("stopped", "ZeroReservedConcurrency", 0, None)]
    {
        let id = place.send(name, "{\"n\":1}");
        let record =
            || place.records().into_iter().find(|record| record["requestContext"]["requestId"] == *id);
        in_time("it is told of", || record().is_some());
        let record = record().unwrap();
        let context = &record["requestContext"];
        assert_eq!(
            (context["condition"].as_str(), context["approximateInvokeCount"].as_u64()),
            (Some(condition), Some(invocations))
        );
        assert_eq!(record.get("responsePayload"), payload.as_ref(), "{record}");
    }

    // One place for thirty events: most find none at first, and all of them run.
    let one = json!({ "ReservedConcurrentExecutions": 1 });
    place.house.ask("PUT", "/2017-10-31/functions/narrow/concurrency", Some(&one), &[]).ok();
    let ids: BTreeSet<String> =
        (0..30).map(|_| place.send("narrow", "{\"do\":\"sleep\",\"number\":20}")).collect();
    let outcome = |outcome: &str| {
        place.metric(&format!("serin_async_events_total{{function=\"narrow\",outcome=\"{outcome}\"}}"))
    };
    in_time("all of them have run", || outcome("delivered") == 30.0);
    assert!(outcome("put_off") > 0.0, "there was room for all");
    assert_eq!((outcome("retried"), outcome("given_up")), (0.0, 0.0), "no room is no failure");
    in_time("all of them are told of", || {
        let told = place.records();
        let told = told.iter().filter_map(|record| record["requestContext"]["requestId"].as_str());
        ids.is_subset(&told.map(str::to_owned).collect())
    });
}

/// What a client was told: which event has which identifier.
#[derive(Default)]
struct Sent {
    accepted: AtomicUsize,
    ids: Mutex<BTreeMap<String, u64>>,
    /// Where the daemon's router listens at the moment.
    address: Mutex<Option<SocketAddr>>,
}

/// Sends events until each was accepted, over connections that last as long as the daemon does.
fn send_all(sent: &Sent, numbers: impl Iterator<Item = u64>) {
    let agent = agent();
    let try_one = |payload: &str| -> Option<String> {
        let address = (*sent.address.lock().unwrap())?;
        let url = format!("http://{address}{}", invocations("f:live"));
        let mut answer = agent.post(url).header("x-amz-invocation-type", "Event").send(payload).ok()?;
        let said = answer.body_mut().read_to_string().ok()?;
        // A daemon that is killed answers nothing; any answer but this one is a fault.
        assert_eq!((answer.status().as_u16(), &*said), (202, ""));
        Some(answer.headers()["x-amzn-requestid"].to_str().unwrap().to_owned())
    };
    for number in numbers {
        let payload =
            if is_hopeless(number) { json!({ "n": number, "fail": 99 }) } else { json!({ "n": number }) };
        let mut id = None;
        in_time("an event is accepted", || {
            id = try_one(&payload.to_string());
            id.is_some()
        });
        sent.ids.lock().unwrap().insert(id.unwrap(), number);
        sent.accepted.fetch_add(1, Ordering::Relaxed);
    }
}

/// One event of a hundred always fails.
fn is_hopeless(number: u64) -> bool {
    number % 100 == 7
}

#[test]
fn events_go_through_upgrades() {
    const EVENTS: u64 = 3000;
    const CLIENTS: u64 = 4;
    let (dir, calls) = (tempfile::tempdir().unwrap(), Calls::default());
    let relay = Relay::start(dir.path(), &[("SERIN_EVENT_RETRY_DELAY", "200ms")]);
    let version = Version::start("1", &calls);
    version.is_slow.store(true, Ordering::Relaxed);
    relay.post("/v1/functions/f/versions", &json!({ "url": version.url, "new": true }));
    relay.post("/v1/functions/f/aliases/live", &json!({ "functionVersion": "1" }));
    let sent = Sent::default();
    *sent.address.lock().unwrap() = Some(relay.router);
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (sent, numbers) = (&sent, (client..EVENTS).step_by(CLIENTS as usize));
            scope.spawn(move || send_all(sent, numbers.filter(|number| !is_hopeless(*number))));
        }
        for upgrade in 1..=2 {
            in_time("some are accepted", || {
                sent.accepted.load(Ordering::Relaxed) as u64 >= upgrade * EVENTS / 4
            });
            // Longer than the process before waits for quiet.
            let long = send(relay.router, "f:live", "{\"ms\":3000}");
            in_time("it is under way", || !calls_of(&calls, &long).is_empty());
            relay.upgrade();
        }
        version.is_slow.store(false, Ordering::Relaxed);
    });
    let ids = sent.ids.into_inner().unwrap();
    in_time("all of them are delivered", || {
        let known: BTreeSet<String> = calls.lock().unwrap().iter().map(|call| call.id.clone()).collect();
        ids.keys().all(|id| known.contains(id))
    });
    let mut deliveries: BTreeMap<String, usize> = BTreeMap::new();
    calls.lock().unwrap().iter().for_each(|call| *deliveries.entry(call.id.clone()).or_default() += 1);
    let again = deliveries.values().filter(|times| **times > 1).count();
    println!("{} events through two upgrades: none lost, {again} delivered again", ids.len());
    assert_eq!(again, 0, "no two processes carry out one event");
}

#[test]
#[ignore = "needs moto from PyPI; scripts/test installs it and runs this"]
fn ten_thousand_events_survive_a_kill() {
    const EVENTS: u64 = 10_000;
    const CLIENTS: u64 = 8;
    let (sqs, dir) = (Sqs::start(), tempfile::tempdir().unwrap());
    let dead = sqs.queue("dead-letters", 600);
    let (calls, told) = (Calls::default(), Calls::default());
    let versions = [Version::start("1", &calls), Version::start("2", &calls), Version::start("told", &told)];
    let flags = ["--sqs-endpoint", &sqs.url, "--event-retry-delay", "200ms"];
    let mut daemon = Daemon::start(dir.path(), &flags);
    let api = agent();
    let ask_of = |daemon: &Daemon, method, path: &str, body: &Value| {
        ask(&api, &daemon.url(), method, path, Some(body), &[]).ok()
    };
    for version in &versions[..2] {
        let body = json!({ "url": version.url, "new": true, "deadLetter": dead.arn });
        ask_of(&daemon, "POST", "/v1/functions/f/versions", &body);
    }
    ask_of(&daemon, "POST", "/v1/functions/told/versions", &json!({ "url": versions[2].url, "new": true }));
    let weights = json!({
        "Name": "live", "FunctionVersion": "1", "RoutingConfig": { "AdditionalVersionWeights": { "2": 0.25 } },
    });
    ask_of(&daemon, "POST", "/2015-03-31/functions/f/aliases", &weights);
    let config = json!({ "DestinationConfig": { "OnFailure": { "Destination": arn("told") } } });
    ask_of(&daemon, "PUT", "/2019-09-25/functions/f/event-invoke-config?Qualifier=live", &config);

    // So that many wait when the kill comes.
    versions.iter().for_each(|version| version.is_slow.store(true, Ordering::Relaxed));
    let sent = Sent::default();
    *sent.address.lock().unwrap() = Some(daemon.router);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (sent, numbers) = (&sent, (client..EVENTS).step_by(CLIENTS as usize));
                scope.spawn(move || send_all(sent, numbers))
            })
            .collect();
        in_time("half of them are accepted", || {
            sent.accepted.load(Ordering::Relaxed) as u64 >= EVENTS / 2
                || clients.iter().any(|client| client.is_finished())
        });
        *sent.address.lock().unwrap() = None;
        daemon.signal(Signal::KILL);
        daemon.ended();
        let accepted: BTreeSet<String> = sent.ids.lock().unwrap().keys().cloned().collect();
        let known: BTreeSet<String> = calls.lock().unwrap().iter().map(|call| call.id.clone()).collect();
        let undelivered = accepted.difference(&known).count();
        println!("killed after {} accepted events, {undelivered} of them not delivered yet", accepted.len());
        assert!(clients.iter().any(|client| !client.is_finished()), "the kill came too late");
        assert!(undelivered > 0, "there was nothing to lose");
        versions.iter().for_each(|version| version.is_slow.store(false, Ordering::Relaxed));
        daemon = Daemon::start(dir.path(), &flags);
        *sent.address.lock().unwrap() = Some(daemon.router);
    });
    let ids = sent.ids.into_inner().unwrap();
    assert_eq!(ids.values().collect::<BTreeSet<_>>().len() as u64, EVENTS);

    let metrics = || ask(&api, &daemon.url(), "GET", "/metrics", None, &[]).ok().as_str().unwrap().to_owned();
    let waits = |name: &str| metric(&metrics(), &format!("{name}{{function=\"f\"}}"));
    in_time("nothing waits any more", || waits("serin_async_events_waiting") == 0.0);
    in_time("everybody has heard", || waits("serin_async_reports_waiting") == 0.0);
    in_time("reports are delivered", || {
        metric(&metrics(), "serin_async_events_waiting{function=\"told\"}") == 0.0
    });

    let mut deliveries: BTreeMap<String, usize> = BTreeMap::new();
    let mut by_version: BTreeMap<&str, usize> = BTreeMap::new();
    for call in calls.lock().unwrap().iter() {
        *deliveries.entry(call.id.clone()).or_default() += 1;
        *by_version.entry(call.version).or_default() += 1;
    }
    let lost = ids.keys().filter(|id| !deliveries.contains_key(*id)).count();
    let again = ids
        .iter()
        .filter(|(id, number)| !is_hopeless(**number) && deliveries.get(*id).is_some_and(|times| *times > 1))
        .count();
    let hopeless: BTreeSet<&String> =
        ids.iter().filter(|(_, number)| is_hopeless(**number)).map(|(id, _)| id).collect();
    let mut letters = BTreeMap::new();
    in_time("the dead letters are taken", || {
        for letter in dead.take() {
            let id = letter["MessageAttributes"]["RequestID"]["StringValue"].as_str().unwrap().to_owned();
            letters.insert(id, letter);
        }
        dead.left() == 0
    });
    let records: BTreeMap<String, Value> = told
        .lock()
        .unwrap()
        .iter()
        .map(|call| {
            (call.body["requestContext"]["requestId"].as_str().unwrap().to_owned(), call.body.clone())
        })
        .collect();
    let (lettered, recorded) = (
        hopeless.iter().filter(|id| letters.contains_key(**id)).count(),
        hopeless.iter().filter(|id| records.contains_key(**id)).count(),
    );
    println!(
        "{EVENTS} events: {lost} lost, {again} delivered again; of {} that always fail {lettered} are in the dead-letter \
         queue and {recorded} at the on-failure destination; invocations by version {by_version:?}",
        hopeless.len()
    );
    assert_eq!(lost, 0);
    assert_eq!((lettered, recorded), (hopeless.len(), hopeless.len()));
    for (id, number) in ids.iter().filter(|(_, number)| is_hopeless(**number)) {
        assert!(deliveries[id] >= 3, "two retries");
        let (letter, record) = (&letters[id], &records[id]);
        let body: Value = serde_json::from_str(letter["Body"].as_str().unwrap()).unwrap();
        assert_eq!(body, json!({ "n": number, "fail": 99 }));
        let attribute = |name: &str| letter["MessageAttributes"][name]["StringValue"].clone();
        assert_eq!(
            (attribute("ErrorCode"), attribute("ErrorMessage")),
            (json!("200"), json!("told to fail"))
        );
        assert_eq!(record["requestContext"]["condition"], "RetriesExhausted");
        assert_eq!(record["requestContext"]["approximateInvokeCount"], 3);
    }
    // Each attempt is drawn anew by the alias's weights.
    let all: usize = by_version.values().sum();
    let sigma = (all as f64 * 0.25 * 0.75).sqrt();
    assert!((by_version["2"] as f64 - all as f64 * 0.25).abs() <= 4.0 * sigma, "{by_version:?}");
    daemon.stop();
}
