//! Who may change things: SERIN_TOKEN on both sides, and who is who in the history.

use crate::support::serin::{Daemon, Said, command, serin};

fn publish(daemon: &Daemon, token: Option<&str>, port: u16) -> Said {
    let mut typed = daemon.command();
    typed.args(["function", "publish", "shop", "--url", &format!("http://127.0.0.1:{port}")]);
    if let Some(token) = token {
        typed.env("SERIN_TOKEN", token);
    }
    let output = typed.output().unwrap();
    Said {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn with_tokens_everything_wants_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut serve = command();
    serve.env("SERIN_TOKEN", "ana:one-with-more-letters,bo:two-with-more-letters");
    let daemon = Daemon::start_as(serve, dir.path(), &[]);
    publish(&daemon, None, 9001).ended(1).complaining(&["wants a bearer token", "SERIN_TOKEN"]);
    publish(&daemon, Some("ana:two-with-more-letters"), 9001)
        .ended(1)
        .complaining(&["not one of this serin's"]);
    publish(&daemon, Some("ana:one-with-more-letters,bo:two-with-more-letters"), 9001)
        .ended(1)
        .complaining(&["several tokens"]);
    assert_eq!(publish(&daemon, Some("ana:one-with-more-letters"), 9001).done().out, "1\n");
    assert_eq!(publish(&daemon, Some("bo:two-with-more-letters"), 9002).done().out, "2\n");
    daemon.serin(&["history"]).ended(1).complaining(&["wants a bearer token", "SERIN_TOKEN"]);
    daemon.serin(&["status"]).ended(1).complaining(&["wants a bearer token", "SERIN_TOKEN"]);
    let mut typed = daemon.command();
    let typed = typed.args(["history", "-o", "json"]).env("SERIN_TOKEN", "bo:two-with-more-letters").output();
    let history: serde_json::Value = serde_json::from_slice(&typed.unwrap().stdout).unwrap();
    let actors: Vec<&str> =
        history["events"].as_array().unwrap().iter().map(|event| event["actor"].as_str().unwrap()).collect();
    assert_eq!(actors, ["ana", "ana", "bo"]);
    daemon.logs_line("who may change", |line| line["changes"] == "want a bearer token, one of SERIN_TOKEN");
    let log = daemon.log.lock().unwrap();
    assert!(!format!("{log:?}").contains("one-with-more-letters"));
}

#[test]
fn without_a_token_people_are_whom_they_claim_to_be() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path(), &[]);
    publish(&daemon, None, 9001).done();
    let history = daemon.serin(&["history", "-o", "json"]).done().json();
    let actor = history["events"][0]["actor"].as_str().unwrap();
    assert!(actor.starts_with("tester@") && actor.ends_with(" (claimed)"), "{actor}");
    daemon.logs("whoever reaches the API is the owner");
    daemon.logs("hold nobody without --principals");
}

#[test]
fn a_token_that_could_be_guessed_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut serve = command();
    serve.env("SERIN_TOKEN", "ana:one-with-more-letters,bo:fifteen-letters");
    serve.args(["serve", "--api", "127.0.0.1:0", "--router", "127.0.0.1:0", "--data-dir"]);
    let output = serve.arg(dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the token of bo in SERIN_TOKEN has 15 characters"), "{said}");
    assert!(!said.contains("letters,") && !said.contains("fifteen"), "{said}");
}

#[test]
fn an_open_api_wants_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    serin(&["serve", "--data-dir", data, "--api", "0.0.0.0:0"])
        .ended(1)
        .complaining(&["can be reached from other machines", "SERIN_TOKEN"]);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
