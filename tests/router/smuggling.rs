//! Requests that two readers could read differently: refused, or sent on so that there is one way to read them.

use std::sync::{Arc, Mutex};

use crate::support::client::Client;
use crate::support::router::{TestRouter, patient};
use crate::support::upstream::Script;

/// A version that keeps every byte it gets, and answers whatever ends like a request.
fn recording() -> (Script, Arc<Mutex<Vec<u8>>>) {
    use std::io::{Read, Write};
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&bytes);
    let version = Script::start(move |mut stream, _| {
        let mut piece = [0; 4096];
        let mut request = Vec::new();
        while let Ok(count @ 1..) = stream.read(&mut piece) {
            kept.lock().unwrap().extend_from_slice(&piece[..count]);
            request.extend_from_slice(&piece[..count]);
            let text = String::from_utf8_lossy(&request);
            let is_over = if text.contains("transfer-encoding: chunked") {
                text.ends_with("0\r\n\r\n")
            } else {
                let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
                let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
                text.contains("\r\n\r\n") && body.len() >= length.map_or(0, |text| text.parse().unwrap())
            };
            if is_over {
                request.clear();
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            }
        }
    });
    (version, bytes)
}

/// How many requests a strict reader finds in what a version got; panics where it finds anything else.
fn requests_in(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while !bytes.is_empty() {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head that ends") + 4;
        let head = std::str::from_utf8(&bytes[..end]).expect("a head in ASCII");
        bytes = &bytes[end..];
        let mut lines = head.lines();
        assert!(lines.next().is_some_and(|line| line.ends_with(" HTTP/1.1")), "{head}");
        let (mut lengths, mut is_chunked) = (Vec::new(), false);
        for line in lines.take_while(|line| !line.is_empty()) {
            let (name, value) = line.split_once(": ").expect("a header line");
            assert!(
                name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            );
            match name {
                "content-length" => lengths.push(value.parse::<usize>().expect("a plain length")),
                "transfer-encoding" => is_chunked = value == "chunked",
                _ => {}
            }
        }
        assert!(lengths.len() + usize::from(is_chunked) <= 1, "two framings: {head}");
        if let Some(length) = lengths.first() {
            bytes = &bytes[*length..];
        }
        while is_chunked {
            let end = bytes.windows(2).position(|two| two == b"\r\n").expect("a chunk's size");
            let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
            bytes = &bytes[end + 2 + size + 2..];
            is_chunked = size > 0;
        }
        count += 1;
    }
    count
}

const NEXT: &str = "GET /shop:live/next HTTP/1.1\r\nHost: a\r\n\r\n";

/// Sends bytes and reads all that comes until the router closes, or until a last request is answered.
fn statuses(client: &mut Client) -> Vec<u16> {
    let mut statuses = Vec::new();
    while let Some(answer) = client.try_answer_to("GET") {
        statuses.push(answer.status);
    }
    statuses
}

#[test]
fn a_version_sees_exactly_the_requests_that_were_answered() {
    let head = "POST /shop:live/x HTTP/1.1\r\nHost: a\r\n";
    // Each is followed by another request and then by the end of what the client sends.
    for (name, request, expected) in [
        // Chunked wins, the length goes, and the connection ends with the answer.
        (
            "CL.TE",
            format!("{head}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            &[200][..],
        ),
        ("TE.CL", format!("{head}Transfer-Encoding: chunked\r\nContent-Length: 30\r\n\r\n0\r\n\r\n"), &[200]),
        ("two lengths", format!("{head}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc"), &[400]),
        (
            "the same length twice",
            format!("{head}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
            &[200, 200],
        ),
        ("a list of lengths", format!("{head}Content-Length: 3, 3\r\n\r\nabc"), &[400]),
        ("+3", format!("{head}Content-Length: +3\r\n\r\nabc"), &[400]),
        ("0x3", format!("{head}Content-Length: 0x3\r\n\r\nabc"), &[400]),
        ("-1", format!("{head}Content-Length: -1\r\n\r\n"), &[400]),
        ("2^64", format!("{head}Content-Length: 18446744073709551616\r\n\r\n"), &[400]),
        ("an empty length", format!("{head}Content-Length: \r\n\r\n"), &[400]),
        ("xchunked", format!("{head}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"), &[400]),
        ("chunked, identity", format!("{head}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"), &[400]),
        ("two codings", format!("{head}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), &[501, 200]),
        ("a tab before chunked", format!("{head}Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n"), &[200, 200]),
        ("a space before the colon", format!("{head}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"), &[400]),
        (
            "HTTP/1.0 and chunked",
            format!("{}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", head.replace("1.1", "1.0")),
            &[400],
        ),
        ("obs-fold", format!("{head}X: a\r\n b\r\nContent-Length: 0\r\n\r\n"), &[400]),
        ("obs-fold of a coding", format!("{head}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"), &[400]),
        ("NUL in a value", format!("{head}X: a\0b\r\nContent-Length: 0\r\n\r\n"), &[400]),
        ("NUL in a name", format!("{head}X\0: b\r\nContent-Length: 0\r\n\r\n"), &[400]),
        ("CR in a value", format!("{head}X: a\rb\r\nContent-Length: 0\r\n\r\n"), &[400]),
        ("no colon", format!("{head}Transfer-Encoding\r\n\r\n"), &[400]),
        ("no name", format!("{head}: chunked\r\n\r\n"), &[400]),
        (
            "a huge chunk size",
            format!("{head}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n"),
            &[400],
        ),
        (
            "a chunk extension",
            format!("{head}Transfer-Encoding: chunked\r\n\r\n3;a=\"b\"\r\nabc\r\n0\r\n\r\n"),
            &[200, 200],
        ),
        (
            "a GET with a body",
            "GET /shop:live/x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc".to_owned(),
            &[200, 200],
        ),
        ("absolute form", "GET http://other/shop:live/x HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), &[200, 200]),
        ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), &[]),
        ("no host", "GET /shop:live/x HTTP/1.1\r\n\r\n".to_owned(), &[400, 200]),
        ("two hosts", "GET /shop:live/x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(), &[400, 200]),
        ("HTTP/1.2", "GET /shop:live/x HTTP/1.2\r\nHost: a\r\n\r\n".to_owned(), &[400]),
        ("a space in the path", "GET /shop:live/x y HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), &[400]),
        ("CR in the path", "GET /shop:live/x\ry HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), &[400]),
    ] {
        let (version, bytes) = recording();
        let router = TestRouter::serving(version.target(), patient());
        let mut client = router.client();
        // A router that has refused may not take the rest.
        let _ = client.try_send(format!("{request}{NEXT}"));
        let mut seen = Vec::new();
        for _ in expected {
            match client.try_answer_to("GET") {
                Some(answer) => seen.push(answer.status),
                None => break,
            }
        }
        assert_eq!(seen, expected, "{name}");
        let answered = expected.iter().filter(|status| **status == 200).count();
        let bytes = bytes.lock().unwrap().clone();
        let complete = if name == "a huge chunk size" { 0 } else { requests_in(&bytes) };
        assert_eq!(complete, answered, "{name}: {}", String::from_utf8_lossy(&bytes));
        if expected.len() < 2 {
            assert_eq!(statuses(&mut client), [0_u16; 0], "{name}: the connection goes on");
        }
    }
}

#[test]
fn bare_line_feeds_leave_no_second_reading() {
    // RFC 9112 lets a reader take a lone LF for the end of a line; what is sent on has CR LF everywhere.
    let (version, bytes) = recording();
    let router = TestRouter::serving(version.target(), patient());
    let mut client = router.client();
    client.send("POST /shop:live/x HTTP/1.1\nHost: a\nContent-Length: 3\n\nabc");
    assert_eq!(client.answer().status, 200);
    let bytes = bytes.lock().unwrap().clone();
    assert_eq!(requests_in(&bytes), 1);
    assert!(!String::from_utf8_lossy(&bytes).replace("\r\n", "").contains('\n'));
}

#[test]
fn heads_have_a_size_and_a_number_of_lines() {
    let (version, bytes) = recording();
    let router = TestRouter::serving(version.target(), patient());
    let large = |size: usize| {
        let mut client = router.client();
        let _ = client
            .try_send(format!("GET /shop:live/x HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(size)));
        client.try_answer_to("GET").map(|answer| answer.status)
    };
    assert_eq!(large(60_000), Some(200));
    assert!(matches!(large(70_000), Some(431) | None), "None where the reset outruns the answer");
    let many = |lines: usize| {
        let mut client = router.client();
        let lines: String = (1..lines).map(|line| format!("X-{line}: 1\r\n")).collect();
        client.send(format!("GET /shop:live/x HTTP/1.1\r\nHost: a\r\n{lines}\r\n"));
        client.answer().status
    };
    assert_eq!((many(100), many(101)), (200, 431));
    assert_eq!(requests_in(&bytes.lock().unwrap()), 2);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (version, bytes) = recording();
    let router = TestRouter::serving(version.target(), patient());
    let mut client = router.client();
    client.send(format!("{NEXT}GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n{NEXT}").repeat(3));
    for _ in 0..3 {
        assert_eq!([(); 3].map(|()| client.answer().status), [200, 404, 200]);
    }
    assert_eq!(requests_in(&bytes.lock().unwrap()), 6);
}
