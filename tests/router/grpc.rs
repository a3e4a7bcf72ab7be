//! gRPC through the router: the status in the trailers decides what became of a call, whoever speaks which HTTP.

use serin::metrics::recorder::{Counts, FailureKind};

use crate::support::http2::{Frames, Http2, post};
use crate::support::router::{ALIAS, TestRouter, patient};
use crate::support::upstream::{Script, read_request, write};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Headers in HPACK, each a literal.
fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            block.push(text.len() as u8);
            block.extend(text.as_bytes());
        }
    }
    block
}

/// How a call ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// With trailers behind a message.
    Trailers(Option<&'static str>),
    /// With a head alone.
    Alone(&'static str),
}

/// A version that speaks gRPC in HTTP/2 and ends every call in the same way.
fn http2(end: End) -> Script {
    Script::start(move |stream, _| {
        let mut frames = Frames::accept(stream);
        while let Some(head) = frames.read_until(HEADERS) {
            let ok = [(":status", "200"), ("content-type", "application/grpc+proto")];
            match end {
                End::Alone(status) => {
                    let head_alone = [&ok[..], &[("grpc-status", status)]].concat();
                    frames.send(HEADERS, END_HEADERS | END_STREAM, head.stream, &block(&head_alone));
                }
                End::Trailers(status) => {
                    frames.send(HEADERS, END_HEADERS, head.stream, &block(&ok));
                    frames.send(DATA, 0, head.stream, b"\0\0\0\0\x02hi");
                    let trailer = status.map_or(("x-sum", "1"), |status| ("grpc-status", status));
                    frames.send(HEADERS, END_HEADERS | END_STREAM, head.stream, &block(&[trailer]));
                }
            }
        }
    })
}

/// The same in HTTP/1.1.
fn http1(end: End) -> Script {
    Script::start(move |mut stream, _| {
        while read_request(&mut stream).is_some() {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\n";
            match end {
                End::Alone(status) => {
                    write(&mut stream, format!("{head}grpc-status: {status}\r\nContent-Length: 0\r\n\r\n"));
                }
                End::Trailers(status) => {
                    let trailer =
                        status.map_or("x-sum: 1".to_owned(), |status| format!("grpc-status: {status}"));
                    write(
                        &mut stream,
                        format!(
                            "{head}Transfer-Encoding: chunked\r\n\r\n7\r\n\0\0\0\0\x02hi\r\n0\r\n{trailer}\r\n\r\n"
                        ),
                    );
                }
            }
        }
    })
}

/// What is counted of a call by an HTTP/2 client and one by an HTTP/1.1 client.
fn called(version: &Script, speaks_http2: bool) -> (TestRouter, Counts) {
    let target = if speaks_http2 { version.target_http2() } else { version.target() };
    let router = TestRouter::serving(target, patient());
    let mut client = Http2::connect(router.addr());
    let mut request = post("/shop:live/pay.Pay/Charge", "\0\0\0\0\0");
    request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    request.headers_mut().insert("te", "trailers".parse().unwrap());
    assert_eq!(client.send(request).unwrap().head.status, 200);
    let lines = ["Content-Type: application/grpc", "TE: trailers", "Connection: TE"];
    assert_eq!(router.client().post("/shop:live/pay.Pay/Charge", &lines, "\0\0\0\0\0").status, 200);
    let counts = router.settled(2);
    (router, counts)
}

fn on_every_path(end: End, check: impl Fn(&TestRouter, &Counts, &str)) {
    let (router, counts) = called(&http2(end), true);
    check(&router, &counts, &format!("{end:?} over HTTP/2"));
    let (router, counts) = called(&http1(end), false);
    check(&router, &counts, &format!("{end:?} over HTTP/1.1"));
}

#[test]
fn a_call_that_the_server_fails_is_a_failure() {
    for (status, fault) in [
        ("2", "grpc-status 2 UNKNOWN"),
        ("13", "grpc-status 13 INTERNAL"),
        ("14", "grpc-status 14 UNAVAILABLE"),
    ] {
        for end in [End::Trailers(Some(status)), End::Alone(status)] {
            on_every_path(end, |router, counts, what| {
                assert_eq!((counts.completed, counts.failures.of(FailureKind::Status)), (2, 2), "{what}");
                let recent = router.recorder.recent_failures(&ALIAS.parse().unwrap());
                assert_eq!(recent[0].note.fault, fault, "{what}");
            });
        }
    }
}

#[test]
fn a_call_that_ends_without_a_status_is_a_failure() {
    on_every_path(End::Trailers(None), |_, counts, what| {
        assert_eq!((counts.completed, counts.failures.of(FailureKind::Transport)), (2, 2), "{what}");
    });
}

#[test]
fn a_call_that_is_answered_or_refused_is_none() {
    for status in ["0", "3", "5", "7", "16"] {
        for end in [End::Trailers(Some(status)), End::Alone(status)] {
            on_every_path(end, |_, counts, what| {
                assert_eq!((counts.completed, counts.failures.total()), (2, 0), "{what}");
            });
        }
    }
}

/// Its client is there, or there were no answer: it is the version that called the call off.
#[test]
fn a_call_that_its_version_calls_off_is_refused() {
    for end in [End::Trailers(Some("1")), End::Alone("1")] {
        on_every_path(end, |_, counts, what| {
            assert_eq!((counts.cancelled, counts.completed, counts.refused), (0, 2, 2), "{what}");
            assert_eq!(counts.failures.total(), 0, "{what}");
        });
    }
}
