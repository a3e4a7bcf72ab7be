//! Large bodies, both ways, without holding them.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serin::router::settings::RouterConfig;

use crate::support::client::Client;
use crate::support::router::{TestRouter, config, patient};
use crate::support::uninterrupted;
use crate::support::upstream::{Script, Version, read_request};

const LARGE: usize = 256 * 1024 * 1024;
/// What sockets and buffers on the way may hold; a router that held bodies would exceed it many times over.
const ON_THE_WAY_MAX: usize = 32 * 1024 * 1024;

#[test]
fn a_large_body_goes_down_whole() {
    let one = Version::start("one");
    let router = TestRouter::serving(one.target(), patient());
    for path in ["body", "chunks"] {
        let mut client = router.client();
        client.send(format!("GET /shop:live/{path}/{LARGE} HTTP/1.0\r\n\r\n"));
        client.head().expect("a head");
        let mut sum = 0;
        loop {
            match client.read_some() {
                0 => break,
                count => sum += count,
            }
        }
        assert_eq!(sum, LARGE, "{path}");
    }
    let counts = router.settled(2);
    assert_eq!((counts.completed, counts.failures.total()), (2, 0));
}

#[test]
fn a_large_body_goes_up_whole() {
    let one = Version::start("one");
    let router = TestRouter::serving(one.target(), patient());
    let mut client = router.client();
    client.send(format!("POST /shop:live/sink HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n"));
    let piece = [0; 64 * 1024];
    for _ in 0..LARGE / piece.len() {
        client.send(piece);
    }
    assert_eq!(client.answer().text(), LARGE.to_string());
    let text = client.get("/shop:live/x");
    assert_eq!(text.text(), "one", "the connection goes on");
}

#[test]
fn a_client_that_does_not_read_holds_the_version_back() {
    let (wrote, written) = mpsc::channel();
    let wrote = Mutex::new(wrote);
    let version = Script::start(move |mut stream, _| {
        read_request(&mut stream);
        stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n").as_bytes());
        let (piece, mut sum) = ([0; 64 * 1024], 0);
        while sum < LARGE {
            match stream.write(&piece[..piece.len().min(LARGE - sum)]) {
                Ok(count) => sum += count,
                // Stuck: that is what this tests. Goes on when the client reads.
                Err(_) => {
                    let _ = wrote.lock().unwrap().send(sum);
                    stream.set_write_timeout(None).unwrap();
                }
            }
        }
    });
    let router = TestRouter::serving(version.target(), patient());
    let mut client = router.client();
    client.send("GET /shop:live/x HTTP/1.1\r\nHost: a\r\n\r\n");
    let stuck_at = written.recv_timeout(Duration::from_secs(10)).expect("the version is held back");
    assert!(stuck_at < ON_THE_WAY_MAX, "{stuck_at} bytes on the way to a client that does not read");
    client.head().expect("a head");
    let mut sum = 0;
    while sum < LARGE {
        match client.read_some() {
            0 => break,
            count => sum += count,
        }
    }
    assert_eq!(sum, LARGE);
}

#[test]
fn a_version_that_does_not_read_holds_the_client_back() {
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let may_go_on = Mutex::new(may_go_on);
    let version = Script::start(move |mut stream, _| {
        let _ = may_go_on.lock().unwrap().recv();
        let mut piece = [0; 64 * 1024];
        while uninterrupted(|| stream.read(&mut piece)).is_ok_and(|count| count > 0) {}
    });
    let router = TestRouter::serving(version.target(), patient());
    let mut client = router.client();
    client.send(format!("POST /shop:live/x HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n"));
    client.stream().set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let (piece, mut sum) = ([0; 64 * 1024], 0);
    while let Ok(count) = client.stream().write(&piece) {
        sum += count;
        assert!(sum < ON_THE_WAY_MAX, "{sum} bytes on the way to a version that does not read");
    }
    go_on.send(()).unwrap();
    client.stream().shutdown(Shutdown::Both).unwrap();
}

#[test]
fn a_client_that_reads_only_after_it_has_sent_all_still_sends() {
    const BOTH_WAYS: usize = 64 * 1024 * 1024;
    // Answers as soon as a request begins, and at length, and reads all the while.
    let version = Script::start(|stream, _| {
        let (mut reading, mut writing) = (stream.try_clone().unwrap(), stream);
        let mut piece = [0; 64 * 1024];
        let _ = uninterrupted(|| reading.read(&mut piece));
        let writer = std::thread::spawn(move || {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BOTH_WAYS}\r\n\r\n");
            let _ = writing.write_all(head.as_bytes());
            let _ = writing.write_all(&vec![0; BOTH_WAYS]);
        });
        while uninterrupted(|| reading.read(&mut piece)).is_ok_and(|count| count > 0) {}
        writer.join().unwrap();
    });
    let router = TestRouter::serving(version.target(), patient());
    let mut client = router.client();
    client.stream().set_write_timeout(Some(Duration::from_secs(10))).unwrap();
    client.send(format!("POST /shop:live/x HTTP/1.1\r\nHost: a\r\nContent-Length: {BOTH_WAYS}\r\n\r\n"));
    client.send(vec![b'x'; BOTH_WAYS]);
    client.head().expect("a head");
    let mut sum = 0;
    while sum < BOTH_WAYS {
        match client.read_some() {
            0 => break,
            count => sum += count,
        }
    }
    assert_eq!(sum, BOTH_WAYS);
    assert_eq!(router.settled(1).completed, 1);
}

#[test]
fn bodies_go_up_and_down_at_once() {
    // Answers while the request still comes: neither direction may wait for the other's end.
    let version = Script::start(|mut stream, _| {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n")
            && uninterrupted(|| stream.read(&mut byte)).is_ok_and(|count| count == 1)
        {
            head.push(byte[0]);
        }
        let length = 1_000_000;
        let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes());
        let (mut piece, mut sum) = ([0; 10_000], 0);
        while sum < length {
            stream.read_exact(&mut piece).expect("more of the request");
            stream.write_all(&piece).expect("room for more of the answer");
            sum += piece.len();
        }
    });
    let router = TestRouter::serving(version.target(), patient());
    let mut client = router.client();
    client.send("POST /shop:live/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    client.send([b'x'; 10_000]);
    client.head().expect("a head before the request is through");
    let mut received = 0;
    for piece in 1..=100_usize {
        while received < piece * 10_000 {
            match client.read_some() {
                0 => panic!("the answer ended after {received}"),
                count => received += count,
            }
        }
        if piece < 100 {
            client.send([b'x'; 10_000]);
        }
    }
    assert_eq!(router.settled(1).failures.total(), 0);
}

/// Requests that come all at once go up all at once, more of them than one task may send in a turn.
#[test]
fn many_at_once_all_get_their_answer() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let one = Version::start("one");
    let router = TestRouter::listening(one.target(), RouterConfig { workers: Some(1), ..config(patient()) });
    let mut clients: Vec<Client> = (0..400).map(|_| router.client()).collect();
    for round in 0..10 {
        for client in &mut clients {
            client.send("GET /shop:live/x HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        for (index, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.answer().text(), "one", "client {index}, round {round}");
        }
    }
}
