//! `serin calibrate` on the real binary: two equal versions over what was counted of an alias.

use serde_json::Value;

use crate::support::serin::Daemon;
use crate::support::service::{Load, Service};
use crate::support::until;

const PLAN: &str = "function: shop\nalias: live\nsteps: [50%, 100%]\nbake: 1h\nfirstWeight: unproven\n";
const QUICK: &str = "function: shop\nalias: live\nsteps: [10%, 100%]\nbake: 10s\nfirstWeight: unproven\n\
                     analysis: {latency: none, proof: {addedFailures: 20pp}}\n";

#[test]
fn an_alias_is_calibrated_by_what_was_counted_in_its_rollouts() {
    let dir = tempfile::tempdir().unwrap();
    let [plan, quick] = [("shop.yaml", PLAN), ("quick.yaml", QUICK)].map(|(name, text)| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    });
    let daemon = Daemon::start(dir.path(), &[]);
    let services = [Service::start(0.02, 1), Service::start(0.02, 2)];
    for service in &services {
        daemon.serin(&["function", "publish", "shop", "--url", &service.url()]).done();
    }
    daemon.serin(&["calibrate", "shop:live"]).ended(1).complaining(&["shop:live"]);
    daemon.serin(&["alias", "create", "shop:live", "--version", "1"]).done();
    let nothing = ["nothing is recorded of shop:live", "serin start", "serin simulate"];
    daemon.serin(&["calibrate", "shop:live", "--plan", &quick]).ended(1).complaining(&nothing);

    let load = Load::start(daemon.router, "/shop:live/", 100.0);
    daemon.serin(&["start", &plan]).done();
    let last_second = || {
        let said = daemon.serin(&["history", "shop:live", "--counts"]);
        let last: Option<Value> = said.out.lines().last().and_then(|line| serde_json::from_str(line).ok());
        last.and_then(|last| last["t"].as_f64()).unwrap_or(0.0)
    };
    until("something is counted", || last_second() > 0.0);
    let calibrate = ["calibrate", "shop:live", "--plan", &quick, "--runs", "8"];
    daemon.serin(&calibrate).ended(1).complaining(&["too little is recorded", "ten seconds"]);
    until("enough is counted", || last_second() > 11.0);
    daemon.serin(&["abort", "shop:live"]).done();
    drop(load);

    // The plan of the rollout is in no plans directory.
    let gone = ["the plan shop of the newest rollout", "--plan FILE"];
    daemon.serin(&["calibrate", "shop:live"]).ended(1).complaining(&gone);
    let json = || daemon.serin(&[&calibrate[..], &["-o", "json"]].concat()).done().json();
    let said = json();
    assert_eq!((&said["target"], &said["plan"]), (&Value::from("shop:live"), &Value::from("quick")));
    assert_eq!((&said["recorded"]["rollouts"], &said["runs"]), (&Value::from(1), &Value::from(8)));
    let (requests, failures) =
        (said["recorded"]["requests"].as_f64().unwrap(), said["recorded"]["failures"].as_f64().unwrap());
    assert!(requests > 100.0 && failures < requests * 0.2, "{said:#}");
    let share = |part: &Value| part.as_f64().unwrap();
    let back = &said["falseRollbacks"];
    assert!(
        share(&back["low"]) <= share(&back["share"]) && share(&back["share"]) <= share(&back["high"]),
        "{said:#}"
    );
    assert_eq!(back["promised"], 0.01);
    let all = share(&back["share"]) + share(&said["promoted"]) + share(&said["waiting"]);
    assert!((all - 1.0).abs() < 1e-9 && share(&said["promoted"]) >= 0.8, "{said:#}");
    assert!(share(&said["seconds"]["median"]) >= 10.0, "{said:#}");
    assert_eq!(json(), said, "the same seed and the same counts give the same answer");
    let told = daemon.serin(&calibrate).done().out;
    for part in ["recorded", "rolled back", "the plan promises 1.0%", "promoted", "nine of ten within"] {
        assert!(told.contains(part), "{part:?} is not in {told}");
    }
    daemon.stop();
}
