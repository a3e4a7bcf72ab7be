//! Versions and clients that say something without an end: each is given up, and nobody else is told of it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serin::metrics::recorder::FailureKind;
use serin::router::settings::Timeouts;

use crate::support::client::Client;
use crate::support::router::{TestRouter, patient};
use crate::support::upstream::{Script, Version, read_request, write};
use crate::support::{uninterrupted, until};

/// A version that begins an answer and goes on for as long as it is heard.
fn endless(begin: &'static str, piece: &'static str) -> Script {
    Script::start(move |mut stream: TcpStream, _| {
        read_request(&mut stream);
        let pieces = piece.repeat(1000);
        let mut said = stream.write_all(begin.as_bytes());
        while said.is_ok() {
            said = stream.write_all(pieces.as_bytes());
        }
    })
}

#[test]
fn a_head_without_an_end_is_given_up() {
    const OK: &str = "HTTP/1.1 200 OK\r\n";
    for (begin, piece, kind, status) in [
        (OK, "X: y\r\n", FailureKind::Transport, 502),
        ("HTTP/1.1 200 OK\r\nX: ", "yyyyyyyy", FailureKind::Transport, 502),
        ("", "\r\n", FailureKind::Transport, 502),
        ("", "HTTP/1.1 100 Continue\r\n\r\n", FailureKind::Timeout, 504),
        ("", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", FailureKind::Timeout, 504),
    ] {
        let version = endless(begin, piece);
        let soon = Timeouts { response_head: Duration::from_millis(500), ..patient() };
        let router = TestRouter::serving(version.target(), soon);
        assert_eq!(router.client().get("/shop:live/x").status, status, "{begin:?} {piece:?}");
        router.assert_failed_once(kind);
    }
}

#[test]
fn a_chunk_or_trailers_without_an_end_break_off() {
    for begin in ["5;", "0", "0\r\n"] {
        let piece = match begin {
            "5;" => "extension",
            "0" => "0000",
            _ => "X: y\r\n",
        };
        let begin = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{begin}").leak();
        let version = endless(begin, piece);
        let router = TestRouter::serving(version.target(), patient());
        let mut client = router.client();
        client.send("GET /shop:live/x HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.head().unwrap().status, 200);
        let (came, _) = client.rest();
        assert!(!came.ends_with(b"0\r\n\r\n"), "it is no end: {piece}");
        router.assert_failed_once(FailureKind::Transport);
    }
}

#[test]
fn what_a_version_says_unasked_on_a_kept_connection_reaches_nobody() {
    let version = Script::start(|mut stream: TcpStream, _| {
        while read_request(&mut stream).is_some() {
            write(&mut stream, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood");
            std::thread::sleep(Duration::from_millis(50));
            // The router may have hung up.
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
        }
    });
    let router = TestRouter::serving(version.target(), patient());
    for _ in 0..5 {
        assert_eq!(router.client().get("/shop:live/x").text(), "good");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(version.connections() == 5, "what has more to say is not kept: {}", version.connections());
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header that is compressed by nothing.
fn header(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).unwrap();
    [&[0, length(name)], name.as_bytes(), &[length(value)], value.as_bytes()].concat()
}

fn head(path: &str) -> Vec<u8> {
    let lines = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "a")];
    lines.iter().flat_map(|(name, value)| header(name, value)).collect()
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW: u8 = 8;
const CONTINUATION: u8 = 9;

/// A connection that has begun, whose client reads whatever comes and looks at none of it.
fn connected(router: &TestRouter) -> Client {
    let mut client = Client::connect(router.addr());
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    client.send(frame(SETTINGS, 0, 0, b""));
    let mut reading = client.stream().try_clone().unwrap();
    std::thread::spawn(move || {
        let mut bytes = vec![0; 1 << 20];
        while uninterrupted(|| reading.read(&mut bytes)).is_ok_and(|count| count > 0) {}
    });
    client
}

#[test]
fn clients_that_flood_a_connection_with_frames_are_cut_off() {
    let one = Version::start("one");
    let router = TestRouter::serving(one.target(), patient());
    let connections = router.running().connections();
    let hanging = head("/shop:live/hang");
    let begun = [frame(HEADERS, 4, 1, &hanging)].concat();
    let streams = |per_stream: &dyn Fn(u32) -> Vec<u8>| -> Vec<u8> {
        (0..2000)
            .flat_map(|nth| [frame(HEADERS, 4, 2 * nth + 1, &hanging), per_stream(2 * nth + 1)].concat())
            .collect()
    };
    let floods: [(&str, Vec<u8>, Vec<u8>); 6] = [
        (
            "heads that go on",
            frame(HEADERS, 0, 1, &hanging),
            frame(CONTINUATION, 0, 1, &header("x-a", &"b".repeat(100))),
        ),
        ("heads that go on with nothing", frame(HEADERS, 0, 1, &hanging), frame(CONTINUATION, 0, 1, b"")),
        ("bodies of nothing", begun.clone(), frame(DATA, 0, 1, b"")),
        ("requests that are cancelled", streams(&|id| frame(RESET, 0, id, &8_u32.to_be_bytes())), Vec::new()),
        ("requests that have to be reset", streams(&|id| frame(WINDOW, 0, id, &[0; 4])), Vec::new()),
        ("references to one long header", begun, {
            let long = [&[0x40, 1, b'x', 0x7f, 0xbd, 0x1d][..], &[b'y'; 3900]].concat();
            let many = [head("/shop:live/hang"), long, vec![0xbe; 12_000]].concat();
            frame(HEADERS, 5, 3, &many)
        }),
    ];
    for (what, first, rest) in floods {
        let mut client = connected(&router);
        let mut said = client.try_send(&first);
        let rest = rest.repeat(100);
        for _ in 0..10_000 {
            if said.is_err() || connections.open() == 0 {
                break;
            }
            said = if rest.is_empty() { Ok(()) } else { client.try_send(&rest) };
        }
        until(what, || connections.open() == 0);
        drop(client);
        assert_eq!(router.client().get("/shop:live/x").text(), "one", "after {what}");
        until("that client is gone", || connections.open() == 0);
    }
    until("nothing is under way", || router.counts()[0].in_flight() == 0);
    assert_eq!(router.counts()[0].failures.total(), 0);
}

/// Whoever asks for nothing has as long as a client that says nothing at all, however much is said.
#[test]
fn clients_that_say_much_and_ask_for_nothing_are_closed() {
    // What answers the question with which an end in good order begins (h2's own bytes): whoever answers it without
    // being asked is gone as soon as that is asked, so that the test need not wait for the end of patience.
    let going = frame(PING, 1, 0, &[0x0b, 0x7b, 0xa2, 0xf0, 0x8b, 0x9b, 0xfe, 0x54]);
    let one = Version::start("one");
    let timeouts = Timeouts { client_header: Duration::from_millis(500), ..patient() };
    let router = TestRouter::serving(one.target(), timeouts);
    let connections = router.running().connections();
    for (what, piece) in [
        ("pings", frame(PING, 0, 0, b"12345678")),
        ("windows", frame(WINDOW, 0, 0, &1_u32.to_be_bytes())),
        ("settings", frame(SETTINGS, 0, 0, b"")),
        ("priorities", frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 1])),
    ] {
        let mut client = connected(&router);
        let many = [piece.repeat(100), going.clone()].concat().repeat(6000);
        // Without a pause: there is always more to be read.
        let flooding = std::thread::spawn(move || while client.try_send(&many).is_ok() {});
        until(what, || connections.open() == 0);
        flooding.join().unwrap();
        assert_eq!(router.client().get("/shop:live/x").text(), "one", "after {what}");
        until("that client is gone", || connections.open() == 0);
    }
}
