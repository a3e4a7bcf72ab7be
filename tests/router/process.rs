//! The listeners of the binary: few descriptors, certificates on SIGHUP, and flags that belong together.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::client::Client;
use crate::support::serin::{Daemon, command, serin};
use crate::support::tls::{Authority, Greeting};
use crate::support::until;
use crate::support::upstream::Version;
use crate::upgrade::relay::Relay;

/// Publishes a function whose first version is at this place.
fn publish(mut serin: Command, version: &Version) {
    let url = format!("http://{}", version.addr());
    let done = serin.args(["function", "publish", "f", "--url", &url, "--new"]).output();
    assert!(done.expect("the binary runs").status.success());
}

fn tls_addr(log: impl Fn() -> Vec<Value>) -> SocketAddr {
    let mut found = None;
    until("it says where it listens for TLS", || {
        found = log().iter().find_map(|line| line.get("router.tls_addr")?.as_str()?.parse().ok());
        found.is_some()
    });
    found.expect("it was found")
}

fn metric(daemon: &Daemon, line: &str) -> f64 {
    let mut client = Client::connect(daemon.api);
    client.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let metrics = client.answer();
    let text = metrics.text();
    let value = text.lines().find_map(|found| found.strip_prefix(line));
    value.unwrap_or_else(|| panic!("no {line} in {text}")).trim_start_matches("{}").trim().parse().unwrap()
}

#[test]
fn clients_without_end_do_not_take_the_descriptors_of_the_others() {
    for flags in [&[][..], &["--max-connections", "100000"]] {
        let (dir, one) = (tempfile::tempdir().unwrap(), Version::start("one"));
        let serin = command();
        let mut command = Command::new("sh");
        command.env_clear().envs(serin.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command
            .args(["-c", "ulimit -S -n 128 && ulimit -H -n 256 && exec \"$0\" \"$@\""])
            .arg(serin.get_program());
        let daemon = Daemon::start_as(command, dir.path(), flags);
        publish(daemon.command(), &one);
        let mut good = Client::connect(daemon.router);
        assert_eq!(good.get("/f:1/x").text(), "one");
        let crowd: Vec<Client> = (0..500).map(|_| Client::connect(daemon.router)).collect();
        for _ in 0..200 {
            assert_eq!(good.get("/f:1/x").text(), "one");
        }
        if flags.is_empty() {
            let refused = "serin_connections_refused_total{reason=\"no_request\"}";
            until("those over the limit make room for each other", || metric(&daemon, refused) >= 400.0);
            assert_eq!(metric(&daemon, "serin_connections_open"), 76.0);
        } else {
            daemon.logs("accepting connections pauses");
        }
        drop(crowd);
        until("there is room again", || {
            let mut another = Client::connect(daemon.router);
            another.send("GET /f:1/x HTTP/1.1\r\nHost: a\r\n\r\n");
            another.try_answer_to("GET").is_some_and(|answer| answer.text() == "one")
        });
        daemon.stop();
    }
}

#[test]
fn a_hangup_reads_certificates_again_and_the_log_says_what_is_wrong_with_them() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let (cert, key) = authority.sign("server");
    let paths = [cert.to_str().unwrap(), key.to_str().unwrap()];
    let flags = ["--router-tls", "127.0.0.1:0", "--tls-cert", paths[0], "--tls-key", paths[1]];
    let daemon = Daemon::start(dir.path(), &flags);
    let addr = tls_addr(|| daemon.log.lock().unwrap().clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let shown = || {
        let stream = runtime.block_on(authority.connect(addr, Greeting::default())).unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    };
    let before = shown();
    std::fs::write(&key, "no key").unwrap();
    daemon.signal(Signal::HUP);
    daemon.logs("is served on");
    daemon.logs("server.key: no private key in PEM");
    assert_eq!(shown(), before);
    authority.sign("server");
    daemon.signal(Signal::HUP);
    until("the new one is served", || shown() != before);
    daemon.stop();
}

#[test]
fn an_upgrade_hands_the_listener_for_tls_over() {
    let (dir, one, authority) = (tempfile::tempdir().unwrap(), Version::start("one"), Authority::new());
    let (cert, key) = authority.sign("server");
    let environment = [
        ("SERIN_ROUTER_TLS", "127.0.0.1:0"),
        ("SERIN_TLS_CERT", cert.to_str().unwrap()),
        ("SERIN_TLS_KEY", key.to_str().unwrap()),
    ];
    let relay = Relay::start(dir.path(), &environment);
    let addr = tls_addr(|| relay.lines());
    let mut serin = command();
    serin.env("SERIN_URL", format!("http://{}", relay.api));
    publish(serin, &one);
    let (is_over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                while !is_over.load(Ordering::Relaxed) {
                    runtime.block_on(async {
                        let mut stream = authority.connect(addr, Greeting::default()).await.unwrap();
                        let request = b"GET /f:1/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
                        stream.write_all(request).await.unwrap();
                        let mut answer = String::new();
                        stream.read_to_string(&mut answer).await.unwrap();
                        assert!(answer.ends_with("one"), "{answer}");
                    });
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..3 {
            let before = asked.load(Ordering::Relaxed);
            until("requests are answered", || asked.load(Ordering::Relaxed) > before + 20);
            relay.upgrade();
        }
        let before = asked.load(Ordering::Relaxed);
        until("requests are answered on", || asked.load(Ordering::Relaxed) > before + 20);
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(relay.running().len(), 4);
}

#[test]
fn flags_that_mean_nothing_alone_are_refused() {
    for flags in [
        &["--router-tls", "127.0.0.1:0"][..],
        &["--router-tls", "127.0.0.1:0", "--tls-cert", "a"],
        &["--tls-cert", "a", "--tls-key", "b"],
        &["--tls-client-ca", "a"],
        &["--max-connections", "0"],
        &["--max-connections-per-ip", "0"],
    ] {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().to_str().unwrap();
        let said = serin(&[&["serve", "--data-dir", data, "--api", "127.0.0.1:0"], flags].concat());
        assert_ne!(said.code, 0, "{flags:?}");
        assert!(flags.iter().any(|flag| said.err.contains(flag)), "{said:?}");
    }
}
