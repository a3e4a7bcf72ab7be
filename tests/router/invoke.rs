//! Lambda Invoke, as its clients send it.

use bytes::Bytes;
use hyper::{Request, Response};
use serde_json::{Value, json};
use serin::metrics::recorder::FailureKind;
use serin::router::handle::{InvokeBody, RouterStopped};
use serin::router::settings::Timeouts;
use serin::router::table::Edit;
use serin_core::model::arn::VersionNumber;
use std::io::Read;
use std::time::Duration;

use crate::support::client::Answer;
use crate::support::router::{TestRouter, patient};
use crate::support::upstream::{Script, Version, read_request, target, write};
use crate::support::{uninterrupted, until};

const LIVE: &str = "/2015-03-31/functions/shop%3Alive/invocations";
const MIB: usize = 1024 * 1024;

/// Invokes a version whose URL ends in a path, once.
fn invoked(path: &'static str, payload: &str) -> (TestRouter, Answer) {
    let one = Version::start("one");
    let router = TestRouter::serving(target(one.addr(), path), patient());
    let answer = router.client().post(LIVE, &[], payload);
    assert!(answer.header("x-amzn-requestid").is_some_and(|id| id.len() == 36), "{answer:?}");
    (router, answer)
}

#[track_caller]
fn assert_function_error(answer: &Answer, kind: &str, says: &str) {
    assert_eq!(
        (answer.status, answer.header("x-amz-function-error")),
        (200, Some("Unhandled")),
        "{answer:?}"
    );
    assert_eq!(answer.version(), Some("1"));
    let error = answer.json();
    assert_eq!(error["errorType"], kind);
    assert!(error["errorMessage"].as_str().unwrap().contains(says), "{error}");
}

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, kind: &str, body: &Value) {
    assert_eq!((answer.status, answer.header("x-amzn-errortype")), (status, Some(kind)), "{answer:?}");
    assert_eq!(&answer.json(), body);
    assert_eq!(answer.version(), None);
    assert!(answer.header("x-amzn-requestid").is_some());
}

#[test]
fn the_payload_is_posted_to_the_versions_url_and_its_answer_comes_back() {
    let one = Version::start("one");
    let router = TestRouter::serving(target(one.addr(), "/echo/fn"), patient());
    let mut client = router.client();
    let answer = client.post(
        LIVE,
        &["X-Amz-Client-Context: e30=", "Authorization: secret", "X-Own: 1", "Content-Type: text/plain"],
        r#"{"a": 1}"#,
    );
    assert_eq!((answer.status, answer.version()), (200, Some("1")));
    assert_eq!(answer.header("x-amz-function-error"), None);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let echo = answer.json();
    assert_eq!((&echo["method"], &echo["target"]), (&json!("POST"), &json!("/echo/fn")));
    assert_eq!(echo["body"], r#"{"a": 1}"#);
    let header = |name: &str| {
        let headers = echo["headers"].as_array().unwrap();
        headers.iter().find(|line| line[0] == name).map(|line| line[1].as_str().unwrap().to_owned())
    };
    assert_eq!(header("content-type").as_deref(), Some("application/json"));
    assert_eq!(header("x-amz-client-context").as_deref(), Some("e30="));
    assert_eq!(header("x-amzn-requestid").as_deref(), answer.header("x-amzn-requestid"));
    assert_eq!((header("authorization"), header("x-own")), (None, None), "not a proxy of headers");
    assert_eq!(client.post(LIVE, &[], "").json()["body"], "{}", "no payload is an empty object");
    let counts = router.settled(2);
    assert_eq!((counts.completed, counts.failures.total()), (2, 0));
}

#[test]
fn an_answer_below_500_is_the_functions_result() {
    for (path, body) in [("/status/201", "one"), ("/status/404", "one"), ("/empty", "")] {
        let (router, answer) = invoked(path, "{}");
        assert_eq!((answer.status, answer.text()), (200, body), "{path}");
        assert_eq!(answer.header("x-amz-function-error"), None);
        assert_eq!(router.settled(1).failures.total(), 0);
    }
}

#[test]
fn a_5xx_is_a_function_error_and_a_failure() {
    // What is no status of HTTP's is held for a 5xx.
    let (router, answer) = invoked("/status/999", "{}");
    assert_function_error(&answer, "Upstream.Status", "answered 999");
    router.assert_failed_once(FailureKind::FunctionError);
    let (router, answer) = invoked("/status/503", "{}");
    assert_function_error(&answer, "Upstream.Status", "answered 503 Service Unavailable: one");
    router.assert_failed_once(FailureKind::FunctionError);
}

#[test]
fn a_version_that_cannot_be_reached_or_breaks_off_is_a_function_error() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let router = TestRouter::serving(target(free, ""), patient());
    assert_function_error(&router.client().post(LIVE, &[], "{}"), "Upstream.Unreachable", "refused");
    router.assert_failed_once(FailureKind::Transport);

    let half = Script::start(|mut stream, _| {
        read_request(&mut stream);
        write(&mut stream, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    });
    let router = TestRouter::serving(half.target(), patient());
    assert_function_error(&router.client().post(LIVE, &[], "{}"), "Upstream.Broken", "broke off");
    router.assert_failed_once(FailureKind::Transport);

    let hangs = Script::start(|mut stream, _| {
        read_request(&mut stream);
        let _ = uninterrupted(|| stream.read(&mut [0]));
    });
    let timeouts = Timeouts { response_head: Duration::from_millis(100), ..patient() };
    let router = TestRouter::serving(hangs.target(), timeouts);
    let answer = router.client().post(LIVE, &[], "{}");
    assert_function_error(&answer, "Sandbox.Timedout", "Task timed out after 0.10 seconds");
    router.assert_failed_once(FailureKind::Timeout);
}

#[test]
fn an_answer_is_as_large_as_lambda_allows() {
    let (router, answer) = invoked("/body/6291456", "{}");
    assert_eq!((answer.status, answer.body.len()), (200, 6 * MIB));
    assert_eq!(router.settled(1).failures.total(), 0);
    let (router, answer) = invoked("/chunks/6300000", "{}");
    assert_function_error(&answer, "Function.ResponseSizeTooLarge", "6291556 bytes");
    router.assert_failed_once(FailureKind::FunctionError);
}

#[test]
fn the_executed_version_is_the_one_that_was_drawn() {
    let (one, two) = (Version::start("one"), Version::start("two"));
    let router = TestRouter::splitting(one.target(), two.target(), 500_000);
    let mut client = router.client();
    let mut by_two = 0;
    for _ in 0..400 {
        let answer = client.post(LIVE, &[], "{}");
        match answer.text() {
            "one" => assert_eq!(answer.version(), Some("1")),
            _ => {
                assert_eq!(answer.version(), Some("2"));
                by_two += 1;
            }
        }
    }
    assert!((120..280).contains(&by_two), "{by_two} of 400 at a half");
    assert_eq!(router.counts()[1].dispatched, by_two);
}

#[test]
fn functions_are_found_by_every_name_they_have() {
    let (one, two) = (Version::start("one"), Version::start("two"));
    let router = TestRouter::serving(one.target(), patient());
    router.table.publish(vec![
        Edit::Function { name: "shop".parse().unwrap(), latest: two.target() },
        Edit::Version { function: "shop".parse().unwrap(), number: VersionNumber(1), target: one.target() },
    ]);
    let mut client = router.client();
    for (function, version) in [
        ("shop", "$LATEST"),
        ("shop:$LATEST", "$LATEST"),
        ("shop:1", "1"),
        ("shop:live", "1"),
        ("000000000000:function:shop:live", "1"),
        ("arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Ashop", "$LATEST"),
        ("arn:aws:lambda:us-east-1:000000000000:function:shop:1", "1"),
    ] {
        let answer = client.post(&format!("/2015-03-31/functions/{function}/invocations"), &[], "{}");
        assert_eq!((answer.status, answer.version()), (200, Some(version)), "{function}");
    }
    let qualified = client.post("/2015-03-31/functions/shop/invocations?Qualifier=live", &[], "{}");
    assert_eq!(qualified.version(), Some("1"));
}

#[test]
fn refusals_are_in_the_shape_and_the_words_of_aws() {
    let one = Version::start("one");
    let router = TestRouter::serving(one.target(), patient());
    let mut client = router.client();
    let not_found = |arn: &str| json!({"Type": "User", "Message": format!("Function not found: {arn}")});
    let absent = client.post("/2015-03-31/functions/shop%3Aprod/invocations", &[], "{}");
    let arn = "arn:aws:lambda:us-east-1:000000000000:function:shop:prod";
    assert_refused(&absent, 404, "ResourceNotFoundException", &not_found(arn));
    let signed = "Authorization: AWS4-HMAC-SHA256 Credential=AKID/20260101/eu-west-1/lambda/aws4_request, \
                  SignedHeaders=host, Signature=x";
    let absent = client.post("/2015-03-31/functions/desk/invocations", &[signed], "{}");
    let arn = "arn:aws:lambda:eu-west-1:000000000000:function:desk:$LATEST";
    assert_refused(&absent, 404, "ResourceNotFoundException", &not_found(arn));

    let conflict = client.post(&format!("{LIVE}?Qualifier=beta"), &[], "{}");
    let text = "The derived qualifier from the function name does not match the specified qualifier.";
    let body = json!({"Type": "User", "message": text});
    assert_refused(&conflict, 400, "InvalidParameterValueException", &body);

    let bad = client.post(LIVE, &[], "{'a': 1}");
    assert_eq!((bad.status, bad.header("x-amzn-errortype")), (400, Some("InvalidRequestContentException")));
    let text = bad.json()["message"].as_str().unwrap().to_owned();
    let frame =
        "Could not parse request body into json: Could not parse payload into json: key must be a string";
    assert!(text.starts_with(frame), "{text}");

    // A router by itself has nobody who keeps events.
    let later = client.post(LIVE, &["X-Amz-Invocation-Type: Event"], "{}");
    assert_refused(
        &later,
        500,
        "ServiceException",
        &json!({"Type": "Service", "Message": "this router keeps no events"}),
    );

    let odd = client.post(LIVE, &["X-Amz-Invocation-Type: Later"], "{}");
    let text = "1 validation error detected: Value 'Later' at 'invocationType' failed to satisfy constraint: \
                Member must satisfy enum value set: [Event, RequestResponse, DryRun]";
    assert_refused(&odd, 400, "ValidationException", &json!({"message": text}));

    let get = client.get(LIVE);
    assert_eq!((get.status, get.header("x-amzn-errortype")), (404, Some("UnknownOperationException")));
    assert_eq!(one.seen().requests(), 0);
    assert_eq!(router.counts()[0].dispatched, 0);
}

#[test]
fn a_payload_is_at_most_six_mebibytes() {
    let one = Version::start("one");
    let router = TestRouter::serving(target(one.addr(), "/sink"), patient());
    let just = format!("\"{}\"", "x".repeat(6 * MIB - 2));
    let answer = router.client().post(LIVE, &[], &just);
    assert_eq!((answer.status, answer.text()), (200, "6291456"));
    let too_large = json!({
        "Type": "User",
        "message": "Request must be smaller than 6291456 bytes for the InvokeFunction operation",
    });
    let mut sized = router.client();
    sized.send(format!("POST {LIVE} HTTP/1.1\r\nHost: a\r\nContent-Length: 6291457\r\n\r\n"));
    assert_refused(&sized.answer(), 413, "RequestTooLargeException", &too_large);
    let mut chunked = router.client();
    chunked.send(format!("POST {LIVE} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n600001\r\n"));
    chunked.send(vec![b'x'; 6 * MIB + 1]);
    assert_refused(&chunked.answer(), 413, "RequestTooLargeException", &too_large);
    assert_eq!(one.seen().requests(), 1);
}

#[test]
fn a_payload_that_does_not_come_is_not_waited_for() {
    let one = Version::start("one");
    let timeouts = Timeouts { body_idle: Duration::from_millis(100), ..patient() };
    let router = TestRouter::serving(one.target(), timeouts);
    let mut client = router.client();
    client.send(format!("POST {LIVE} HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n{{"));
    assert_eq!(client.answer().status, 408);
    assert_eq!(router.counts()[0].dispatched, 0);
}

#[test]
fn a_dry_run_runs_nothing() {
    let one = Version::start("one");
    let router = TestRouter::serving(one.target(), patient());
    let mut client = router.client();
    let dry = client.post(LIVE, &["X-Amz-Invocation-Type: DryRun"], "{}");
    assert_eq!((dry.status, dry.version(), dry.body.len()), (204, None, 0));
    let absent =
        client.post("/2015-03-31/functions/desk/invocations", &["X-Amz-Invocation-Type: DryRun"], "{}");
    assert_eq!(absent.status, 404);
    assert_eq!(one.seen().requests(), 0);
}

#[test]
fn the_tail_of_the_log_names_the_version() {
    use base64::Engine;
    let one = Version::start("one");
    let router = TestRouter::serving(one.target(), patient());
    let answer = router.client().post(LIVE, &["X-Amz-Log-Type: Tail"], "{}");
    let log = base64::engine::general_purpose::STANDARD.decode(answer.header("x-amz-log-result").unwrap());
    let log = String::from_utf8(log.unwrap()).unwrap();
    let id = answer.header("x-amzn-requestid").unwrap();
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines[0], format!("START RequestId: {id} Version: 1"));
    assert_eq!(lines[1], format!("END RequestId: {id}"));
    assert!(lines[2].starts_with(&format!("REPORT RequestId: {id}\tDuration: ")), "{log}");
}

fn invoke_by_handle(router: &TestRouter, payload: &'static str) -> Result<Response<Bytes>, RouterStopped> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let request = Request::post(LIVE).body(Bytes::from(payload)).unwrap();
    let answered = runtime.block_on(router.running().invoke_handle().invoke(request))?;
    Ok(answered.map(|body| match body {
        InvokeBody::Whole(bytes) => bytes,
        InvokeBody::Pieces(_) => panic!("an Invoke is answered whole"),
    }))
}

#[test]
fn an_invoke_from_another_listener_is_counted_like_any_other() {
    let one = Version::start("one");
    let router = TestRouter::serving(target(one.addr(), "/echo"), patient());
    for _ in 0..4 {
        let answer = invoke_by_handle(&router, "[1]").unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["x-amz-executed-version"]),
            (200, &"1".parse().unwrap())
        );
        let echo: Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!(echo["body"], "[1]");
    }
    assert_eq!(one.seen().connections(), 2, "workers take turns");
    assert_eq!(router.settled(4).completed, 4);
}

#[test]
fn a_caller_that_goes_away_cancels_its_invoke() {
    let one = Version::start("one");
    let router = TestRouter::serving(target(one.addr(), "/hang"), patient());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let request = Request::post(LIVE).body(Bytes::from("{}")).unwrap();
    runtime.block_on(async {
        let handle = router.running().invoke_handle();
        let call = tokio::time::timeout(Duration::from_millis(200), handle.invoke(request));
        assert!(call.await.is_err());
    });
    until("the version hears of it", || one.seen().dropped.load(std::sync::atomic::Ordering::SeqCst) == 1);
    assert_eq!(router.settled(1).cancelled, 1);
}

#[test]
fn a_stopped_router_says_so() {
    let one = Version::start("one");
    let mut router = TestRouter::serving(one.target(), patient());
    let handle = router.running().invoke_handle();
    router.take().shutdown(Duration::from_secs(10)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let request = Request::post(LIVE).body(Bytes::new()).unwrap();
    assert_eq!(runtime.block_on(handle.invoke(request)).err(), Some(RouterStopped));
}
