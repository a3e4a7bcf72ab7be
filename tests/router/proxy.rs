//! The PROXY protocol before plain connections and TLS.

use std::time::Duration;

use serin::metrics::connections::Refused;
use serin::router::settings::{RouterConfig, Timeouts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::client::Client;
use crate::support::router::{TestRouter, config, patient};
use crate::support::tls::{Authority, Greeting, NAME};
use crate::support::upstream::Version;

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const REQUEST: &str = "GET /shop:live/echo HTTP/1.1\r\nHost: a\r\n\r\n";

fn wanting(timeouts: Timeouts) -> RouterConfig {
    RouterConfig { wants_proxy_header: true, ..config(timeouts) }
}

fn forwarded_for(client: &mut Client) -> String {
    let echo = client.answer().json();
    let headers = echo["headers"].as_array().unwrap();
    let line = headers.iter().find(|line| line[0] == "x-forwarded-for").unwrap();
    line[1].as_str().unwrap().to_owned()
}

#[test]
fn the_client_is_whom_the_header_names() {
    let one = Version::start("one");
    let router = TestRouter::listening(one.target(), wanting(patient()));
    let v2 = |rest: &[u8]| [V2, rest].concat();
    let addresses = [192, 0, 2, 9, 10, 0, 0, 1, 19, 136, 0, 80];
    let tlv = [&[0x21, 0x11, 0, 17][..], &addresses, &[4, 0, 2, b'x', b'y']].concat();
    for (header, address) in [
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 80\r\n".to_vec(), "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 ::1 5000 80\r\n".to_vec(), "2001:db8::7"),
        (b"PROXY TCP6 ::ffff:192.0.2.8 ::1 5000 80\r\n".to_vec(), "192.0.2.8"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (v2(&[&[0x21, 0x11, 0, 12][..], &addresses].concat()), "192.0.2.9"),
        (v2(&tlv), "192.0.2.9"),
        (v2(&[0x20, 0, 0, 0]), "127.0.0.1"),
    ] {
        // In one piece with the request, and byte by byte.
        let mut at_once = router.client();
        at_once.send([&header, REQUEST.as_bytes()].concat());
        assert_eq!(forwarded_for(&mut at_once), address, "{header:?}");
        let mut slowly = router.client();
        for byte in &header {
            slowly.send([*byte]);
        }
        slowly.send(REQUEST);
        assert_eq!(forwarded_for(&mut slowly), address, "{header:?}");
        slowly.send(REQUEST);
        assert_eq!(forwarded_for(&mut slowly), address, "also of the next request");
    }
}

#[test]
fn what_is_no_header_is_closed_and_counted() {
    let one = Version::start("one");
    let router = TestRouter::listening(one.target(), wanting(patient()));
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(200));
    let v2_long = [V2, &[0x21, 0x11, 0xff, 0xff]].concat();
    let cases: [&[u8]; 7] = [
        REQUEST.as_bytes(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 5000\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 80\nGET / HTTP/1.1\r\n\r\n",
        b"PROXY TCP4 300.0.2.7 10.0.0.1 5000 80\r\n",
        long.as_bytes(),
        &v2_long,
    ];
    for (index, case) in cases.iter().enumerate() {
        let mut client = router.client();
        client.send(case);
        assert!(client.is_closed(), "{:?}", String::from_utf8_lossy(case));
        assert_eq!(router.running().connections().refused(Refused::ProxyHeader), index as u64 + 1);
    }
    assert_eq!(one.seen().requests(), 0);
}

#[test]
fn a_header_does_not_take_for_ever() {
    let one = Version::start("one");
    let timeouts = Timeouts { handshake: Duration::from_millis(100), ..patient() };
    let router = TestRouter::listening(one.target(), wanting(timeouts));
    for start in [&b""[..], b"PROXY TCP4 192.0.2.7", &V2[..5]] {
        let mut client = router.client();
        client.send(start);
        assert!(client.is_closed());
    }
    assert_eq!(router.running().connections().refused(Refused::ProxyHeader), 3);
}

#[test]
fn tls_follows_the_header() {
    let (one, authority) = (Version::start("one"), Authority::new());
    let tls = Some(authority.listener(None));
    let router = TestRouter::listening(one.target(), RouterConfig { tls, ..wanting(patient()) });
    let addr = router.running().tls_addr().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = runtime.block_on(async {
        let mut tcp = tokio::net::TcpStream::connect(addr).await.unwrap();
        tcp.write_all(b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 443\r\n").await.unwrap();
        let mut stream = authority.connect_over(tcp, Greeting::default()).await.unwrap();
        let request = format!("GET /shop:live/echo HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    });
    for line in [r#"["x-forwarded-for","192.0.2.7"]"#, r#"["x-forwarded-proto","https"]"#] {
        assert!(answer.contains(line), "{answer}");
    }
}
