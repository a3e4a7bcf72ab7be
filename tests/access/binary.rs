//! The real binary with a file of principals: what it says, what it refuses, and the command line as an owner.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::PRINCIPALS;
use crate::support::serin::{Daemon, serin};

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
        let log = daemon.log.lock().unwrap();
        log.iter().find_map(|line| line["changes"].as_str().map(str::to_owned)).unwrap()
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
