//! Whoever connects and says nothing, half of something or too much takes nothing from anybody else: descriptors,
//! memory, or the attention of those who serve.

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::support::client::{Answer, Client};
use crate::support::functions::{here, rust_program, zip_of};
use crate::support::house::{agent, ask};
use crate::support::serin::{Daemon, command};
use crate::support::until;
use crate::support::upstream::Version;

/// How many descriptors the daemon has in these tests.
const DESCRIPTORS: usize = 256;
/// What a crowd may take of memory.
const GROWTH_BYTES_MAX: usize = 64 << 20;
const MIB: usize = 1 << 20;

/// A daemon without many descriptors, and a version to be reached through it.
struct Cramped {
    daemon: Daemon,
    _version: Version,
}

fn cramped(dir: &Path, flags: &[&str], token: Option<&str>) -> Cramped {
    let mut shell = Command::new("/bin/sh");
    let script = format!("ulimit -n {DESCRIPTORS} && exec \"$0\" \"$@\"");
    shell.args(["-c", &script]).arg(command().get_program()).env_clear();
    let daemon = Daemon::start_as(shell, dir, flags);
    let version = Version::start("one");
    let url = format!("http://{}", version.addr());
    let words =
        [["function", "publish", "shop", "--url", &url], ["alias", "create", "shop:live", "--version", "1"]];
    for words in words {
        let mut command = daemon.command();
        token.map(|token| command.env("SERIN_TOKEN", token));
        assert!(command.args(words).output().unwrap().status.success());
    }
    Cramped { daemon, _version: version }
}

impl Cramped {
    /// Asks the router over this connection and over new ones, and must be answered.
    #[track_caller]
    fn is_served(&self, kept: &mut Client) {
        for _ in 0..20 {
            assert_eq!(kept.get("/shop:live/").status, 200);
            assert_eq!(Client::connect(self.daemon.router).get("/shop:live/").status, 200);
        }
    }

    fn control(&self, path: &str) -> Answer {
        let mut api = Client::connect(self.daemon.api);
        api.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        api.answer()
    }

    /// What a counter says.
    #[track_caller]
    fn counted(&self, series: &str) -> f64 {
        let metrics = self.control("/metrics");
        let line = metrics.text().lines().find_map(|line| line.strip_prefix(series));
        line.unwrap_or_else(|| panic!("no {series}")).trim_start_matches("{}").trim().parse().unwrap()
    }
}

/// Connections that send half a head, whether or not they are still heard.
fn half_heads(addr: SocketAddr, count: usize) -> Vec<TcpStream> {
    let connect = |_| {
        let mut stream = TcpStream::connect(addr).expect("the kernel accepts");
        // It may be cut off at any time.
        let _ = stream.write_all(b"GET /shop:live/ HTTP/1.1\r\nHost: x\r\nX-Slow: ");
        stream
    };
    (0..count).map(connect).collect()
}

/// Uploads that send so much of what they announce, as far as it is taken, and no more.
fn stalled(addr: SocketAddr, head: &str, sent: usize, count: usize) -> Vec<TcpStream> {
    let body = vec![b' '; sent];
    let mut uploads: Vec<(TcpStream, usize)> = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(addr).expect("the kernel accepts");
        let _ = stream.write_all(head.as_bytes());
        stream.set_nonblocking(true).unwrap();
        uploads.push((stream, 0));
    }
    let mut quiet = 0;
    while quiet < 100 {
        quiet += 1;
        for (stream, at) in &mut uploads {
            while *at < sent {
                match stream.write(&body[*at..]) {
                    Ok(count) => (*at, quiet) = (*at + count, 0),
                    Err(why) if why.kind() == ErrorKind::WouldBlock => break,
                    // It was refused.
                    Err(_) => *at = sent,
                }
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    uploads.into_iter().map(|(stream, _)| stream).collect()
}

#[test]
fn half_heads_on_either_listener_keep_nobody_from_either() {
    let dir = tempfile::tempdir().unwrap();
    let cramped = cramped(dir.path(), &[], None);
    let mut kept = Client::connect(cramped.daemon.router);
    cramped.is_served(&mut kept);
    let mut crowds = Vec::new();
    for addr in [cramped.daemon.api, cramped.daemon.router] {
        crowds.push(half_heads(addr, 300));
        cramped.is_served(&mut kept);
        assert_eq!(cramped.control("/readyz").status, 200);
        cramped.daemon.serin(&["alias", "get", "shop:live"]).done();
        assert!(cramped.daemon.descriptors() < DESCRIPTORS, "{}", cramped.daemon.descriptors());
    }
    assert!(cramped.counted("serin_control_refused_total{reason=\"waiting\"}") > 200.0);
    assert!(cramped.counted("serin_connections_refused_total{reason=\"no_request\"}") > 200.0);
    drop(crowds);
    until("they are gone", || cramped.counted("serin_connections_open") < 10.0);
    cramped.is_served(&mut kept);
    assert!(!cramped.daemon.has_logged("accepting connections pauses"));
    cramped.daemon.stop();
}

#[test]
fn those_who_have_asked_once_and_may_ask_again_keep_nobody_out() {
    let dir = tempfile::tempdir().unwrap();
    let cramped = cramped(dir.path(), &[], None);
    let mut kept = Client::connect(cramped.daemon.router);
    cramped.is_served(&mut kept);
    let crowd: Vec<Client> = (0..300)
        .map(|_| {
            let mut client = Client::connect(cramped.daemon.router);
            assert_eq!(client.get("/shop:live/").status, 200);
            client
        })
        .collect();
    assert_eq!(Client::connect(cramped.daemon.router).get("/shop:live/").status, 200);
    assert_eq!(cramped.control("/readyz").status, 200);
    assert!(cramped.counted("serin_connections_refused_total{reason=\"idle\"}") > 200.0);
    assert_eq!(cramped.counted("serin_connections_refused_total{reason=\"max_connections\"}"), 0.0);
    assert!(cramped.daemon.descriptors() < DESCRIPTORS, "{}", cramped.daemon.descriptors());
    assert!(!cramped.daemon.has_logged("accepting connections pauses"));
    drop(crowd);
    cramped.daemon.stop();
}

#[test]
fn a_thousand_event_streams_that_nobody_reads_keep_little_memory() {
    const STREAMS: usize = 1000;
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path(), &[]);
    for port in 1..=2 {
        daemon.serin(&["function", "publish", "shop", "--url", &format!("http://127.0.0.1:{port}")]).done();
    }
    daemon.serin(&["alias", "create", "shop:live", "--version", "1"]).done();
    let mut api = Client::connect(daemon.api);
    for turn in 0..300 {
        let body = format!("{{\"functionVersion\":\"{}\",\"reason\":\"{}\"}}", turn % 2 + 1, "x".repeat(400));
        api.send(format!(
            "PUT /v1/functions/shop/aliases/live HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        assert_eq!(api.answer().status, 200);
    }
    let before = daemon.resident_bytes();
    let streams: Vec<TcpStream> = (0..STREAMS)
        .map(|_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            // The kernel keeps little of it, so that serin has to.
            socket.set_recv_buffer_size(4096).unwrap();
            socket.connect(&daemon.api.into()).unwrap();
            let mut stream = TcpStream::from(socket);
            let _ = stream.write_all(b"GET /v1/events?after=0 HTTP/1.1\r\nHost: localhost\r\n\r\n");
            stream
        })
        .collect();
    // Asked last, it is answered when all the others have been given what they take.
    for _ in 0..20 {
        daemon.serin(&["alias", "get", "shop:live"]).done();
    }
    let growth = daemon.resident_bytes().saturating_sub(before);
    assert!(growth <= GROWTH_BYTES_MAX, "{} MiB", growth / MIB);
    drop(streams);
    daemon.stop();
}

/// A function whose process connects to its Runtime API again and again, says half of something, and then serves.
const CROWDING: &[u8] = b"#!/bin/bash
host=${AWS_LAMBDA_RUNTIME_API%:*} port=${AWS_LAMBDA_RUNTIME_API#*:}
for _ in {1..300}; do exec {fd}<>/dev/tcp/$host/$port && printf 'GET ' >&$fd; done
exec \"$LAMBDA_TASK_ROOT/function\"
";

#[test]
fn a_function_that_crowds_its_runtime_api_takes_nothing_from_anybody() {
    let dir = tempfile::tempdir().unwrap();
    let cramped = cramped(dir.path(), &[], None);
    let mut kept = Client::connect(cramped.daemon.router);
    cramped.is_served(&mut kept);
    let zip = zip_of(&[("bootstrap", CROWDING, 0o755), ("function", rust_program(), 0o755)]);
    let create = json!({
        "FunctionName": "crowd", "Runtime": "provided.al2023", "Handler": "bootstrap", "Timeout": 60,
        "Role": "arn:aws:iam::000000000000:role/r", "Architectures": [here()],
        "Code": { "ZipFile": BASE64.encode(zip) },
    });
    let functions = "/2015-03-31/functions";
    let created = ask(&agent(), &cramped.daemon.url(), "POST", functions, Some(&create), &[]);
    assert_eq!(created.status, 201, "{}", created.body);
    for _ in 0..3 {
        let path = format!("{functions}/crowd/invocations");
        let said = ask(&agent(), &cramped.daemon.url(), "POST", &path, Some(&json!({ "a": 1 })), &[]);
        assert_eq!((said.status, said.body), (200, json!({ "a": 1 })));
        cramped.is_served(&mut kept);
    }
    assert!(cramped.daemon.descriptors() < 128, "{}", cramped.daemon.descriptors());
    cramped.daemon.stop();
}

const PRINCIPALS: &str = "\
principals:
  - principal: arn:aws:iam::000000000000:user/owner
    owner: true
    accessKey: {id: AKIAOWNER, secret: {inline: the-secret-of-owner}}
    token: {inline: the-token-of-owner}
";

fn principals(dir: &Path) -> String {
    let path = dir.join("principals.yaml");
    std::fs::write(&path, PRINCIPALS).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A head that announces a body, and claims to be of somebody.
fn head(path: &str, bytes: usize, authorization: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nX-Amz-Date: 20260101T000000Z\r\nContent-Length: {bytes}\r\n\
         Authorization: {authorization}\r\n\r\n"
    )
}

fn signature(key: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential={key}/20260101/us-east-1/lambda/aws4_request, SignedHeaders=host;x-amz-date, \
         Signature={}",
        "0".repeat(64)
    )
}

#[test]
fn of_strangers_no_body_is_read_and_of_forged_signatures_none_is_kept_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let principals = principals(dir.path());
    let cramped = cramped(dir.path(), &["--principals", &principals], Some("the-token-of-owner"));
    let (create, invoke) = ("/2015-03-31/functions", "/2015-03-31/functions/shop:live/invocations");
    let daemon = &cramped.daemon;
    for authorization in [signature("AKIANOBODY"), "Bearer nobody-s-token-at-all".to_owned(), String::new()] {
        let ways =
            [(daemon.api, create, 60 * MIB), (daemon.api, invoke, 6 * MIB), (daemon.router, invoke, 6 * MIB)];
        for (addr, path, bytes) in ways {
            let mut client = Client::connect(addr);
            client.send(head(path, bytes, &authorization));
            assert_eq!(client.answer_to("POST").status, 403, "{authorization} {path} at {addr}");
        }
    }
    let mut kept = Client::connect(daemon.router);
    cramped.is_served(&mut kept);
    let before = daemon.resident_bytes();
    let head = head(create, 60 * MIB, &signature("AKIAOWNER"));
    let uploads = stalled(daemon.api, &head, MIB, 100);
    cramped.is_served(&mut kept);
    let growth = daemon.resident_bytes().saturating_sub(before);
    assert!(growth <= GROWTH_BYTES_MAX, "{} MiB", growth / MIB);
    assert_eq!(cramped.control("/livez").status, 200);
    drop(uploads);
    cramped.daemon.stop();
}

#[test]
fn payloads_of_invocations_have_a_budget_on_both_listeners() {
    let dir = tempfile::tempdir().unwrap();
    let cramped = cramped(dir.path(), &[], None);
    let mut kept = Client::connect(cramped.daemon.router);
    cramped.is_served(&mut kept);
    let before = cramped.daemon.resident_bytes();
    let invoke = "/2015-03-31/functions/shop:live/invocations";
    let mut uploads = Vec::new();
    for addr in [cramped.daemon.api, cramped.daemon.router] {
        uploads.push(stalled(addr, &head(invoke, 6 * MIB, "none"), 5 * MIB, 60));
        assert_eq!(kept.get("/shop:live/").status, 200);
        let growth = cramped.daemon.resident_bytes().saturating_sub(before);
        assert!(growth <= GROWTH_BYTES_MAX, "{} MiB after {addr}", growth / MIB);
    }
    drop(uploads);
    // One at a time is as welcome as ever.
    let payload = format!("\"{}\"", "x".repeat(6 * MIB - 2));
    for addr in [cramped.daemon.api, cramped.daemon.router] {
        until("there is room again", || {
            let mut client = Client::connect(addr);
            client.send(format!(
                "POST {invoke} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
                payload.len()
            ));
            client.try_send(&payload).is_ok()
                && client.try_answer_to("POST").is_some_and(|answer| answer.status == 200)
        });
    }
    cramped.daemon.stop();
}

/// The 99th percentile of what so many requests over one connection take.
#[expect(clippy::disallowed_methods, reason = "how long requests take is what is measured")]
fn p99(client: &mut Client, requests: usize) -> Duration {
    let mut took: Vec<Duration> = (0..requests)
        .map(|_| {
            let begun = Instant::now();
            assert_eq!(client.get("/shop:live/").status, 200);
            begun.elapsed()
        })
        .collect();
    took.sort_unstable();
    took[requests * 99 / 100]
}

#[test]
#[ignore = "thousands of connections; scripts/test-long runs it and shows what they cost"]
fn thousands_who_say_half_and_hundreds_who_stall_cost_the_router_little() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let principals = principals(dir.path());
    let cramped = cramped(dir.path(), &["--principals", &principals], Some("the-token-of-owner"));
    let (api, router) = (cramped.daemon.api, cramped.daemon.router);
    let mut kept = Client::connect(router);
    p99(&mut kept, 1000);
    let (before, memory) = (p99(&mut kept, 10_000), cramped.daemon.resident_bytes());
    let show = |what: &str, kept: &mut Client| {
        let (now, grown) = (p99(kept, 10_000), cramped.daemon.resident_bytes().saturating_sub(memory));
        println!(
            "{what}: p99 {now:?} where it was {before:?}, memory grown by {:.1} MiB, {} descriptors",
            grown as f64 / MIB as f64,
            cramped.daemon.descriptors()
        );
        assert!(grown <= GROWTH_BYTES_MAX);
    };
    let half = [half_heads(api, 1000), half_heads(router, 1000)];
    show("1000 half heads on each listener", &mut kept);
    let signed = signature("AKIAOWNER");
    let uploads = stalled(api, &head("/2015-03-31/functions", 60 * MIB, &signed), MIB, 100);
    show("and 100 stalled uploads of code", &mut kept);
    let invoke = head("/2015-03-31/functions/shop:live/invocations", 6 * MIB, &signed);
    let invokes = [stalled(api, &invoke, 5 * MIB, 100), stalled(router, &invoke, 5 * MIB, 100)];
    show("and 100 stalled invocations on each listener", &mut kept);
    drop((half, uploads, invokes));
    cramped.daemon.stop();
}
