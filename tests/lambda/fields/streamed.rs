//! InvokeWithResponseStream: frames as the version makes them, and what a broken answer is.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::Table;
use crate::support::functions::zip_of;
use crate::support::{uninterrupted, until};

const PATH: &str = "/2021-11-15/functions/f/response-streaming-invocations";

const LIVE: &str = "?Qualifier=live";

/// One frame: its kind, and what it carries.
pub(super) fn next(stream: &mut impl Read) -> (String, Vec<u8>) {
    let mut prelude = [0; 12];
    stream.read_exact(&mut prelude).unwrap();
    let number = |at: usize| u32::from_be_bytes(prelude[at..at + 4].try_into().unwrap()) as usize;
    let (total, headers) = (number(0), number(4));
    let mut rest = vec![0; total - 12];
    stream.read_exact(&mut rest).unwrap();
    let kind = String::from_utf8_lossy(&rest[15..27]).into_owned();
    let kind = if kind.starts_with("PayloadChunk") {
        kind
    } else {
        String::from_utf8_lossy(&rest[15..29]).into_owned()
    };
    (kind, rest[headers..total - 16].to_vec())
}

fn opened(table: &Table, router: bool, query: &str) -> (u16, String, impl Read + use<>) {
    let url = if router { format!("http://{}", table.house.router()) } else { table.house.url() };
    invoked(&table.agent, &format!("{url}{PATH}{query}"), "{}")
}

/// Invokes, and gives status, executed version and the frames that are to come.
pub(super) fn invoked(agent: &ureq::Agent, url: &str, payload: &str) -> (u16, String, impl Read + use<>) {
    let request = ureq::http::Request::builder().method("POST").uri(url).body(payload.to_owned()).unwrap();
    let response = agent.run(request).unwrap();
    let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(header("content-type").as_deref(), Some("application/vnd.amazon.eventstream"));
    let (status, version) =
        (response.status().as_u16(), header("x-amz-executed-version").unwrap_or_default());
    (status, version, response.into_body().into_reader())
}

/// A service that answers in pieces: one at once, and another when it is told to; or breaks off instead.
fn service(breaks: bool) -> (String, mpsc::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (go_on, told) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream: TcpStream = stream;
            let _ = uninterrupted(|| stream.read(&mut [0; 4096]));
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n");
            if told.recv().is_err() {
                return;
            }
            let rest: &[u8] = if breaks { b"5\r\nse" } else { b"6\r\nsecond\r\n0\r\n\r\n" };
            let _ = stream.write_all(rest);
        }
    });
    (url, go_on)
}

fn failures(table: &Table) -> u64 {
    let metrics = table.house.get("/metrics").body;
    let lines =
        metrics.as_str().unwrap().lines().filter(|line| line.starts_with("serin_request_failures_total"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[test]
fn the_first_piece_comes_before_the_last_is_made() {
    let table = Table::open();
    let (url, go_on) = service(false);
    table.house.publish("f", &url);
    table.house.alias("f", "live", "1");
    for router in [false, true] {
        let (status, version, mut body) = opened(&table, router, LIVE);
        assert_eq!((status, version.as_str()), (200, "1"));
        assert_eq!(next(&mut body), ("PayloadChunk".to_owned(), b"first".to_vec()));
        go_on.send(()).unwrap();
        assert_eq!(next(&mut body), ("PayloadChunk".to_owned(), b"second".to_vec()));
        assert_eq!(next(&mut body), ("InvokeComplete".to_owned(), b"{}".to_vec()));
        table.count(4);
    }
    assert_eq!(failures(&table), 0);
}

#[test]
fn an_answer_that_is_cut_is_the_versions_failure() {
    let table = Table::open();
    let (url, go_on) = service(true);
    table.house.publish("f", &url);
    table.house.alias("f", "live", "1");
    let (_, _, mut body) = opened(&table, true, LIVE);
    assert_eq!(next(&mut body).1, b"first");
    go_on.send(()).unwrap();
    drop(go_on);
    let mut last = next(&mut body);
    while last.0 == "PayloadChunk" {
        last = next(&mut body);
    }
    let told: Value = serde_json::from_slice(&last.1).unwrap();
    assert_eq!((last.0.as_str(), &told["ErrorCode"]), ("InvokeComplete", &json!("Unhandled")), "{told}");
    until("it is counted", || failures(&table) >= 1);
}

/// A function that streams, and may end in an error.
const BOOTSTRAP: &str = r#"#!/usr/bin/python3
import base64, http.client, os, socket
host, port = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
api = http.client.HTTPConnection(host, int(port))
while True:
    api.request("GET", "/2018-06-01/runtime/invocation/next")
    event = api.getresponse()
    event.read()
    id = event.headers["Lambda-Runtime-Aws-Request-Id"]
    line = socket.create_connection((host, int(port)))
    head = f"POST /2018-06-01/runtime/invocation/{id}/response HTTP/1.1\r\nHost: x\r\n"
    head += "Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n"
    fails = os.environ.get("FAILS")
    if fails:
        head += "Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n"
    line.sendall((head + "\r\n").encode())
    for n in range(1000):
        piece = str(n).encode().ljust(10240, b".")
        line.sendall(b"%x\r\n" % len(piece) + piece + b"\r\n")
    line.sendall(b"0\r\n")
    if fails:
        body = base64.b64encode(b'{"errorType":"Boom","errorMessage":"midway"}').decode()
        line.sendall(f"Lambda-Runtime-Function-Error-Type: Boom\r\nLambda-Runtime-Function-Error-Body: {body}\r\n".encode())
    line.sendall(b"\r\n")
    line.recv(4096)
    line.close()
"#;

#[test]
fn a_process_streams_more_than_an_answer_may_be_in_memory() {
    let table = Table::open();
    let code = json!({ "ZipFile": BASE64.encode(zip_of(&[("bootstrap", BOOTSTRAP.as_bytes(), 0o755)])) });
    table.make("f", json!({ "Code": code, "Timeout": 120 }));
    let read = || {
        let (status, _, mut body) = opened(&table, true, "");
        assert_eq!(status, 200);
        let (mut bytes, mut pieces) = (0, 0);
        loop {
            let (kind, payload) = next(&mut body);
            if kind != "PayloadChunk" {
                let told: Value = serde_json::from_slice(&payload).unwrap();
                return (bytes, pieces, told);
            }
            bytes += payload.len();
            pieces += 1;
        }
    };
    let (bytes, pieces, told) = read();
    assert_eq!((bytes, told), (10_240_000, json!({})));
    assert!(pieces > 100, "{pieces}");
    table.ask(
        "PUT",
        "/2015-03-31/functions/f/configuration",
        &json!({ "Environment": { "Variables": { "FAILS": "yes" } } }),
    );
    until("the new configuration runs", || read().2["ErrorCode"] == "Unhandled");
    assert!(read().2["ErrorDetails"].as_str().unwrap().contains("midway"));
}

#[test]
fn faults_are_told_before_a_stream_begins() {
    let table = Table::open();
    let none = PATH.replace("/f/", "/none/");
    let text = format!("Function not found: {}:none:$LATEST", super::ARN);
    table.not_found("no function", ("POST", &none, json!({})), &text);
    table.make("f", json!({}));
    let bad = table.send("POST", PATH, "{");
    assert_eq!((bad.status, bad.kind.as_str()), (400, "InvalidRequestContentException"));
}
