//! Wrong words, help, and what is made of the help.

use std::io::Read;
use std::process::Stdio;

use crate::support::serin::{Daemon, command, serin};

#[test]
fn wrong_usage_is_found_before_anything_is_done() {
    for (args, part) in [
        (&[][..], "Usage"),
        (&["nonsense"], "unrecognized subcommand"),
        (&["stauts"], "similar"),
        (&["status", "checkout"], "function:alias, as in checkout:live"),
        (&["status", "a:b:c"], "alias name"),
        (&["status", "--wait"], "required"),
        (&["status", "a:live", "--timeout", "10m"], "--wait"),
        (&["status", "a:live", "--wait", "--timeout", "10"], "unit, as in 90s"),
        (&["start", "x", "--to", "v42"], "whole number"),
        (&["start", "x", "--wait", "--dry-run"], "cannot be used with"),
        (&["start"], "PLAN"),
        (&["resume", "a:live", "--restore", "--adopt"], "cannot be used with"),
        (&["abort", "a:live", "--reason", " "], "a reason says something"),
        (&["abort", "a:live", "--idempotency-key", "a b"], "visible ASCII"),
        (&["serve", "--api", "7411"], "IP:PORT"),
        (&["serve", "--drain", "soon"], "unit"),
        (&["lint"], "FILE"),
        (&["completions", "tcl"], "possible values"),
        (&["function", "publish", "a b", "--url", "http://x"], "function name"),
    ] {
        serin(args).ended(2).complaining(&[part]);
    }
}

#[test]
fn settings_that_cannot_be_end_with_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    serin(&["serve", "--data-dir", data, "--account", "7"]).ended(1).complaining(&["twelve digits"]);
    serin(&["serve", "--data-dir", data, "--workers", "0"]).ended(1).complaining(&["--workers"]);
    let typed = command().args(["serve", "--data-dir", data]).env("SERIN_LOG", "=x=").output().unwrap();
    assert_eq!(typed.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&typed.stderr).contains("no log filter"), "{typed:?}");
    let typed = command().arg("serve").env_remove("HOME").output().unwrap();
    assert_eq!(typed.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&typed.stderr).contains("--data-dir"), "{typed:?}");
}

#[test]
fn variables_set_to_nothing_count_as_not_set() {
    let dir = tempfile::tempdir().unwrap();
    let mut serve = command();
    for name in ["SERIN_PLANS", "SERIN_API", "SERIN_WORKERS", "SERIN_DRAIN", "SERIN_TOKEN", "SERIN_ACCOUNT"] {
        serve.env(name, "");
    }
    Daemon::start_as(serve, dir.path(), &[]).stop();
    let typed = command().args(["status"]).env("SERIN_URL", "").output().unwrap();
    assert!(String::from_utf8_lossy(&typed.stderr).contains("http://127.0.0.1:7411"), "{typed:?}");
}

#[test]
fn a_daemon_that_is_not_there_is_said_to_be_so() {
    for args in
        [&["status"][..], &["status", "a:live"], &["abort", "a:live"], &["plan", "list"], &["history"]]
    {
        let args = [args, &["--url", "http://127.0.0.1:1"]].concat();
        serin(&args).ended(1).complaining(&[
            "cannot reach serin at http://127.0.0.1:1: connection refused; is `serin serve` running? Set SERIN_URL",
        ]);
    }
    serin(&["status", "--url", "localhost:7411"]).ended(1).complaining(&["http://"]);
    serin(&["status", "--url", "http://me:secret@h"]).ended(1).complaining(&["SERIN_TOKEN"]);
}

#[test]
fn every_command_helps_and_completes() {
    let verbs = [
        "serve",
        "start",
        "status",
        "explain",
        "history",
        "promote",
        "pause",
        "resume",
        "approve",
        "abort",
        "rollback",
        "retry",
        "function",
        "alias",
        "plan",
        "lint",
        "schema",
        "fsck",
        "backup",
        "restore",
        "completions",
        "man",
    ];
    let help = serin(&["--help"]).done().out;
    let scripts = ["bash", "zsh", "fish", "elvish", "powershell"]
        .map(|shell| (shell, serin(&["completions", shell]).done().out));
    for verb in verbs {
        assert!(help.contains(&format!("\n  {verb}")), "{verb}: {help}");
        assert!(serin(&[verb, "--help"]).done().out.contains("Usage: serin"), "{verb}");
        for (shell, script) in &scripts {
            assert!(script.contains(verb), "{verb} is not in the completions of {shell}");
        }
    }
    for flag in ["--idempotency-key", "--keep-history", "--clear-weights", "--dead-letter", "--url"] {
        assert!(scripts[0].1.contains(flag), "{flag} is not in the completions");
    }
    assert_eq!(serin(&["--version"]).done().out, format!("serin {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn manual_pages_are_written() {
    let page = serin(&["man"]).done().out;
    assert!(page.contains(".TH serin 1"), "{page}");
    let dir = tempfile::tempdir().unwrap();
    serin(&["man", "--dir", dir.path().to_str().unwrap()]).done();
    for name in ["serin.1", "serin-status.1", "serin-function-publish.1", "serin-alias-update.1"] {
        let page = std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert!(page.contains(".SH NAME"), "{name}: {page}");
    }
    serin(&["man", "--dir", "/proc/none"]).ended(1).complaining(&["cannot write the pages into /proc/none"]);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let mut child = command()
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(said, "");
}

#[test]
fn the_lists_of_an_empty_house_say_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path(), &[]);
    assert!(daemon.serin(&["status"]).done().out.contains("no rollout has been started yet"));
    assert_eq!(daemon.serin(&["status", "-o", "json"]).done().json()["rollouts"], serde_json::json!([]));
    assert!(daemon.serin(&["status", "-o", "yaml"]).done().out.contains("rollouts: []"));
    assert!(daemon.serin(&["function", "list"]).done().err.contains("serin function publish"));
    assert!(daemon.serin(&["plan", "list"]).done().err.contains("--plans"));
    assert!(daemon.serin(&["history"]).done().err.contains("nothing happened"));
    daemon.serin(&["status", "a:live"]).ended(1).complaining(&["there is no alias a:live"]);
    daemon.serin(&["explain", "a:live"]).ended(1).complaining(&["there is no alias a:live"]);
    daemon.serin(&["promote", "a:live"]).ended(1).complaining(&["there is no alias a:live"]);
    daemon.serin(&["status", "abcd"]).ended(1).complaining(&["there is no rollout abcd"]);
    daemon.serin(&["start", "nope"]).ended(1).complaining(&["no plan \"nope\""]);
    daemon.serin(&["start", "./nope.yaml"]).ended(1).complaining(&["cannot read the plan ./nope.yaml"]);
}
