//! Versions and clients that fail: what the other side sees, and what is counted, once, for whom.

use std::io::Read;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

use serin::metrics::recorder::FailureKind;
use serin::router::settings::Timeouts;

use crate::support::client::{Answer, Client};
use crate::support::router::{ALIAS, TestRouter, patient};
use crate::support::upstream::{Script, Version, read_request, reset, target, write};
use crate::support::{uninterrupted, until};

/// Asks a version that runs a script once.
fn asked_once(
    timeouts: Timeouts,
    script: impl Fn(TcpStream) + Send + Sync + 'static,
) -> (TestRouter, Answer) {
    let version = Script::start(move |mut stream, _| {
        read_request(&mut stream);
        script(stream);
    });
    let router = TestRouter::serving(version.target(), timeouts);
    let mut client = router.client();
    let answer = client.get("/shop:live/pay?card=1");
    assert_eq!(version.connections(), 1, "nothing is sent twice");
    (router, answer)
}

#[track_caller]
fn assert_own(answer: &Answer, status: u16, kind: &str) {
    assert_eq!((answer.status, answer.header("x-serin-error")), (status, Some(kind)), "{answer:?}");
    assert_eq!(answer.version(), Some("1"));
    assert_eq!(answer.json()["error"]["kind"], kind);
}

#[test]
fn a_version_that_does_not_listen() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let router = TestRouter::serving(target(free, ""), patient());
    assert_own(&router.client().get("/shop:live/x"), 502, "unreachable");
    router.assert_failed_once(FailureKind::Transport);
}

#[test]
fn a_version_that_accepts_no_connection() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    // Its queue is full, so the kernel drops further attempts.
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&addr, Duration::from_millis(100)) {
        queued.push(stream);
    }
    let timeouts = Timeouts { connect: Duration::from_millis(200), ..patient() };
    let router = TestRouter::serving(target(addr, ""), timeouts);
    let answer = router.client().get("/shop:live/x");
    assert_own(&answer, 502, "unreachable");
    assert!(answer.text().contains("within 0.2s") || answer.text().contains("does not answer"), "{answer:?}");
    router.assert_failed_once(FailureKind::Transport);
}

#[test]
fn a_name_that_does_not_resolve() {
    let router = TestRouter::serving(
        serin_core::lambda::function::Target::Http {
            url: "http://no-such-host.invalid".parse().unwrap(),
            health: None,
            timeouts: Default::default(),
        },
        patient(),
    );
    assert_own(&router.client().get("/shop:live/x"), 502, "unreachable");
    router.assert_failed_once(FailureKind::Transport);
}

#[test]
fn a_version_that_resets_or_closes_before_it_answers() {
    let (router, answer) = asked_once(patient(), reset);
    assert_own(&answer, 502, "broken");
    router.assert_failed_once(FailureKind::Transport);
    let (router, answer) = asked_once(patient(), drop);
    assert_own(&answer, 502, "broken");
    router.assert_failed_once(FailureKind::Transport);
}

#[test]
fn a_version_that_answers_nonsense() {
    for nonsense in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nx y: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ] {
        let (router, answer) = asked_once(patient(), move |mut stream| {
            write(&mut stream, nonsense);
            // Keeps the connection, so that the answer alone is to blame.
            let _ = uninterrupted(|| stream.read(&mut [0]));
        });
        assert_own(&answer, 502, "broken");
        router.assert_failed_once(FailureKind::Transport);
    }
    let (router, answer) = asked_once(patient(), |mut stream| {
        write(&mut stream, format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(70_000)));
        let _ = uninterrupted(|| stream.read(&mut [0]));
    });
    assert_own(&answer, 502, "broken");
    router.assert_failed_once(FailureKind::Transport);
}

#[test]
fn interim_answers_are_passed_over() {
    let (router, answer) = asked_once(patient(), |mut stream| {
        for _ in 0..100 {
            write(&mut stream, "HTTP/1.1 102 Processing\r\nx: 1\r\n\r\n");
        }
        write(&mut stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    assert_eq!((answer.status, answer.text()), (200, "ok"));
    assert_eq!(router.settled(1).failures.total(), 0);
}

#[test]
fn a_version_that_hangs_is_a_timeout_and_its_connection_is_closed() {
    let (closed, is_closed) = mpsc::channel();
    let closed = Mutex::new(closed);
    let timeouts = Timeouts { response_head: Duration::from_millis(100), ..patient() };
    let (router, answer) = asked_once(timeouts, move |mut stream| {
        let _ = closed.lock().unwrap().send(uninterrupted(|| stream.read(&mut [0])).map_or(0, |count| count));
    });
    assert_own(&answer, 504, "timeout");
    router.assert_failed_once(FailureKind::Timeout);
    assert_eq!(is_closed.recv_timeout(Duration::from_secs(10)), Ok(0));
}

#[test]
fn an_answer_that_breaks_off_reaches_the_client_as_broken() {
    for head in [
        "Content-Length: 10\r\n\r\nhalf",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf!\r\n0\r\n\r\n",
    ] {
        for end in [drop::<TcpStream>, reset] {
            let (router, answer) = asked_once(patient(), move |mut stream| {
                write(&mut stream, format!("HTTP/1.1 200 OK\r\n{head}"));
                end(stream);
            });
            // A version's reset may outrun its head.
            match answer.status {
                502 => assert_own(&answer, 502, "broken"),
                _ => assert!(answer.status == 200 && !answer.is_whole, "{head}: {answer:?}"),
            }
            router.assert_failed_once(FailureKind::Transport);
        }
    }
}

#[test]
fn a_client_that_reads_to_the_end_is_not_told_that_a_broken_answer_ended() {
    let version = Script::start(|mut stream, _| {
        read_request(&mut stream);
        write(&mut stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
    });
    let router = TestRouter::serving(version.target(), patient());
    let mut client = router.client();
    client.send("GET /shop:live/x HTTP/1.0\r\n\r\n");
    let answer = client.try_answer_to("GET");
    assert!(answer.is_none_or(|answer| !answer.is_whole), "a clean end");
    router.assert_failed_once(FailureKind::Transport);
}

#[test]
fn an_answer_that_stands_still_breaks_off() {
    let timeouts = Timeouts { body_idle: Duration::from_millis(100), ..patient() };
    let (router, answer) = asked_once(timeouts, |mut stream| {
        write(&mut stream, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        let _ = uninterrupted(|| stream.read(&mut [0]));
    });
    assert!(answer.status == 200 && !answer.is_whole, "{answer:?}");
    router.assert_failed_once(FailureKind::Transport);
}

#[test]
fn a_failed_answer_that_breaks_off_fails_once() {
    let (router, answer) = asked_once(patient(), |mut stream| {
        write(&mut stream, "HTTP/1.1 503 Busy\r\nContent-Length: 10\r\n\r\nhalf");
    });
    assert!(answer.status == 503 && !answer.is_whole);
    router.assert_failed_once(FailureKind::Status);
}

#[test]
fn more_than_the_promised_length_is_cut_off_and_the_connection_not_used_again() {
    let version = Script::start(|mut stream, _| {
        while read_request(&mut stream).is_some() {
            write(&mut stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n");
        }
    });
    let router = TestRouter::serving(version.target(), patient());
    let mut client = router.client();
    for _ in 0..3 {
        assert_eq!(client.get("/shop:live/x").text(), "ok");
    }
    assert_eq!(version.connections(), 3);
    assert_eq!(router.settled(3).failures.total(), 0);
}

#[test]
fn an_answer_with_two_framings_is_passed_on_with_one() {
    let (router, answer) = asked_once(patient(), |mut stream| {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n";
        write(&mut stream, format!("{head}2\r\nok\r\n0\r\n\r\n"));
    });
    assert_eq!((answer.text(), answer.is_whole, answer.header("content-length")), ("ok", true, None));
    assert_eq!(router.settled(1).failures.total(), 0);
}

#[test]
fn a_canary_that_fails_raises_the_alarm_and_is_remembered() {
    let (one, two) = (Version::start("one"), Version::start("two"));
    let router = TestRouter::splitting(one.target(), two.target(), 1_000_000);
    let trace = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut client = router.client();
    for _ in 0..3 {
        let answer = client.ask("PUT", "/shop:live/a/status/503?card=1", &[trace]);
        assert_eq!((answer.status, answer.text(), answer.version()), (503, "two", Some("2")));
        assert_eq!(answer.header("x-serin-error"), None, "it is the version's own");
    }
    assert_eq!(router.alarms.load(Ordering::SeqCst), 1);
    let recent = router.recorder.recent_failures(&ALIAS.parse().unwrap());
    assert_eq!(recent.len(), 3);
    let note = &recent[0].note;
    assert_eq!((note.method.as_str(), note.fault.as_str()), ("PUT", "503"));
    assert_eq!(note.path, "/shop:live/a/status/503");
    assert_eq!(note.trace_id.as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
}

#[test]
fn a_client_that_goes_away_is_no_failure_and_takes_its_request_with_it() {
    let one = Version::start("one");
    let router = TestRouter::serving(one.target(), patient());
    let mut waiting = router.client();
    waiting.send("GET /shop:live/hang HTTP/1.1\r\nHost: a\r\n\r\n");
    until("the version has the request", || one.seen().requests() == 1);
    drop(waiting);
    let counts = router.settled(1);
    assert_eq!((counts.cancelled, counts.completed, counts.failures.total()), (1, 0, 0));
    until("the version hears of it", || one.seen().dropped.load(Ordering::SeqCst) == 1);

    let mut reading = router.client();
    reading.send("GET /shop:live/body/100000000 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(reading.read_some() > 0);
    drop(reading);
    let counts = router.settled(2);
    assert_eq!((counts.cancelled, counts.failures.total()), (2, 0));
}

#[test]
fn a_client_that_stops_reading_is_let_go() {
    let one = Version::start("one");
    let timeouts = Timeouts { body_idle: Duration::from_millis(300), ..patient() };
    let router = TestRouter::serving(one.target(), timeouts);
    let mut stuck = router.client();
    stuck.send("GET /shop:live/body/100000000 HTTP/1.1\r\nHost: a\r\n\r\n");
    let counts = router.settled(1);
    assert_eq!((counts.cancelled, counts.completed, counts.failures.total()), (1, 0, 0));
}

#[test]
fn a_client_that_fails_to_send_its_body_is_no_failure() {
    let one = Version::start("one");
    let timeouts = Timeouts {
        body_idle: Duration::from_millis(200),
        response_head: Duration::from_millis(50),
        ..patient()
    };
    let router = TestRouter::serving(one.target(), timeouts);
    let half = "POST /shop:live/sink HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf";
    let mut stalled = router.client();
    stalled.send(half);
    assert_own(&stalled.answer(), 408, "request-body");
    let mut broken = router.client();
    broken.send(half);
    until("the version has the request", || one.seen().requests() == 2);
    drop(broken);
    let mut malformed = router.client();
    malformed.send("POST /shop:live/sink HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
    assert_own(&malformed.answer(), 400, "request-body");
    let counts = router.settled(3);
    assert_eq!((counts.cancelled, counts.completed, counts.failures.total()), (3, 0, 0));
}

#[test]
fn the_wait_for_an_answer_begins_when_the_version_has_the_whole_request() {
    let one = Version::start("one");
    let timeouts = Timeouts { response_head: Duration::from_millis(200), ..patient() };
    let router = TestRouter::serving(one.target(), timeouts);
    let mut slow = router.client();
    slow.send("POST /shop:live/sink HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n");
    for piece in ["01234", "56789"] {
        // Slower than the limit: it is the client who takes the time.
        std::thread::sleep(Duration::from_millis(250));
        slow.send(piece);
    }
    let answer = slow.answer();
    assert_eq!((answer.status, answer.text()), (200, "10"));
    slow.send("POST /shop:live/hang HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok");
    assert_own(&slow.answer(), 504, "timeout");
    assert_eq!(router.settled(2).failures.of(FailureKind::Timeout), 1);
}

#[test]
fn a_version_that_does_not_read_is_a_timeout() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let version = Script::start(move |_stream, _| {
        let _ = released.lock().unwrap().recv();
    });
    let timeouts = Timeouts { body_idle: Duration::from_millis(300), ..patient() };
    let router = TestRouter::serving(version.target(), timeouts);
    let mut client = router.client();
    client.send("POST /shop:live/sink HTTP/1.1\r\nHost: a\r\nContent-Length: 200000000\r\n\r\n");
    let sending = client.stream().try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        let piece = [0; 64 * 1024];
        while std::io::Write::write_all(&mut &sending, &piece).is_ok() {}
    });
    // The answer may be lost in the reset that follows it, for the client goes on sending; the count is not.
    router.assert_failed_once(FailureKind::Timeout);
    client.stream().shutdown(Shutdown::Both).ok();
    sender.join().unwrap();
    drop(release);
}

#[test]
fn an_answer_before_the_end_of_the_request_is_passed_on() {
    let version = Script::start(|mut stream, _| {
        let mut head = [0; 1024];
        let _ = uninterrupted(|| stream.read(&mut head));
        write(&mut stream, "HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlarge");
        // Reads on, so that the answer is not lost in a reset.
        while uninterrupted(|| stream.read(&mut head)).is_ok_and(|count| count > 0) {}
    });
    let router = TestRouter::serving(version.target(), patient());
    let mut client = router.client();
    client.send("POST /shop:live/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nbegin");
    let answer = client.answer();
    assert_eq!((answer.status, answer.text(), answer.is_whole), (413, "large", true));
    let counts = router.settled(1);
    assert_eq!((counts.completed, counts.failures.total()), (1, 0));
}

#[test]
fn a_connection_that_was_closed_while_idle_costs_no_request() {
    let version = Script::start(|mut stream, _| {
        if read_request(&mut stream).is_some() {
            write(&mut stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
        // Closed without a word, as servers do after their idle timeout.
    });
    let router = TestRouter::serving(version.target(), patient());
    let mut client = router.client();
    for request in 1..=20 {
        let answer = client.post("/shop:live/x", &[], "once");
        assert_eq!((answer.status, answer.text()), (200, "ok"), "request {request}");
        // The next request shall find the connection closed, not closing.
        until("the close arrived", || version.connections() == request);
        std::thread::sleep(Duration::from_millis(5));
    }
    let counts = router.settled(20);
    assert_eq!((counts.completed, counts.failures.total()), (20, 0));
}

#[test]
fn a_version_that_says_when_it_hangs_up_is_believed() {
    let version = Script::start(|mut stream, _| {
        while read_request(&mut stream).is_some() {
            write(&mut stream, "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let router = TestRouter::serving(version.target(), patient());
    let mut client = router.client();
    for _ in 0..3 {
        assert_eq!(client.get("/shop:live/x").text(), "ok");
    }
    assert_eq!(version.connections(), 3, "a second before its timeout of one second is at once");
}

#[test]
fn requests_at_once_each_have_a_connection_and_share_them_later() {
    let one = Version::start("one");
    let router = TestRouter::serving(one.target(), patient());
    let mut clients: Vec<Client> = (0..10).map(|_| router.client()).collect();
    for _ in 0..5 {
        for client in &mut clients {
            client.send("GET /shop:live/x HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        for client in &mut clients {
            assert_eq!(client.answer().text(), "one");
        }
    }
    router.settled(50);
    let used = one.seen().connections();
    assert!(used <= 10, "{used} connections for ten requests at a time");
}

#[test]
fn an_answer_is_not_lost_to_a_client_that_still_sends() {
    let router = TestRouter::serving(Version::start("one").target(), patient());
    let body = vec![b'x'; 4 * 1024 * 1024];
    for _ in 0..10 {
        let mut client = router.client();
        let answer = client.post("/shop:prod/x", &[], &body);
        assert_eq!((answer.status, answer.header("x-serin-error")), (404, Some("unknown-alias")));
    }
}
