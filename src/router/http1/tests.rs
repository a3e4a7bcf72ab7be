//! What is read out of answers, however they come apart, and what is written for requests.

use std::future::poll_fn;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::rc::Rc;

use hyper::{Request, StatusCode};

use super::framing::{Framing, Step};
use super::head::read_answer;
use super::*;

/// What a reader gets out of an answer that comes in pieces of so many bytes: status, body, trailers, what is left.
fn read(bytes: &[u8], piece: usize, wants_head_only: bool) -> Result<(u16, String, usize, usize), String> {
    let mut input = BytesMut::new();
    let mut pieces = bytes.chunks(piece);
    let mut answer = loop {
        if let Some(answer) =
            read_answer(&mut input, &mut HeaderMap::new(), wants_head_only).map_err(|why| why.to_string())?
        {
            break answer;
        }
        input.extend_from_slice(pieces.next().ok_or("no head")?);
    };
    let (mut body, mut trailers) = (Vec::new(), 0);
    loop {
        match answer.framing.step(&mut input)? {
            Step::Over => break,
            Step::Frame(frame) => match frame.into_data() {
                Ok(data) => body.extend_from_slice(&data),
                Err(frame) => trailers += frame.into_trailers().unwrap().len(),
            },
            Step::Wanting(_) => match pieces.next() {
                Some(piece) => input.extend_from_slice(piece),
                None if answer.framing.ends_with_connection() => answer.framing = Framing::None,
                None => return Err("in the midst of its body".to_owned()),
            },
        }
    }
    let left = input.len() + pieces.map(<[u8]>::len).sum::<usize>();
    Ok((answer.head.status.as_u16(), String::from_utf8(body).unwrap(), trailers, left))
}

#[test]
fn answers_end_where_they_say_however_they_come_apart() {
    let ok = |head: &str, rest: &str| format!("HTTP/1.1 200 OK\r\n{head}\r\n{rest}");
    let long = "x".repeat(3000);
    let long_chunk = format!("bb8;a=\"b\"\r\n{long}\r\n0\r\n\r\n");
    for (text, expected) in [
        (ok("content-length: 5\r\n", "hello"), (200, "hello", 0, 0)),
        (ok("content-length: 5\r\n", "helloHTTP/1.1 200"), (200, "hello", 0, 12)),
        (ok("content-length: 5, 5\r\nContent-Length: 5\r\n", "hello"), (200, "hello", 0, 0)),
        (ok("content-length: 0\r\n", ""), (200, "", 0, 0)),
        (ok("transfer-encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"), (200, "hello", 0, 0)),
        (
            ok("transfer-encoding: Chunked\r\n", "0002\r\nhe\r\n3 ;x\r\nllo\r\n000\r\n\r\nX"),
            (200, "hello", 0, 1),
        ),
        (ok("transfer-encoding: chunked\r\n", "1\r\nx\r\n0\r\na: b\r\nc: d\r\n\r\n"), (200, "x", 2, 0)),
        (ok("transfer-encoding: chunked\r\n", &long_chunk), (200, long.as_str(), 0, 0)),
        (ok("", "until the end"), (200, "until the end", 0, 0)),
        (ok("transfer-encoding: gzip\r\n", "packed"), (200, "packed", 0, 0)),
        ("HTTP/1.0 200 OK\r\n\r\nold".to_owned(), (200, "old", 0, 0)),
        ("HTTP/1.1 204 No Content\r\ncontent-length: 9\r\n\r\n".to_owned(), (204, "", 0, 0)),
        ("HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n".to_owned(), (304, "", 0, 0)),
        (
            format!(
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n{}",
                ok("content-length: 1\r\n", "x")
            ),
            (200, "x", 0, 0),
        ),
    ] {
        let expected = (expected.0, expected.1.to_owned(), expected.2, expected.3);
        for piece in [1, 2, 3, 7, 64, 100_000] {
            assert_eq!(read(text.as_bytes(), piece, false), Ok(expected.clone()), "{piece} {text:?}");
        }
    }
    let head_only = ok("content-length: 5\r\n", "");
    assert_eq!(read(head_only.as_bytes(), 9, true), Ok((200, String::new(), 0, 0)));
}

#[test]
fn answers_that_two_could_read_in_two_ways_are_refused() {
    let chunked = |rest: &str| format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{rest}");
    let with = |head: &str| format!("HTTP/1.1 200 OK\r\n{head}\r\nhello");
    let endless = "0".repeat(2000);
    for (text, fault) in [
        (with("content-length: 5\r\ncontent-length: 6\r\n"), "two lengths"),
        (with("content-length: 5, 6\r\n"), "two lengths"),
        (with("content-length: +5\r\n"), "no number"),
        (with("content-length: 5 5\r\n"), "no number"),
        (with("content-length:\r\n"), "no number"),
        (with("content-length: 99999999999999999999\r\n"), "no number"),
        (with("content-length : 5\r\n"), "cannot be read"),
        (with("a: b\r\n c\r\n"), "cannot be read"),
        (with("a: b\0\r\n"), "cannot be read"),
        (with(&"a: b\r\n".repeat(101)), "too many headers"),
        (with(&format!("a: {}\r\n", "b".repeat(70_000))), "too long"),
        ("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), "HTTP/1.0"),
        ("HTTP/1.1 99 No\r\n\r\n".to_owned(), "cannot be read"),
        ("HTTP/1.1 099 No\r\n\r\n".to_owned(), "no number from 100"),
        ("ICY 200 OK\r\n\r\n".to_owned(), "cannot be read"),
        (with("content-length: 6\r\n"), "in the midst"),
        (chunked("5\r\nhel"), "in the midst"),
        (chunked("5\nhello\r\n0\r\n\r\n"), "without a CR"),
        (chunked("4\r\nhello\r\n0\r\n\r\n"), "longer than was said"),
        (chunked("0x5\r\nhello\r\n0\r\n\r\n"), "no number"),
        (chunked("+5\r\nhello\r\n0\r\n\r\n"), "no number"),
        (chunked(" 5\r\nhello\r\n0\r\n\r\n"), "no number"),
        (chunked("5 5\r\nhello\r\n0\r\n\r\n"), "no number"),
        (chunked("5\r;\r\nhello\r\n0\r\n\r\n"), "no number"),
        (chunked("\r\nhello\r\n0\r\n\r\n"), "no number"),
        (chunked("10000000000000005\r\nhello\r\n0\r\n\r\n"), "no number"),
        (chunked(&endless), "does not end"),
        (chunked("0\r\nno colon\r\n\r\n"), "trailers cannot be read"),
    ] {
        for piece in [1, 5, 100_000] {
            let fault_read = read(text.as_bytes(), piece, false).unwrap_err();
            assert!(fault_read.contains(fault), "{piece} {:?}: {fault_read}", &text[..text.len().min(90)]);
        }
    }
}

#[test]
fn a_connection_is_kept_only_where_both_sides_know_the_end() {
    let kept = |head: &str| {
        let mut input = BytesMut::from(format!("HTTP/1.1 200 OK\r\n{head}\r\n").as_bytes());
        read_answer(&mut input, &mut HeaderMap::new(), false).unwrap().unwrap().is_kept
    };
    assert!(kept("content-length: 3\r\n"));
    assert!(kept("transfer-encoding: chunked\r\n"));
    assert!(!kept(""));
    assert!(!kept("content-length: 3\r\nconnection: Keep-Alive, Close\r\n"));
    assert!(!kept("content-length: 3\r\nconnection: close\r\nconnection: keep-alive\r\n"));
    assert!(!kept("content-length: 3\r\ntransfer-encoding: chunked\r\n"));
    let mut old = BytesMut::from(&b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n"[..]);
    assert!(!read_answer(&mut old, &mut HeaderMap::new(), false).unwrap().unwrap().is_kept);
    let mut old =
        BytesMut::from(&b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\nconnection: keep-alive\r\n\r\n"[..]);
    assert!(read_answer(&mut old, &mut HeaderMap::new(), false).unwrap().unwrap().is_kept);
}

#[test]
fn a_reason_of_its_own_is_kept() {
    let reason = |line: &str| {
        let mut input = BytesMut::from(format!("{line}\r\ncontent-length: 0\r\n\r\n").as_bytes());
        let head = read_answer(&mut input, &mut HeaderMap::new(), false).unwrap().unwrap().head;
        head.extensions.get::<hyper::ext::ReasonPhrase>().map(|reason| reason.as_bytes().to_vec())
    };
    assert_eq!(reason("HTTP/1.1 200 OK"), None);
    assert_eq!(reason("HTTP/1.1 200 Fine"), Some(b"Fine".to_vec()));
}

/// A version that says what it is given and then `answer`, beside a connection to it.
async fn beside(answer: &'static [u8]) -> (Connection, Rc<WriteBatcher>, std::thread::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let version = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut heard = vec![0; 100_000];
        let count = stream.read(&mut heard).unwrap();
        heard.truncate(count);
        stream.write_all(answer).unwrap();
        heard
    });
    let outbox = Rc::new(WriteBatcher::default());
    let connection = Connection::new(TcpStream::connect(address).await.unwrap(), &outbox);
    (connection, outbox, version)
}

#[tokio::test]
async fn a_connection_carries_a_request_and_sees_its_version_leave() {
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-a: \xe9\r\n\r\nhi";
    let (mut connection, outbox, version) = beside(answer).await;
    let request = Request::post("/x?y=1").header("host", "v").body(()).unwrap();
    let mut head = Some(request.into_parts().0);
    let mut body = Some(UpstreamBody::Whole(Some(Bytes::from_static(b"abc"))));
    let exchange = poll_fn(|cx| {
        if let Some(body) = body.take() {
            connection.begin(cx, head.take().unwrap(), body, false);
        }
        connection.poll_sending(cx).unwrap();
        connection.poll_head(cx)
    });
    let answered = tokio::select! {
        answered = exchange => answered.unwrap(),
        () = outbox.run(|| ()) => unreachable!(),
    };
    assert_eq!(answered.status, StatusCode::OK);
    assert_eq!(answered.headers["x-a"].as_bytes(), b"\xe9");
    assert!(!connection.is_idle());
    let frame = poll_fn(|cx| connection.poll_frame(cx)).await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "hi");
    assert!(connection.is_idle() && connection.is_end_of_body());
    assert_eq!(version.join().unwrap(), b"POST /x?y=1 HTTP/1.1\r\nhost: v\r\ncontent-length: 3\r\n\r\nabc");
    while !connection.has_ended() {
        tokio::task::yield_now().await;
    }
}
