//! The client against servers that lose its requests, or are no serin at all.

use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use serin::client::{Change, Client, ClientError, PlainVerb, Transport};

use crate::support::upstream::{Script, read_request, write};

fn client(script: &Script) -> Client {
    let target = script.target();
    let url = target.url().unwrap();
    Client::new(Transport::new(&url.to_string(), None, "tester@here").unwrap())
}

fn change() -> Change {
    Change { key: "key-1".to_owned(), reason: Some("größer".to_owned()) }
}

fn answer(stream: &mut TcpStream, status: &str, kind: &str, body: &str) {
    let length = body.len();
    write(
        stream,
        format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"),
    );
}

const REPLY: &str = r#"{"id":"x","function":"shop","alias":"live","phase":"Aborted","step":1,"changed":true,"message":"done"}"#;

#[test]
fn a_lost_reply_is_asked_for_once_more_with_the_same_key() {
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&requests);
    let script = Script::start(move |mut stream, number| {
        let request = read_request(&mut stream).unwrap();
        seen.lock().unwrap().push(request);
        if number > 0 {
            answer(&mut stream, "200 OK", "application/json", REPLY);
        }
    });
    let reply = client(&script).act("shop:live", PlainVerb::Abort, &change()).unwrap();
    assert_eq!((reply.message.as_str(), reply.changed), ("done", true));
    let requests = requests.lock().unwrap();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0], requests[1]);
    for part in ["POST /v1/rollouts/shop:live/abort ", "idempotency-key: key-1", "x-serin-actor: tester@here"]
    {
        assert!(requests[0].contains(part), "{}", requests[0]);
    }
    assert!(requests[0].ends_with(r#"{"reason":"größer"}"#), "{}", requests[0]);
}

#[test]
fn a_change_that_stays_lost_says_how_to_repeat_it() {
    let script = Script::start(|mut stream, _| drop(read_request(&mut stream)));
    let error = client(&script).act("shop:live", PlainVerb::Abort, &change()).unwrap_err();
    assert!(matches!(error, ClientError::LostChange { .. }), "{error:?}");
    assert!(error.to_string().contains("--idempotency-key key-1"), "{error}");
    assert_eq!(script.connections(), 2);
}

#[test]
fn what_is_no_serin_is_said_to_be_none() {
    let script = Script::start(|mut stream, _| {
        let request = read_request(&mut stream).unwrap();
        match request.split(' ').nth(1).unwrap() {
            "/v1/rollouts/moved:live" => {
                let head = "HTTP/1.1 301 Moved\r\nlocation: https://there/\r\ncontent-length: 0\r\n\r\n";
                write(&mut stream, head);
            }
            "/v1/rollouts/gate:live" => answer(&mut stream, "502 Bad Gateway", "text/html", "<h1>no</h1>"),
            "/v1/rollouts/page:live" => answer(&mut stream, "200 OK", "text/html", "<h1>hello</h1>"),
            "/v1/rollouts/ssh:live" => write(&mut stream, "SSH-2.0-OpenSSH_9.9\r\n"),
            other => panic!("{other}"),
        }
    });
    for (target, part) in [
        ("moved:live", "points to https://there/"),
        ("gate:live", "502 Bad Gateway"),
        ("page:live", "<h1>hello</h1>"),
        ("ssh:live", "not a serin"),
    ] {
        let error = client(&script).status(target).unwrap_err();
        assert!(matches!(error, ClientError::Strange { .. }), "{target}: {error:?}");
        assert!(error.to_string().contains(part), "{target}: {error}");
    }
}

#[test]
fn refusals_keep_their_kind_and_words() {
    let script = Script::start(|mut stream, _| {
        read_request(&mut stream).unwrap();
        let body = r#"{"error":{"kind":"conflict","message":"it is rolling back"}}"#;
        answer(&mut stream, "409 Conflict", "application/json", body);
    });
    let error = client(&script).act("shop:live", PlainVerb::Pause, &change()).unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (Some("conflict"), "it is rolling back"));
    assert!(!error.is_passing());
    assert_eq!(script.connections(), 1);
}
