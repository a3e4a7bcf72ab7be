//! TLS of clients: what is agreed on, who is let in, and certificates that change while requests run.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serin::metrics::connections::Refused;
use serin::router::server::Router;
use serin::router::settings::{RouterConfig, Timeouts, TlsConfig};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ProtocolVersion, SupportedProtocolVersion};

use crate::support::http2::Http2;
use crate::support::router::{TestRouter, config, patient};
use crate::support::tls::{Authority, Greeting, NAME};
use crate::support::until;
use crate::support::upstream::{Script, Version, read_request, write};

/// The first day of the year 4096, until which certificates are signed here.
const AUTHORITY_ENDS_AT_S: i64 = 67_090_118_400;

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn serving(one: &Version, tls: TlsConfig) -> (TestRouter, SocketAddr) {
    let router = TestRouter::listening(one.target(), RouterConfig { tls: Some(tls), ..config(patient()) });
    let addr = router.running().tls_addr().unwrap();
    (router, addr)
}

/// One request on a connection of its own: everything that came, and whether it ended as TLS ends.
async fn ask(
    authority: &Authority,
    addr: SocketAddr,
    path: &str,
    greeting: Greeting<'_>,
) -> std::io::Result<(String, bool)> {
    let mut stream = authority.connect(addr, greeting).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut piece).await {
            Ok(0) => return Ok((String::from_utf8_lossy(&answer).into_owned(), true)),
            Ok(count) => answer.extend_from_slice(&piece[..count]),
            Err(error) if answer.is_empty() => return Err(error),
            Err(_) => return Ok((String::from_utf8_lossy(&answer).into_owned(), false)),
        }
    }
}

#[test]
fn both_versions_of_tls_carry_both_versions_of_http() {
    let (one, authority) = (Version::start("one"), std::sync::Arc::new(Authority::new()));
    let (router, addr) = serving(&one, authority.listener(None));
    const ONLY: [(&[&SupportedProtocolVersion], ProtocolVersion); 2] =
        [(&[&TLS12], ProtocolVersion::TLSv1_2), (&[&TLS13], ProtocolVersion::TLSv1_3)];
    for (versions, agreed) in ONLY {
        for (protocols, chosen) in
            [(&["http/1.1", "h2"][..], Some("h2")), (&["http/1.1"], Some("http/1.1")), (&[], None)]
        {
            let greeting = Greeting { protocols, versions: Some(versions), ..Greeting::default() };
            let stream = run(authority.connect(addr, greeting.clone())).unwrap();
            let session = stream.get_ref().1;
            assert_eq!(session.protocol_version(), Some(agreed));
            assert_eq!(session.alpn_protocol(), chosen.map(str::as_bytes));
            if chosen != Some("h2") {
                let (answer, is_clean) = run(ask(&authority, addr, "/shop:live/echo", greeting)).unwrap();
                assert!(answer.contains(r#"["x-forwarded-proto","https"]"#) && is_clean, "{answer}");
            }
        }
        let shared = std::sync::Arc::clone(&authority);
        let mut client = Http2::over(async move {
            let greeting = Greeting { protocols: &["h2"], versions: Some(versions), ..Greeting::default() };
            shared.connect(addr, greeting).await.unwrap()
        });
        assert!(client.get("/shop:live/echo").text().contains(r#"["x-forwarded-proto","https"]"#));
        assert_eq!(client.get("/shop:live/body/3000000").body.len(), 3_000_000);
    }
    let unknown = Greeting { protocols: &["spdy/3"], ..Greeting::default() };
    assert!(run(authority.connect(addr, unknown)).is_err());
    assert_eq!(router.client().get("/shop:live/x").text(), "one", "the plain address is there, too");
}

#[test]
fn a_handshake_that_fails_or_stalls_is_closed_and_counted() {
    let (one, authority) = (Version::start("one"), Authority::new());
    let timeouts = Timeouts { handshake: Duration::from_millis(200), ..patient() };
    let tls = Some(authority.listener(None));
    let router = TestRouter::listening(one.target(), RouterConfig { tls, ..config(timeouts) });
    let addr = router.running().tls_addr().unwrap();
    let mut silent = crate::support::client::Client::connect(addr);
    assert!(silent.is_closed());
    let mut plain = crate::support::client::Client::connect(addr);
    plain.send("GET /shop:live/x HTTP/1.1\r\nHost: a\r\n\r\n");
    let (said, _) = plain.rest();
    let said = String::from_utf8(said).unwrap();
    assert!(said.starts_with("HTTP/1.1 400 Bad Request\r\n") && said.contains("https://"), "{said}");
    let mut nonsense = crate::support::client::Client::connect(addr);
    nonsense.send([0x16, 3, 1, 0, 1, 9]);
    let (said, _) = nonsense.rest();
    assert!(!said.starts_with(b"HTTP"));
    until("all are counted", || router.running().connections().refused(Refused::TlsHandshake) == 3);
    assert_eq!(one.seen().requests(), 0);
}

#[test]
fn a_broken_answer_does_not_end_as_tls_ends() {
    let authority = Authority::new();
    let version = Script::start(|mut stream, _| {
        read_request(&mut stream);
        write(&mut stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
    });
    let tls = Some(authority.listener(None));
    let router = TestRouter::listening(version.target(), RouterConfig { tls, ..config(patient()) });
    let addr = router.running().tls_addr().unwrap();
    if let Ok((answer, is_clean)) = run(ask(&authority, addr, "/shop:live/x", Greeting::default())) {
        assert!(!is_clean, "{answer}");
    }
    assert_eq!(router.settled(1).failures.total(), 1);
}

#[test]
fn the_last_answers_of_a_worker_are_sent() {
    let authority = std::sync::Arc::new(Authority::new());
    for protocols in [&["h2"][..], &["http/1.1"]] {
        let (slow, answer_now) = Script::late("200 OK");
        let tls = Some(authority.listener(None));
        let mut router = TestRouter::listening(slow.target(), RouterConfig { tls, ..config(patient()) });
        let (addr, shared) = (router.running().tls_addr().unwrap(), std::sync::Arc::clone(&authority));
        let asking = std::thread::spawn(move || {
            let greeting = Greeting { protocols, ..Greeting::default() };
            if protocols == ["http/1.1"] {
                let (answer, is_clean) = run(ask(&shared, addr, "/shop:live/x", greeting)).unwrap();
                return (answer.ends_with("late"), is_clean);
            }
            let mut client = Http2::over(async move { shared.connect(addr, greeting).await.unwrap() });
            (client.get("/shop:live/x").text() == "late", true)
        });
        until("it is dispatched", || router.counts()[0].dispatched == 1);
        let running = router.take();
        let stopping = std::thread::spawn(move || running.shutdown(Duration::from_secs(10)));
        answer_now.send(()).unwrap();
        assert_eq!(asking.join().unwrap(), (true, true), "{protocols:?}");
        stopping.join().unwrap().unwrap();
    }
}

#[test]
fn clients_show_a_certificate_where_they_must() {
    let (one, authority, stranger) = (Version::start("one"), Authority::new(), Authority::new());
    let (router, addr) = serving(&one, authority.listener(Some(authority.file())));
    const EACH: [&[&SupportedProtocolVersion]; 2] = [&[&TLS12], &[&TLS13]];
    for versions in EACH {
        for (shows, is_let_in) in
            [(Some(authority.sign("client")), true), (None, false), (Some(stranger.sign("client")), false)]
        {
            let greeting = Greeting { shows, versions: Some(versions), ..Greeting::default() };
            let answer = run(ask(&authority, addr, "/shop:live/x", greeting));
            let is_served = answer.is_ok_and(|(answer, _)| answer.ends_with("one"));
            assert_eq!(is_served, is_let_in);
        }
    }
    until("the others are counted", || router.running().connections().refused(Refused::TlsHandshake) == 4);
    assert_eq!(one.seen().requests(), 2);
}

#[test]
fn versions_hear_whose_certificate_it_was_and_of_no_other() {
    let (one, authority) = (Version::start("one"), Authority::new());
    let (_router, addr) = serving(&one, authority.listener(Some(authority.file())));
    let (_open, open_addr) = serving(&one, authority.listener(None));
    let (cert, key) = authority.sign("client");
    let hash = Sha256::digest(CertificateDer::from_pem_file(&cert).unwrap());
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    for (addr, shows, said) in [
        (addr, Some((cert, key)), format!("Hash={hash};Subject=\"CN=rcgen self signed cert\";DNS={NAME}")),
        (open_addr, None, String::new()),
    ] {
        let echo = run(async {
            let greeting = Greeting { shows, ..Greeting::default() };
            let mut stream = authority.connect(addr, greeting).await.unwrap();
            let request = format!(
                "GET /shop:live/echo HTTP/1.1\r\nHost: {NAME}\r\nX-Forwarded-Client-Cert: Subject=\"CN=admin\"\r\n\
                 Connection: close\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        });
        let (_, body) = echo.split_once("\r\n\r\n").unwrap();
        let echo: serde_json::Value = serde_json::from_str(body).unwrap();
        let lines = echo["headers"].as_array().unwrap().iter();
        let told: Vec<_> = lines.filter(|line| line[0] == "x-forwarded-client-cert").collect();
        let told: String = told.iter().map(|line| line[1].as_str().unwrap()).collect();
        assert_eq!(told, said);
    }
}

#[test]
fn files_that_are_no_pair_are_refused_at_the_start() {
    let (authority, table) = (Authority::new(), TestRouter::start().table.clone());
    let good = authority.listener(None).files;
    let (_, other_key) = authority.sign("other");
    let (missing, empty) = (Path::new("/nowhere.pem").to_owned(), good.cert.with_file_name("empty.pem"));
    std::fs::write(&empty, "").unwrap();
    let copy = |name, from: &Path, mode| {
        let path = good.cert.with_file_name(name);
        std::fs::copy(from, &path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        path
    };
    // A group may read it, as that of the key's own tests does; everybody may not.
    let (open_key, no_key) = (copy("open.key", &good.key, 0o644), copy("no.key", &good.cert, 0o600));
    for (files, says) in [
        (serin::router::settings::TlsFiles { key: other_key, ..good.clone() }, "other.key: no pair with"),
        (
            serin::router::settings::TlsFiles { key: open_key, ..good.clone() },
            "may read the key (mode 644); chmod o=",
        ),
        (serin::router::settings::TlsFiles { key: no_key, ..good.clone() }, "no private key"),
        (serin::router::settings::TlsFiles { cert: missing, ..good.clone() }, "nowhere.pem: No such file"),
        (serin::router::settings::TlsFiles { cert: empty.clone(), ..good.clone() }, "no certificate in PEM"),
        (
            serin::router::settings::TlsFiles { client_ca: Some(empty), ..good.clone() },
            "no certificate in PEM",
        ),
    ] {
        let tls = Some(TlsConfig { addr: "127.0.0.1:0".parse().unwrap(), files });
        let refused = Router::bind(RouterConfig { tls, ..config(patient()) }, table.clone());
        let why = refused.err().unwrap().to_string();
        assert!(why.contains(says), "{why}");
    }
}

#[test]
fn certificates_change_without_a_failed_request() {
    let (one, authority) = (Version::start("one"), Authority::new());
    let tls = authority.listener(None);
    let files = tls.files.clone();
    let (router, addr) = serving(&one, tls);
    let shown = || {
        let stream = run(authority.connect(addr, Greeting::default())).unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    };
    let (is_over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for kept in [false, true] {
            let (authority, is_over, asked) = (&authority, &is_over, &asked);
            scope.spawn(move || {
                run(async {
                    let mut stream = authority.connect(addr, Greeting::default()).await.unwrap();
                    while !is_over.load(Ordering::Relaxed) {
                        if !kept {
                            stream = authority.connect(addr, Greeting::default()).await.unwrap();
                        }
                        let request = format!("GET /shop:live/x HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
                        stream.write_all(request.as_bytes()).await.unwrap();
                        let mut answer = Vec::new();
                        while !answer.ends_with(b"one") {
                            assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "closed");
                        }
                        asked.fetch_add(1, Ordering::Relaxed);
                    }
                })
            });
        }
        let mut before = shown();
        let state = router.running().certificate().unwrap();
        assert_eq!((state.ends_at_s(), state.is_refused()), (AUTHORITY_ENDS_AT_S, false));
        for is_told in [true, false, true] {
            authority.sign("server");
            if is_told {
                router.running().reload_certificates();
            }
            until("new connections see the new certificate", || shown() != before);
            assert!(!state.is_refused());
            before = shown();
            // A broken pair changes nothing, and is replaced when it is one again.
            std::fs::write(&files.key, "no key").unwrap();
            router.running().reload_certificates();
            let since = asked.load(Ordering::Relaxed);
            until("requests go on", || asked.load(Ordering::Relaxed) > since + 20);
            assert_eq!(shown(), before);
            assert!(state.is_refused());
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let counts = router.settled(asked.load(Ordering::Relaxed) as u64);
    assert_eq!((counts.failures.total(), counts.cancelled), (0, 0));
    assert_eq!(router.running().connections().refused(Refused::TlsHandshake), 0);
}
