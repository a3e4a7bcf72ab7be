//! Clients that are gone, by a reset, while nobody reads what they send.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::client::Client;
use crate::support::router::TestRouter;
use crate::support::upstream::{Script, reset};
use crate::support::{uninterrupted, until};

/// A version that takes nothing of a body, having answered as it is told.
fn taking_nothing(answer: &'static str) -> Script {
    Script::start(move |mut stream: TcpStream, _| {
        // It does not come while the head is here: a body is announced and kept waiting.
        let mut head = [0; 512];
        let _ = uninterrupted(|| stream.read(&mut head));
        let _ = stream.write_all(answer.as_bytes());
        // Longer than any test waits; the thread is nobody's.
        std::thread::sleep(Duration::from_secs(120));
    })
}

/// Uploads as much as is taken of a body without an end.
fn upload(client: &Client) {
    let mut stream = client.stream();
    stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let piece = vec![b'x'; 64 * 1024];
    loop {
        match stream.write(&piece) {
            Ok(_) => {}
            Err(why) if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return,
            Err(why) => panic!("it is still there: {why}"),
        }
    }
}

#[test]
fn a_reset_in_an_upload_is_noticed_though_the_version_takes_nothing_of_it() {
    for answer in ["", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"] {
        let version = taking_nothing(answer);
        let router = TestRouter::serving(version.target(), crate::support::router::patient());
        let connections = router.running().connections();
        let mut client = router.client();
        client.send("POST /shop:live/up HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n");
        if !answer.is_empty() {
            assert_eq!(client.head().unwrap().status, 200);
        }
        upload(&client);
        assert_eq!((connections.open(), router.counts()[0].in_flight()), (1, 1));
        reset(client.stream().try_clone().unwrap());
        drop(client);
        until("it is noticed", || connections.open() == 0);
        let counts = router.settled(1);
        assert_eq!((counts.cancelled, counts.failures.total()), (1, 0), "{counts:?}");
    }
}
