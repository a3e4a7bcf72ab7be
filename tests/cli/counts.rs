//! `serin history --counts` on the real binary: a rollout's counts come back out, and `serin replay` reads them.

use serde_json::Value;

use crate::support::serin::{Daemon, serin};
use crate::support::service::{Load, Service};
use crate::support::until;

const PLAN: &str = "function: shop\nalias: live\nsteps: [50%, 100%]\nbake: 1h\nanalysis: {latency: none}\n";

#[test]
fn the_counts_of_a_rollout_are_kept_and_lead_to_the_same_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let plan = dir.path().join("shop.yaml");
    std::fs::write(&plan, PLAN).unwrap();
    let plan = plan.to_str().unwrap();
    let daemon = Daemon::start(dir.path(), &[]);
    let services = [Service::start(0.01, 1), Service::start(0.5, 2)];
    for service in &services {
        daemon.serin(&["function", "publish", "shop", "--url", &service.url()]).done();
    }
    daemon.serin(&["alias", "create", "shop:live", "--version", "1"]).done();
    daemon.serin(&["history", "shop:live", "--counts"]).ended(1).complaining(&["no rollout"]);
    let load = Load::start(daemon.router, "/shop:live/", 200.0);
    daemon.serin(&["start", plan]).done();
    let status = || daemon.serin(&["status", "shop:live", "-o", "json"]).done().json();
    until("it is rolled back", || status()["phase"] == "RolledBack");
    drop(load);

    let counts = daemon.serin(&["history", "shop:live", "--counts"]).done().out;
    let lines: Vec<Value> = counts.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines[0]["prior"]["requests"].is_number(), "{counts}");
    let canary: u64 = lines[1..].iter().map(|line| line["canary"]["requests"].as_u64().unwrap()).sum();
    let failed: u64 = lines[1..].iter().map(|line| line["canary"]["failures"].as_u64().unwrap()).sum();
    let exposure = &status()["exposure"];
    assert_eq!((Some(canary), Some(failed)), (exposure["requests"].as_u64(), exposure["failures"].as_u64()));

    let file = dir.path().join("counts.jsonl");
    std::fs::write(&file, &counts).unwrap();
    let replayed = serin(&["replay", "--plan", plan, file.to_str().unwrap(), "-o", "json"]).done().out;
    let last: Value = serde_json::from_str(replayed.lines().last().unwrap()).unwrap();
    assert_eq!(last["verdict"], "rollback", "{replayed}");
    let (live, replayed) =
        (status()["evidence"]["lnHarm"].as_f64().unwrap(), last["lnHarm"].as_f64().unwrap());
    assert!((live - replayed).abs() < 0.05 * live.abs(), "{live} live and {replayed} replayed");

    for wrong in
        [&["--counts"][..], &["shop:live", "--counts", "--follow"], &["shop:live", "--counts", "-o", "json"]]
    {
        daemon.serin(&[&["history"], wrong].concat()).ended(2);
    }
    // Hardly any traffic comes any more, so the plan would take too long.
    let said = daemon.serin(&["lint", plan, "--against"]).ended(1).out;
    assert!(said.contains("a canary as good as that needs"), "{said}");
    daemon.stop();
}
