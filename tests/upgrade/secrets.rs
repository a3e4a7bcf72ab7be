//! Secrets across a takeover: out of everybody's sight, with whoever decides, and nobody takes over who asks for less.

use rustix::process::Signal;

use super::relay::Relay;
use crate::support::until;
use crate::support::users::service;

const TOKEN: &str = "a-token-of-the-owner-of-this";
const HOOK: &str = "what-a-web-hook-is-sent";
const KEY: &str = "the-secret-key-of-a-queue";
const PRINCIPAL: &str = "the-token-of-some-principal";

fn in_environment(relay: &Relay, text: &str) -> bool {
    let environment = std::fs::read(format!("/proc/{}/environ", relay.pid())).unwrap_or_default();
    environment.windows(text.len()).any(|part| part == text.as_bytes())
}

/// What is asked without showing anything.
fn asked_by_nobody(relay: &Relay) -> u16 {
    let answer =
        ureq::get(format!("http://{}/v1/functions", relay.api)).config().http_status_as_error(false).build();
    answer.call().unwrap().status().as_u16()
}

#[test]
fn secrets_leave_the_environment_and_reach_whoever_takes_over() {
    let dir = tempfile::tempdir().unwrap();
    let principals = dir.path().join("principals.yaml");
    let entry = "principals: [{principal: \"arn:aws:iam::000000000000:user/a\", owner: true, token: {env: A_TOKEN}}]\n";
    std::fs::write(&principals, entry).unwrap();
    let environment = [
        ("SERIN_TOKEN", TOKEN),
        ("HOOK_SECRET", HOOK),
        ("SERIN_PLAN_ENV", "HOOK_SECRET=127.0.0.1 HOME"),
        ("AWS_ACCESS_KEY_ID", "AKIAX"),
        ("AWS_SECRET_ACCESS_KEY", KEY),
        ("A_TOKEN", PRINCIPAL),
        ("SERIN_PRINCIPALS", principals.to_str().unwrap()),
    ];
    let mut relay = Relay::start(dir.path(), &environment);
    relay.shows(TOKEN);
    let hook = format!("http://{}/", service("hook"));
    let plan = format!(
        "steps: [20%, {{webhook: {{url: \"{hook}\", headers: {{x-any: {{env: HOOK_SECRET}}}}}}}}, 100%]\nbake: 10h"
    );
    relay.roll_out(service("1"), service("2"), &plan);
    for upgrades in 0..=2 {
        for secret in [TOKEN, HOOK, KEY, PRINCIPAL] {
            assert!(
                !in_environment(&relay, secret),
                "{secret} is there to be read after {upgrades} upgrades"
            );
        }
        assert!(in_environment(&relay, "HOME=/nonexistent"), "what is no secret stays");
        assert_eq!(asked_by_nobody(&relay), 401);
        for token in [TOKEN, PRINCIPAL] {
            relay.shows(token);
            assert_eq!(relay.get("/v1/functions").status, 200, "{token} after {upgrades} upgrades");
        }
        // The rollout has the variable that it wants.
        assert_eq!(relay.rollout()["phase"], "Progressing");
        if upgrades < 2 {
            relay.upgrade();
        }
    }
}

#[test]
fn whoever_asks_for_less_than_the_process_before_does_not_take_over() {
    let dir = tempfile::tempdir().unwrap();
    let principals = dir.path().join("principals.yaml");
    let entry = "principals: [{principal: \"arn:aws:iam::000000000000:user/a\", owner: true, token: {inline: a-token-of-an-owner}}]\n";
    std::fs::write(&principals, entry).unwrap();
    std::fs::set_permissions(&principals, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let environment = [("SERIN_TOKEN", TOKEN), ("SERIN_PRINCIPALS", principals.to_str().unwrap())];
    let relay = Relay::start(dir.path(), &environment);
    let serin = env!("CARGO_BIN_EXE_serin");
    relay.install(&format!("unset SERIN_PRINCIPALS; exec {serin} \"$@\""));
    relay.signal(Signal::USR2);
    // The two processes' lines come by pipes of their own.
    for said in ["goes on as before", "does not take over"] {
        until(said, || relay.logged(said) == 1);
    }
    until("what is missing is said", || relay.logged("--principals") >= 1);
    assert_eq!((relay.running().len(), asked_by_nobody(&relay)), (1, 401));
    relay.install_itself();
    relay.upgrade();
    assert_eq!(asked_by_nobody(&relay), 401);
}

#[test]
fn a_rollout_that_wants_what_the_successor_is_not_given_pauses_at_a_takeover() {
    let dir = tempfile::tempdir().unwrap();
    let environment = [("HOOK_SECRET", HOOK), ("SERIN_PLAN_ENV", "HOOK_SECRET=127.0.0.1")];
    let relay = Relay::start(dir.path(), &environment);
    let hook = format!("http://{}/", service("hook"));
    let plan = format!(
        "steps: [20%, {{webhook: {{url: \"{hook}\", headers: {{x-any: {{env: HOOK_SECRET}}}}}}}}, 100%]\nbake: 10h"
    );
    relay.roll_out(service("1"), service("2"), &plan);
    assert_eq!(relay.rollout()["phase"], "Progressing");
    let serin = env!("CARGO_BIN_EXE_serin");
    relay.install(&format!("unset SERIN_PLAN_ENV; exec {serin} \"$@\""));
    relay.upgrade();
    assert_eq!(relay.rollout()["phase"], "Paused");
    let ready = relay.get("/readyz").body.to_string();
    assert!(ready.contains("wants the variable HOOK_SECRET"), "{ready}");
}
