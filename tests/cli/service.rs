//! How a service is used, as `serin serve`, `function publish` and plans are told of it: the proxies before the router,
//! and how long versions are waited for.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::support::client::Client;
use crate::support::serin::Daemon;
use crate::support::until;
use crate::support::upstream::{Script, Version};

fn publish(daemon: &Daemon, addr: SocketAddr, flags: &[&str]) {
    let url = format!("http://{addr}");
    daemon.serin(&[&["function", "publish", "shop", "--url", &url], flags].concat()).done();
}

/// What a version learns of whoever asks from an address of loopback, and says that it was asked by another.
fn learned(daemon: &Daemon, from: &str) -> Vec<(String, String)> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from.parse::<IpAddr>().unwrap(), 0).into()).unwrap();
    socket.connect(&daemon.router.into()).unwrap();
    let mut client = Client::on(socket.into());
    client.send(
        "GET /shop:live/echo HTTP/1.1\r\nHost: here\r\nX-Forwarded-For: 192.0.2.9\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: shop.example\r\nX-Forwarded-Port: 443\r\n\r\n",
    );
    let echo = client.answer().json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let lines = echo["headers"].as_array().unwrap().iter().map(|line| (text(&line[0]), text(&line[1])));
    let mut forwarded: Vec<_> = lines.filter(|(name, _)| name.starts_with("x-forwarded-")).collect();
    forwarded.sort();
    forwarded
}

#[test]
fn what_a_trusted_proxy_says_is_kept_and_what_others_say_is_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path(), &["--trusted-proxies", "127.0.0.2,10.0.0.0/8"]);
    let version = Version::start("one");
    publish(&daemon, version.addr(), &[]);
    daemon.serin(&["alias", "create", "shop:live", "--version", "1"]).done();
    let said = |lines: &[(&str, &str)]| -> Vec<(String, String)> {
        lines.iter().map(|(name, value)| (format!("x-forwarded-{name}"), (*value).to_owned())).collect()
    };
    let kept = [
        ("for", "192.0.2.9, 127.0.0.2"),
        ("host", "shop.example"),
        ("port", "443"),
        ("prefix", "/shop:live"),
        ("proto", "https"),
    ];
    assert_eq!(learned(&daemon, "127.0.0.2"), said(&kept));
    let own = [("for", "127.0.0.3"), ("host", "here"), ("prefix", "/shop:live"), ("proto", "http")];
    assert_eq!(learned(&daemon, "127.0.0.3"), said(&own));
    daemon.stop();
}

#[test]
fn a_version_is_waited_for_as_long_as_its_publisher_says() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path(), &[]);
    let stalls = Script::start(|mut stream, _| {
        use crate::support::upstream::{read_request, write};
        read_request(&mut stream);
        write(&mut stream, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf");
        let _ = stream.peek(&mut [0]);
    });
    let hangs = Version::start("hangs");
    publish(&daemon, hangs.addr(), &["--timeout-first-byte", "200ms"]);
    publish(&daemon, stalls.addr(), &["--timeout-idle", "200ms"]);
    for version in ["1", "2"] {
        daemon.serin(&["alias", "create", &format!("shop:v{version}"), "--version", version]).done();
    }
    let answer = Client::connect(daemon.router).get("/shop:v1/hang");
    assert_eq!((answer.status, answer.header("x-serin-error")), (504, Some("timeout")));
    assert!(answer.text().contains("no answer within 0.2s"), "{}", answer.text());
    let mut client = Client::connect(daemon.router);
    client.send("GET /shop:v2/x HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().unwrap().status, 200);
    let (came, _) = client.rest();
    assert_eq!(came, b"half", "it is given up");
    until("it is counted", || {
        let mut api = Client::connect(daemon.api);
        api.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let metrics = api.answer();
        let series = "serin_request_failures_total{function=\"shop\",alias=\"v2\",executed_version=\"2\",kind=\"transport\"} 1";
        metrics.text().lines().any(|line| line == series)
    });
    daemon.stop();
}

fn plan(dir: &Path, name: &str, rest: &str) -> PathBuf {
    let path = dir.join(format!("{name}.yaml"));
    let text = "function: shop\nalias: live\nanalysis: none\nbake: 1h\nsteps: [50%, 100%]\n";
    std::fs::write(&path, format!("{text}{rest}")).unwrap();
    path
}

/// Puts an alias on a version by a plan, to its end.
fn rolled_out(daemon: &Daemon, plan: &Path, to: &str) {
    daemon.serin(&["start", plan.to_str().unwrap(), "--to", to]).done();
    daemon.serin(&["promote", "shop:live", "--full", "--reason", "test"]).done();
    until("it ends", || {
        daemon.serin(&["status", "shop:live", "-o", "json"]).done().json()["phase"] == "Succeeded"
    });
}

fn is_given_up(daemon: &Daemon) -> bool {
    let answer = Client::connect(daemon.router).get("/shop:live/hang");
    answer.status == 504 && answer.text().contains("no answer within 0.2s")
}

#[test]
fn what_a_plan_says_of_timeouts_and_tunnels_holds_until_a_rollout_of_another_plan_starts() {
    let dir = tempfile::tempdir().unwrap();
    let says = plan(dir.path(), "says", "timeouts: {firstByte: 200ms}\ntunnels: {close: 0s}\n");
    let silent = plan(dir.path(), "silent", "");
    let hangs = [Version::start("one"), Version::start("two")];
    let (late, answer_now) = Script::late("200 OK");
    let mut daemon = Daemon::start(dir.path(), &[]);
    hangs.iter().for_each(|version| publish(&daemon, version.addr(), &[]));
    let chats = Script::echoing();
    publish(&daemon, chats.addr(), &[]);
    publish(&daemon, late.addr(), &[]);
    daemon.serin(&["alias", "create", "shop:live", "--version", "1"]).done();
    rolled_out(&daemon, &says, "2");
    assert!(is_given_up(&daemon), "after its end");
    daemon.stop();
    daemon = Daemon::start(dir.path(), &[]);
    assert!(is_given_up(&daemon), "after a restart");
    // Also where somebody moves the alias by hand.
    daemon.serin(&["alias", "update", "shop:live", "--version", "1"]).done();
    assert!(is_given_up(&daemon), "of another version");
    daemon.serin(&["alias", "update", "shop:live", "--version", "3"]).done();
    let mut tunnel = Client::connect(daemon.router);
    let wish = "Connection: Upgrade\r\nUpgrade: websocket";
    tunnel.send(format!("GET /shop:live/chat HTTP/1.1\r\nHost: a\r\n{wish}\r\n\r\n"));
    assert_eq!(tunnel.head().unwrap().status, 101);
    daemon.serin(&["alias", "update", "shop:live", "--version", "1"]).done();
    assert_eq!(tunnel.read_some(), 0, "it is closed");
    rolled_out(&daemon, &silent, "4");
    let mut client = Client::connect(daemon.router);
    client.send("GET /shop:live/poll HTTP/1.1\r\nHost: a\r\n\r\n");
    until("it is asked", || late.connections() == 1);
    std::thread::sleep(Duration::from_millis(500));
    answer_now.send(()).unwrap();
    assert_eq!(client.answer().status, 200, "it is waited for as long as by any router");
    daemon.stop();
}
