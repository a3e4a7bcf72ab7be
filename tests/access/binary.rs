//! The real binary with a file of principals: what it says, what it refuses, and the command line as an owner.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use super::PRINCIPALS;
use crate::support::serin::{Daemon, serin};
use crate::support::uninterrupted;

fn write(dir: &Path, mode: u32) -> String {
    let path = dir.join("principals.yaml");
    std::fs::write(&path, PRINCIPALS).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn an_owner_types_with_their_token_and_others_are_told_why_not() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path(), &["--principals", &write(dir.path(), 0o600)]);
    let said = |daemon: &Daemon| {
        let line = daemon.logs_line("who may change", |line| line["changes"].is_string());
        line["changes"].as_str().unwrap().to_owned()
    };
    assert_eq!(said(&daemon), "want a signature or a token: 1 owner, 2 others held to policies");
    assert!(!daemon.has_logged("hold nobody"));
    let publish = |token: Option<&str>| {
        let mut command = daemon.command();
        if let Some(token) = token {
            command.env("SERIN_TOKEN", token);
        }
        let words = ["function", "publish", "f", "--url", "http://127.0.0.1:1", "--new"];
        let output = command.args(words).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(publish(Some("the-token-of-owner")).0, Some(0));
    for (token, part) in [
        (None, "wants to know who asks"),
        (Some("guess"), "is not one of this serin's principals"),
        (Some("the-token-of-ana"), "is no owner"),
    ] {
        let (code, error) = publish(token);
        assert_eq!(code, Some(1), "{token:?}");
        assert!(error.contains(part), "{part:?} is not in {error}");
    }
    let log = daemon.log.lock().unwrap();
    let secrets = [
        "the-secret-of-owner",
        "the-secret-of-ana",
        "the-secret-of-s3",
        "the-token-of-owner",
        "the-token-of-ana",
        "the-token-of-s3-too",
    ];
    assert!(
        !log.iter().any(|line| secrets.iter().any(|secret| line.to_string().contains(secret))),
        "{log:#?}"
    );
}

#[test]
fn a_file_that_others_can_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), 0o644);
    let data = dir.path().join("data");
    let args = ["serve", "--data-dir", data.to_str().unwrap(), "--api", "127.0.0.1:0", "--principals", &path];
    serin(&args).ended(1).complaining(&["holds a secret, and others may read it", "chmod 600"]);
}

/// A stream of what happens, as the holder of a token hears it.
fn listen(daemon: &Daemon, token: &str) -> TcpStream {
    let mut stream = TcpStream::connect(daemon.api).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let head = format!(
        "GET /v1/events?after=0 HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n",
        daemon.api
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

fn hear_until(stream: &mut TcpStream, wanted: &str) {
    let (mut heard, mut bytes) = (Vec::new(), [0; 4096]);
    while !String::from_utf8_lossy(&heard).contains(wanted) {
        let count = uninterrupted(|| stream.read(&mut bytes)).unwrap();
        assert!(count > 0, "it ended: {}", String::from_utf8_lossy(&heard));
        heard.extend(&bytes[..count]);
    }
}

#[test]
fn an_owner_who_is_taken_out_hears_no_more_and_the_others_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("principals.yaml");
    let entry = |name: &str| {
        format!(
            "  - {{principal: \"arn:aws:iam::000000000000:user/{name}\", owner: true, token: {{inline: the-token-of-{name}}}}}\n"
        )
    };
    let write = |names: &[&str]| {
        let text = names.iter().map(|name| entry(name)).collect::<String>();
        let draft = dir.path().join("draft");
        std::fs::write(&draft, format!("principals:\n{text}")).unwrap();
        std::fs::set_permissions(&draft, PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::rename(draft, &path).unwrap();
    };
    write(&["the-first", "the-other"]);
    let daemon = Daemon::start(dir.path(), &["--principals", path.to_str().unwrap()]);
    let publish = || {
        let mut command = daemon.command();
        command.env("SERIN_TOKEN", "the-token-of-the-first");
        let output =
            command.args(["function", "publish", "f", "--url", "http://127.0.0.1:1", "--new"]).output();
        assert!(output.unwrap().status.success());
    };
    publish();
    let [mut first, mut other] =
        ["the-token-of-the-first", "the-token-of-the-other"].map(|token| listen(&daemon, token));
    hear_until(&mut first, "versionPublished");
    hear_until(&mut other, "versionPublished");
    write(&["the-first"]);
    daemon.signal(Signal::HUP);
    daemon.logs("the principals are those that are in");
    let mut rest = Vec::new();
    other.read_to_end(&mut rest).unwrap();
    publish();
    hear_until(&mut first, "versionPublished");
}
