//! Answers of 100 MiB in 10 000 pieces, through an alias whose canary is live: on their way at once, in flat memory, counted once.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::streamed::{invoked, next};
use super::{ROLE, function};
use crate::support::functions::zip_of;
use crate::support::house::{agent, ask};
use crate::support::serin::Daemon;
use crate::support::{uninterrupted, until};

const PIECES: usize = 10_000;
/// Ten thousand of them are 100 MiB and a little.
const PIECE_BYTES: usize = 10_486;
/// What the whole daemon may grow by while a stream goes through it: a quarter of the answer, most of it the allocator's.
const GROWS_BY_BYTES_MAX: usize = 24 << 20;
/// Where a version that is asked to break off does so.
const CUT_AT: usize = 5_000;
/// Of this many both versions have their turn, but for one in half a million.
const TRIES: usize = 20;
const PATH: &str = "/2021-11-15/functions/f/response-streaming-invocations?Qualifier=live";

#[expect(clippy::disallowed_methods, reason = "what processes tell each other the time by")]
fn now_ns() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()
}

/// One invocation: the version that ran it, how much came, whether a piece was here before the last was written, the error it
/// ended in, and the most memory that the daemon had meanwhile.
#[derive(Debug)]
struct Streamed {
    version: String,
    bytes: usize,
    was_early: bool,
    error: Value,
    resident_bytes: usize,
}

struct Canary<'a> {
    daemon: &'a Daemon,
    agent: ureq::Agent,
}

impl Canary<'_> {
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = (!body.is_null()).then_some(body);
        ask(&self.agent, &self.daemon.url(), method, path, body, &[]).ok()
    }

    /// Alias `live` on version 1, and a rollout that gives version 2 half of it for as long as this lasts.
    fn begin(&self) {
        self.ask("POST", "/v1/functions/f/aliases/live", &json!({ "functionVersion": "1" }));
        let plan =
            "function: f\nalias: live\nversion: \"2\"\nsteps: [50%, 100%]\nanalysis: none\nbake: 10h\n";
        self.ask("POST", "/v1/rollouts", &json!({ "plan": "streams", "planText": plan }));
        self.is_live();
    }

    fn is_live(&self) {
        until("the canary has its half", || {
            self.ask("GET", "/v1/rollouts/f:live", &Value::Null)["weight"]["committed"] == 0.5
        });
    }

    fn stream(&self, payload: &str) -> Streamed {
        let url = format!("http://{}{PATH}", self.daemon.router);
        let (status, version, mut body) = invoked(&self.agent, &url, payload);
        assert_eq!(status, 200);
        let (mut bytes, mut frames, mut resident_bytes, mut begun_ns) = (0, 0, 0, 0);
        let mut end = Vec::new();
        let error = loop {
            let (kind, piece) = next(&mut body);
            if kind != "PayloadChunk" {
                break serde_json::from_slice::<Value>(&piece).unwrap()["ErrorCode"].clone();
            }
            if frames == 0 {
                begun_ns = now_ns();
            }
            bytes += piece.len();
            end.extend_from_slice(&piece);
            end.drain(..end.len().saturating_sub(PIECE_BYTES));
            if frames % 500 == 0 {
                resident_bytes = resident_bytes.max(self.daemon.resident_bytes());
            }
            frames += 1;
        };
        // The last piece begins with the time at which it was made.
        let text = String::from_utf8_lossy(&end);
        let made_ns = text.trim_end_matches('.').parse::<u128>().unwrap_or_default();
        Streamed { version, bytes, was_early: begun_ns < made_ns, error, resident_bytes }
    }

    /// What is counted for a version of `f:live`: requests, and failures among them.
    fn counted(&self) -> BTreeMap<String, (u64, u64)> {
        let text = self.ask("GET", "/metrics", &Value::Null);
        let mut counted = BTreeMap::<String, (u64, u64)>::new();
        for line in text.as_str().unwrap().lines().filter(|line| line.contains("alias=\"live\"")) {
            let (labels, value) = line.rsplit_once(' ').unwrap();
            let Some(version) = labels.split("executed_version=\"").nth(1) else { continue };
            let of = counted.entry(version.split('"').next().unwrap().to_owned()).or_default();
            match labels.split('{').next().unwrap() {
                "serin_requests_total" => of.0 += value.parse::<u64>().unwrap(),
                "serin_request_failures_total" => of.1 += value.parse::<u64>().unwrap(),
                _ => {}
            }
        }
        counted
    }

    /// Everything that is promised of long streams.
    fn hold(&self, what: &str) {
        let mut expected = BTreeMap::from([("1".to_owned(), (0, 0)), ("2".to_owned(), (0, 0))]);
        let before = self.stream(r#"{"mode":"short"}"#);
        expected.get_mut(&before.version).unwrap().0 += 1;
        let resident_bytes = self.daemon.resident_bytes();
        let mut peak_bytes = 0;
        let mut left = vec!["1", "2"];
        for _ in 0..TRIES {
            let whole = self.stream(r#"{"mode":"long"}"#);
            assert_eq!((whole.bytes, &whole.error), (PIECES * PIECE_BYTES, &Value::Null), "{whole:?}");
            assert!(whole.was_early, "the first piece came when all were written: {whole:?}");
            peak_bytes = peak_bytes.max(whole.resident_bytes);
            expected.get_mut(&whole.version).unwrap().0 += 1;
            left.retain(|version| *version != whole.version);
            if left.is_empty() {
                break;
            }
        }
        assert!(left.is_empty(), "{left:?} had no turn");
        let grown = peak_bytes.saturating_sub(resident_bytes);
        println!("{what}: {} MiB before, {} MiB more at most", resident_bytes >> 20, grown >> 20);
        assert!(grown <= GROWS_BY_BYTES_MAX, "{what}: {grown} bytes more than the {resident_bytes} before");

        // Version 2 breaks off; version 1, asked the same, ends well.
        for attempt in 0.. {
            assert!(attempt < TRIES, "version 2 had no turn");
            let cut = self.stream(r#"{"mode":"cut"}"#);
            expected.get_mut(&cut.version).unwrap().0 += 1;
            if cut.version == "2" {
                expected.get_mut("2").unwrap().1 += 1;
                assert_eq!(cut.error, "Unhandled", "{cut:?}");
                assert!(cut.bytes <= CUT_AT * PIECE_BYTES, "{cut:?}");
                break;
            }
            assert_eq!(cut.error, Value::Null, "{cut:?}");
        }
        until("everything is counted once, and the cut is version 2's", || self.counted() == expected);
        self.is_live();
        println!("{what}: counted {:?}", self.counted());
    }
}

/// A service that streams as it is asked to.
fn service(version: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || while answer(&stream, version).is_some() {});
        }
    });
    url
}

fn answer(mut stream: &TcpStream, version: &str) -> Option<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"}") {
        let mut bytes = [0; 4096];
        match uninterrupted(|| stream.read(&mut bytes)).ok()? {
            0 => return None,
            count => request.extend_from_slice(&bytes[..count]),
        }
    }
    let request = String::from_utf8_lossy(&request);
    let pieces =
        if request.contains("long") || (request.contains("cut") && version == "2") { PIECES } else { 1 };
    stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").ok()?;
    let dots = ".".repeat(PIECE_BYTES);
    for number in 1..=pieces {
        if request.contains("cut") && number == CUT_AT {
            return stream.shutdown(std::net::Shutdown::Both).ok().and(None);
        }
        let mut piece = format!("{PIECE_BYTES:x}\r\n");
        let stamp = if number == pieces { now_ns().to_string() } else { String::new() };
        let _ = write!(piece, "{stamp}{}\r\n", &dots[stamp.len()..]);
        stream.write_all(piece.as_bytes()).ok()?;
    }
    stream.write_all(b"0\r\n\r\n").ok()
}

#[test]
fn a_hundred_mebibytes_of_http_versions() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path(), &[]);
    let canary = Canary { daemon: &daemon, agent: agent() };
    for version in ["1", "2"] {
        canary.ask("POST", "/v1/functions/f/versions", &json!({ "url": service(version), "new": true }));
    }
    canary.begin();
    canary.hold("over HTTP");
    daemon.stop();
}

/// A function that streams as it is asked to; version 2 ends in the midst of it where it is asked to break off.
const BOOTSTRAP: &str = r#"#!/usr/bin/python3
import http.client, os, socket, time
host, port = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
api = http.client.HTTPConnection(host, int(port))
while True:
    api.request("GET", "/2018-06-01/runtime/invocation/next")
    event = api.getresponse()
    asked = event.read()
    id = event.headers["Lambda-Runtime-Aws-Request-Id"]
    line = socket.create_connection((host, int(port)))
    head = f"POST /2018-06-01/runtime/invocation/{id}/response HTTP/1.1\r\nHost: x\r\n"
    head += "Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n\r\n"
    line.sendall(head.encode())
    cuts = b"cut" in asked and os.environ["AWS_LAMBDA_FUNCTION_VERSION"] == "2"
    pieces = PIECES if b"long" in asked or cuts else 1
    for number in range(1, pieces + 1):
        if cuts and number == CUT_AT:
            os._exit(1)
        piece = (str(time.time_ns()) if number == pieces else "").ljust(PIECE_BYTES, ".").encode()
        line.sendall(b"%x\r\n" % len(piece) + piece + b"\r\n")
    line.sendall(b"0\r\n\r\n")
    line.recv(4096)
    line.close()
"#;

#[test]
fn a_hundred_mebibytes_of_processes() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path(), &[]);
    let canary = Canary { daemon: &daemon, agent: agent() };
    let text = BOOTSTRAP
        .replace("PIECE_BYTES", &PIECE_BYTES.to_string())
        .replace("PIECES", &PIECES.to_string())
        .replace("CUT_AT", &CUT_AT.to_string());
    let code = json!({ "ZipFile": BASE64.encode(zip_of(&[("bootstrap", text.as_bytes(), 0o755)])) });
    let asked = json!({ "Code": code, "Role": ROLE, "Timeout": 120, "Publish": true });
    canary.ask("POST", "/2015-03-31/functions", &function("f", asked));
    let other = json!({ "Description": "version 2" });
    canary.ask("PUT", "/2015-03-31/functions/f/configuration", &other);
    canary.ask("POST", "/2015-03-31/functions/f/versions", &json!({}));
    canary.begin();
    canary.hold("by processes");
    daemon.stop();
}
