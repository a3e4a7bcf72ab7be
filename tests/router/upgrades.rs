//! Changes of protocol, as WebSocket makes them.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use serin::metrics::recorder::FailureKind;

use crate::support::router::{TestRouter, patient};
use crate::support::uninterrupted;
use crate::support::upstream::{Script, read_request, write};

const ASK: &str =
    "GET /shop:live/chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n";
const CHANGED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n";

/// Says back in capitals what it hears, until it hears no more; then says goodbye.
fn shout(mut stream: TcpStream) {
    let mut bytes = [0; 1024];
    while let Ok(count @ 1..) = uninterrupted(|| stream.read(&mut bytes)) {
        write(&mut stream, bytes[..count].to_ascii_uppercase());
    }
    write(&mut stream, "bye");
}

fn serving(script: impl Fn(TcpStream, usize) + Send + Sync + 'static) -> (Script, TestRouter) {
    let version = Script::start(script);
    let router = TestRouter::serving(version.target(), patient());
    (version, router)
}

#[test]
fn what_follows_a_101_is_carried_both_ways_and_ends_with_either_side() {
    let (_version, router) = serving(|mut stream, _| {
        let head = read_request(&mut stream).unwrap().to_ascii_lowercase();
        assert!(
            head.contains("\r\nconnection: upgrade\r\n") && head.contains("\r\nupgrade: websocket\r\n"),
            "{head}"
        );
        assert!(head.contains("sec-websocket-key: abc"), "{head}");
        // With the head, as a server may that has something to say.
        write(&mut stream, format!("{CHANGED}Sec-WebSocket-Accept: xyz\r\n\r\nhello "));
        shout(stream);
    });
    let mut client = router.client();
    client.send(format!("{ASK}Sec-WebSocket-Key: abc\r\n\r\nearly "));
    let head = client.head().unwrap();
    assert_eq!((head.status, head.version()), (101, Some("1")));
    assert_eq!((head.header("connection"), head.header("upgrade")), (Some("upgrade"), Some("WebSocket")));
    assert_eq!(head.header("sec-websocket-accept"), Some("xyz"));
    let counts = router.counts()[0];
    assert_eq!((counts.dispatched, counts.in_flight()), (1, 1), "under way for as long as it is open");
    client.send("late");
    client.stream().shutdown(Shutdown::Write).unwrap();
    let (heard, is_clean) = client.rest();
    assert_eq!((String::from_utf8(heard).unwrap().as_str(), is_clean), ("hello EARLY LATEbye", true));
    let counts = router.settled(1);
    assert_eq!((counts.completed, counts.failures.total()), (1, 0), "{counts:?}");
}

#[test]
fn large_amounts_pass_a_tunnel_whole() {
    const BYTES: usize = 8 << 20;
    let (_version, router) = serving(|mut stream, _| {
        read_request(&mut stream);
        write(&mut stream, format!("{CHANGED}\r\n"));
        shout(stream);
    });
    let mut client = router.client();
    client.send(format!("{ASK}\r\n"));
    assert_eq!(client.head().unwrap().status, 101);
    let mut sending = client.stream().try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        sending.write_all(&vec![b'x'; BYTES]).unwrap();
        sending.shutdown(Shutdown::Write).unwrap();
    });
    let (heard, is_clean) = client.rest();
    sender.join().unwrap();
    assert!(is_clean && heard.len() == BYTES + 3 && heard[..BYTES].iter().all(|byte| *byte == b'X'));
}

#[test]
fn a_version_may_pass_an_upgrade_over() {
    let (version, router) = serving(|mut stream, _| {
        while read_request(&mut stream).is_some() {
            write(&mut stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno");
        }
    });
    let mut client = router.client();
    for _ in 0..2 {
        client.send(format!("{ASK}\r\n"));
        let answer = client.answer();
        assert_eq!((answer.status, answer.text()), (200, "no"), "there is no tunnel before a 101");
    }
    assert_eq!(version.connections(), 1);
    assert_eq!(router.settled(2).completed, 2);
}

#[test]
fn nobody_changes_to_what_was_not_asked_for() {
    for changed in
        ["Upgrade: irc\r\nConnection: upgrade", "Connection: upgrade", "Upgrade: websocke\r\nConnection: x"]
    {
        let (_version, router) = serving(move |mut stream, _| {
            read_request(&mut stream);
            write(&mut stream, format!("HTTP/1.1 101 Switching Protocols\r\n{changed}\r\n\r\n"));
        });
        let mut client = router.client();
        client.send(format!("{ASK}\r\n"));
        assert_eq!(client.answer().status, 502, "{changed}");
        router.assert_failed_once(FailureKind::Transport);
    }
}

#[test]
fn an_upgrade_with_a_body_is_refused_and_the_body_is_no_request() {
    let (version, router) = serving(|mut stream, _| {
        while read_request(&mut stream).is_some() {
            write(&mut stream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let mut client = router.client();
    let smuggled = "GET /shop:live/admin HTTP/1.1\r\nHost: a\r\n\r\n";
    client.send(format!("{ASK}Content-Length: {}\r\n\r\n{smuggled}", smuggled.len()));
    assert_eq!(client.answer().status, 501);
    assert_eq!(version.connections(), 0);
}
