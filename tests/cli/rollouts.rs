//! Rollouts, started, looked at, waited for and operated by hand, as the real binary.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::support::client::Client;
use crate::support::serin::{Daemon, Running, Said, serin};
use crate::support::until;
use crate::support::upstream::Version;

/// Time and people decide, so that a test decides how far it goes.
const BY_HAND: &str = "\
function: shop
alias: live
bake: 0s
analysis: none
steps: [10%, pause: {}, 50%, approval: {}, 100%]
";

struct House {
    daemon: Daemon,
    _versions: [Version; 2],
}

/// A daemon with two versions, an alias on the first, and plans by name.
fn house(dir: &Path, plans: &[(&str, &str)]) -> House {
    let folder = dir.join("plans");
    std::fs::create_dir_all(&folder).unwrap();
    for (name, text) in plans {
        std::fs::write(folder.join(format!("{name}.yaml")), text).unwrap();
    }
    let daemon = Daemon::start(dir, &["--plans", folder.to_str().unwrap()]);
    let versions = [Version::start("one"), Version::start("two")];
    for version in &versions {
        let url = format!("http://{}", version.addr());
        daemon.serin(&["function", "publish", "shop", "--url", &url]).done();
    }
    daemon.serin(&["alias", "create", "shop:live", "--version", "1"]).done();
    House { daemon, _versions: versions }
}

impl House {
    fn status(&self) -> Value {
        self.daemon.serin(&["status", "shop:live", "-o", "json"]).done().json()
    }

    #[track_caller]
    fn until_phase(&self, phase: &str) {
        until(phase, || self.status()["phase"] == phase);
    }

    fn routing(&self) -> String {
        let alias = self.daemon.serin(&["alias", "get", "shop:live", "-o", "json"]).done().json();
        alias["routing"]["text"].as_str().unwrap().to_owned()
    }
}

#[test]
fn a_rollout_is_led_by_hand_from_start_to_end() {
    let dir = tempfile::tempdir().unwrap();
    let house = house(dir.path(), &[("shop", BY_HAND)]);
    let daemon = &house.daemon;
    let would = daemon.serin(&["start", "shop", "--dry-run"]).done().out;
    assert!(would.contains("v1 → v2") && would.contains("Nothing was changed"), "{would}");
    assert_eq!(house.routing(), "v1");

    let started = daemon.serin(&["start", "shop", "--reason", "PAY-811"]).done();
    assert!(started.out.starts_with("shop:live: v1 → v2"), "{started:?}");
    assert!(started.err.contains("serin status shop:live --watch"), "{started:?}");
    house.until_phase("Paused");
    let waits = daemon.serin(&["status", "shop:live", "--wait", "--timeout", "10s"]).ended(7);
    assert!(waits.out.contains("PAUSED, waiting for resume"), "{waits:?}");
    let status = house.status();
    assert_eq!(
        (status["step"]["index"].as_u64(), status["weight"]["committed"].as_f64()),
        (Some(2), Some(0.1))
    );
    assert_eq!(status["trigger"]["reason"], "PAY-811");
    let yaml = daemon.serin(&["status", "shop:live", "-o", "yaml"]).done().out;
    assert!(yaml.contains("phase: Paused"), "{yaml}");

    daemon.serin(&["resume", "shop:live"]).done();
    until("it waits for approval", || house.status()["waitingFor"]["kind"] == "approval");
    assert_eq!(house.routing(), "v1 50% / v2 50%");
    daemon.serin(&["promote", "shop:live"]).ended(1).complaining(&["approval", "--reason"]);
    let promoted = daemon.serin(&["approve", "shop:live"]).done();
    assert!(promoted.out.contains("approved"), "{promoted:?}");
    let ended = daemon.serin(&["status", "shop:live", "--wait", "--timeout", "10s"]).done();
    assert!(ended.out.contains("SUCCEEDED") && ended.out.contains("v2 100%"), "{ended:?}");
    assert_eq!(house.routing(), "v2");

    let back = daemon.serin(&["rollback", "shop:live", "--reason", "a customer called"]).done();
    assert!(back.out.contains("back on v1"), "{back:?}");
    assert_eq!(house.routing(), "v1");
    let shown = daemon.serin(&["status", "shop:live"]).done().out;
    assert!(shown.contains("traffic   v1 100%"), "{shown}");
    let told = daemon.serin(&["explain", "shop:live"]).done().out;
    assert!(told.contains("shop:live: SUCCEEDED") && told.contains("a customer called"), "{told}");
    daemon.serin(&["start", "shop"]).ended(1).complaining(&["rolled back", "--allow-rejected"]);
    daemon.serin(&["start", "shop", "--allow-rejected"]).done();
}

#[test]
fn ends_have_exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    let fast = "function: shop\nalias: live\nbake: 0s\nanalysis: none\nsteps: [100%]\n";
    let broken = "function: shop\nalias: live\nbake: 1h\nmaxExposure: {failures: 1}\nsteps: [50%, 100%]\n";
    let house = house(dir.path(), &[("fast", fast), ("by-hand", BY_HAND), ("broken", broken)]);
    let daemon = &house.daemon;
    let paused = daemon.serin(&["start", "by-hand", "--wait"]).ended(7);
    assert!(paused.err.contains("PAUSED, waiting for resume"), "{paused:?}");
    daemon.serin(&["abort", "shop:live"]).done();
    daemon.serin(&["status", "shop:live", "--wait"]).ended(4);
    let again = daemon.serin(&["abort", "shop:live"]).done();
    assert!(again.out.contains("nothing was changed"), "{again:?}");

    let waits = daemon.serin(&["start", "broken", "--wait", "--timeout", "1s"]).ended(6);
    assert!(waits.err.contains("goes on without being waited for"), "{waits:?}");
    let mut client = Client::connect(daemon.router);
    while house.status()["phase"] == "Progressing" {
        client.get("/shop:live/status/500");
    }
    let ended = daemon.serin(&["status", "shop:live", "--wait"]).ended(3);
    assert!(ended.out.contains("ROLLED BACK") && ended.out.contains("/status/500"), "{ended:?}");
    assert_eq!(house.routing(), "v1");
    daemon.serin(&["start", "fast", "--wait", "--allow-rejected"]).done();
    assert_eq!(house.routing(), "v2");
}

/// Types a command whose stdout nobody reads, or takes nothing.
fn unheard(daemon: &Daemon, to: impl Into<Stdio>, args: &[&str]) -> Said {
    let mut command = daemon.command();
    Said::of(command.args(args).stdout(to).output().unwrap())
}

#[test]
fn whether_anybody_reads_changes_no_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let broken = "function: shop\nalias: live\nbake: 1h\nmaxExposure: {failures: 1}\nsteps: [50%, 100%]\n";
    let house = house(dir.path(), &[("broken", broken)]);
    let daemon = &house.daemon;
    let gone = || std::io::pipe().unwrap().1;
    let full = || File::options().write(true).open("/dev/full").unwrap();
    unheard(daemon, gone(), &["start", "broken", "--wait", "--timeout", "10ms"]).ended(6);
    let mut client = Client::connect(daemon.router);
    while house.status()["phase"] == "Progressing" {
        client.get("/shop:live/status/500");
    }
    unheard(daemon, gone(), &["status", "shop:live", "--wait"]).ended(3);
    unheard(daemon, gone(), &["status", "shop:live", "--watch", "--wait"]).ended(3);
    unheard(daemon, full(), &["status", "shop:live", "--wait"]).ended(3).complaining(&["standard output"]);
    unheard(daemon, gone(), &["history", "--follow"]).done();
    unheard(daemon, gone(), &["rollback", "shop:live"]).done();
    // What was done is told where it still can be.
    unheard(daemon, full(), &["rollback", "shop:live", "--to", "2"])
        .ended(1)
        .complaining(&["shop:live is v2 now", "cannot write to standard output"]);
    assert_eq!(house.routing(), "v2");
    let bad = dir.path().join("bad.yaml");
    std::fs::write(&bad, "function: shop\n").unwrap();
    unheard(daemon, gone(), &["lint", bad.to_str().unwrap()]).ended(1);
}

#[test]
fn promoting_says_what_it_skips_and_wants_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let plan = "function: shop\nalias: live\nsteps: [10%, 50%, 100%]\n";
    let house = house(dir.path(), &[("shop", plan)]);
    let daemon = &house.daemon;
    daemon.serin(&["start", "shop"]).done();
    until("it bakes", || house.status()["waitingFor"]["kind"] == "bake");
    let refused = daemon.serin(&["promote", "shop:live"]).ended(1);
    assert!(!refused.err.contains("bake"), "what is refused skips nothing: {refused:?}");
    refused.complaining(&[
        "is not promoted: that would skip proof; say why, as in `serin promote shop:live --reason \"…\"`",
    ]);
    let passed = daemon.serin(&["promote", "shop:live", "--reason", "seen it"]).done();
    for part in ["at step 1 of 3: on to 50%, skipping", "✗ bake 5m", "✗ proof"] {
        assert!(passed.err.contains(part), "{part}: {passed:?}");
    }
    assert!(passed.out.contains("v2 at 50%"), "{passed:?}");
    assert_eq!(house.routing(), "v1 50% / v2 50%");
    let full = daemon.serin(&["promote", "shop:live", "--full", "--reason", "seen it all"]).done();
    assert!(full.err.contains("v2 100%"), "{full:?}");
    daemon.serin(&["status", "shop:live", "--wait"]).done();
    let history = daemon.serin(&["history", "shop:live"]).done().out;
    assert!(history.contains("promoted to the end") && history.contains("\"seen it all\""), "{history}");
}

#[test]
fn a_foreign_hand_pauses_and_a_person_decides() {
    let dir = tempfile::tempdir().unwrap();
    let house = house(dir.path(), &[("shop", BY_HAND)]);
    let daemon = &house.daemon;
    daemon.serin(&["start", "shop", "--wait"]).ended(7);
    daemon.serin(&["resume", "shop:live"]).done();
    until("it waits for approval", || house.status()["waitingFor"]["kind"] == "approval");
    let update = daemon.serin(&["alias", "update", "shop:live", "--weight", "2=20%"]).done();
    assert!(update.err.contains("is moving this alias"), "{update:?}");
    let shown = daemon.serin(&["status", "shop:live", "--wait"]).ended(7).out;
    for part in ["drift", "from  v1 50% / v2 50%", "to    v1 80% / v2 20%", "resume shop:live --restore"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    daemon.serin(&["resume", "shop:live"]).ended(1).complaining(&["--restore", "--adopt"]);
    daemon.serin(&["resume", "shop:live", "--restore"]).done();
    assert_eq!(house.routing(), "v1 50% / v2 50%");
    daemon.serin(&["abort", "shop:live"]).done();
    house.until_phase("Aborted");
    let retried = daemon.serin(&["retry", "shop:live"]).done();
    house.until_phase("Paused");
    let status = house.status();
    assert!(status["retryOf"].is_string());
    let id = status["id"].as_str().unwrap();
    let told = format!("shop:live: v1 → v2 is at 10%; shop:live is v1 90% / v2 10% now, rollout {id}\n");
    assert_eq!(retried.out, told);
    assert!(retried.err.contains("serin status shop:live --watch"), "{retried:?}");
}

#[test]
fn a_plan_is_sent_from_a_file_with_its_defaults() {
    let dir = tempfile::tempdir().unwrap();
    let house = house(dir.path(), &[]);
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    write("team.yaml", "kind: Defaults\nbake: 7m\n");
    let plan = write("mine.yaml", "use: team\nfunction: shop\nalias: live\nsteps: [10%, 100%]\n");
    let faulty = write("faulty.yaml", "function: shop\nalias: live\nsteps: [10, 100%]\n");
    house.daemon.serin(&["start", &faulty]).ended(1).complaining(&[
        "faulty.yaml:3:9",
        "10%",
        "is not in order; nothing was started",
    ]);
    house.daemon.serin(&["start", &plan]).done();
    assert_eq!(house.status()["plan"], "mine");
    let told = house.daemon.serin(&["explain", "shop:live"]).done().out;
    assert!(told.contains("bake 7m"), "{told}");
    // A faulty file is refused without a daemon too.
    serin(&["start", &faulty, "--url", "http://127.0.0.1:1"]).ended(1).complaining(&["is not in order"]);
}

#[test]
fn waiting_survives_a_restart_of_the_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let plan = "function: shop\nalias: live\nbake: 1h\nsteps: [10%, 100%]\n";
    let house = house(dir.path(), &[("shop", plan)]);
    house.daemon.serin(&["start", "shop"]).done();
    let api = house.daemon.api.to_string();
    let mut wait = house.daemon.command();
    wait.args(["status", "shop:live", "--wait", "--timeout", "60s"]);
    let waiting = Running::start(wait);
    until("it waits", || waiting.err().contains("baking"));
    let House { daemon, _versions } = house;
    daemon.stop();
    until("the outage is told", || waiting.err().contains("trying again"));
    let daemon = Daemon::start(dir.path(), &["--api", &api]);
    until("it waits again", || waiting.err().contains("answers again"));
    daemon.serin(&["abort", "shop:live"]).done();
    let said = waiting.said().ended(4);
    assert!(said.out.contains("ABORTED"), "{said:?}");
}

#[test]
fn watching_prints_anew_only_what_changed() {
    let dir = tempfile::tempdir().unwrap();
    let house = house(dir.path(), &[("shop", BY_HAND)]);
    house.daemon.serin(&["start", "shop", "--wait"]).ended(7);
    let mut watch = house.daemon.command();
    watch.args(["status", "shop:live", "--watch"]);
    let watching = Running::start(watch);
    let pictures = || watching.out().matches("rollout ").count();
    until("it draws", || pictures() == 1);
    house.daemon.serin(&["abort", "shop:live"]).done();
    let said = watching.said().done();
    assert!(said.out.contains("PAUSED") && said.out.contains("ABORTED"), "{said:?}");
    assert!(!said.out.contains('\u{1b}'), "{said:?}");
}

#[test]
fn a_queued_rollout_is_shown_with_the_one_ahead_and_promoting_means_that_one() {
    let dir = tempfile::tempdir().unwrap();
    let house = house(dir.path(), &[("shop", BY_HAND)]);
    let daemon = &house.daemon;
    daemon.serin(&["start", "shop", "--wait"]).ended(7);
    daemon.serin(&["function", "publish", "shop", "--url", "http://127.0.0.1:9003"]).done();
    daemon.serin(&["start", "shop", "--to", "3"]).done();
    let shown = daemon.serin(&["status", "shop:live"]).done().out;
    let (ahead, queued) = (shown.find("v1 → v2").unwrap(), shown.find("v1 → v3").unwrap());
    assert!(ahead < queued && shown.contains("PENDING, waiting for its turn"), "{shown}");
    let list = daemon.serin(&["status"]).done().out;
    assert!(list.contains("pending: queue") && list.contains("paused"), "{list}");
    let promoted = daemon.serin(&["promote", "shop:live", "--reason", "go"]).done();
    assert!(promoted.err.contains("at step 2 of 5"), "{promoted:?}");
    assert_eq!(house.routing(), "v1 50% / v2 50%");
}

#[test]
fn plans_are_listed_and_shown() {
    let dir = tempfile::tempdir().unwrap();
    let faulty = "function: shop\nalias: live\nsteps: [10, 100%]\n";
    let house = house(dir.path(), &[("shop", BY_HAND), ("faulty", faulty)]);
    let list = house.daemon.serin(&["plan", "list"]).done();
    assert!(list.out.contains("shop") && list.out.contains("faulty"), "{list:?}");
    assert!(list.err.contains("serin plan show faulty"), "{list:?}");
    let shown = house.daemon.serin(&["plan", "show", "shop"]).done();
    assert!(shown.out.contains("function: shop") && shown.out.contains("onFailure: rollback"), "{shown:?}");
    let shown = house.daemon.serin(&["plan", "show", "faulty"]).done();
    assert!(shown.err.contains("faulty.yaml:3:9"), "{shown:?}");
    let overview = house.daemon.serin(&["status"]).done().out;
    assert!(
        overview.contains("1 plan file is not in order") && overview.contains("faulty.yaml:3:9"),
        "{overview}"
    );
    house.daemon.serin(&["start", "faulty"]).ended(1).complaining(&["plan faulty is not in order"]);
}
