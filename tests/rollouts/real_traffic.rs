//! What real traffic does to evidence, over real sockets: an outage, hangs, refusals, gRPC, a cold start.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::house::House;
use crate::support::service::{Answer, Load, Service};

const PATIENCE: Duration = Duration::from_secs(120);

/// A daemon with function `f`: stable is version 1, the canary version 2.
fn house(stable: &Service, canary: &Service) -> House {
    let house = House::start();
    house.publish("f", &stable.url());
    house.publish("f", &canary.url());
    house.alias("f", "live", "1");
    house
}

/// A hundred requests a second by users none of whom waits for another; begun once stable is known a little.
fn users(house: &House) -> Vec<Load> {
    let loads: Vec<Load> = (0..50).map(|_| Load::start(house.router(), "/f:live/", 2.0)).collect();
    let answers = || loads.iter().map(|load| load.of("1").0).sum::<u64>();
    for _ in 0..30_000 {
        if answers() >= 400 {
            return loads;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("only {} answers of stable", answers());
}

/// Canary requests until it was rolled back, under the plan that says nothing but its steps.
fn requests_until_rollback(stable: Answer, canary: Answer) -> u64 {
    let (stable, canary) = (Service::answering(move |_| stable), Service::answering(move |_| canary));
    let house = house(&stable, &canary);
    let loads = users(&house);
    house.start_rollout("function: f\nalias: live\nsteps: [3%, 25%, 100%]\n", &json!({})).ok();
    let status = house.wait_for("f:live", "RolledBack", PATIENCE);
    // Users of a canary that hangs come back when the daemon ends.
    drop(house);
    drop(loads);
    requests(&status)
}

/// Counts something up to three times, until it is within its bound: what comes while a busy machine does not get to deciding
/// is no fault, and a fault is there each time.
fn at_most(what: &str, most: u64, count: impl Fn() -> u64) {
    let mut counts = Vec::new();
    while counts.last().is_none_or(|count| *count > most) {
        assert!(counts.len() < 3, "{what}: {counts:?}");
        counts.push(count());
    }
    println!("{what}: {counts:?}");
}

fn requests(status: &Value) -> u64 {
    status["exposure"]["requests"].as_u64().unwrap()
}

#[test]
fn hanging_canary_is_rolled_back_while_its_first_users_wait() {
    at_most("requests wait", 12, || {
        requests_until_rollback(Answer::GOOD, Answer { after: None, ..Answer::GOOD })
    });
}

#[test]
fn canary_that_answers_404_to_everything_is_rolled_back_by_the_default_plan() {
    let refused = requests_until_rollback(Answer::GOOD, Answer { status: 404, ..Answer::GOOD });
    println!("404 to everything at 3 % of 100/s: {refused} requests");
    assert!(refused <= 12, "{refused}");
}

#[test]
fn canary_whose_grpc_calls_fail_in_good_answers_is_rolled_back() {
    for status in ["13", "14"] {
        let grpc = |status| Answer { grpc_status: Some(status), ..Answer::GOOD };
        let failed = requests_until_rollback(grpc("0"), grpc(status));
        println!("grpc-status {status} to everything at 3 % of 100/s: {failed} requests");
        assert!(failed <= 7, "{failed}");
    }
}

/// Its first two hundred requests take three times as long, and then it is as fast as stable.
#[test]
fn cold_canary_is_promoted() {
    let after = |ms| Answer { after: Some(Duration::from_millis(ms)), ..Answer::GOOD };
    let stable = Service::answering(move |_| after(20));
    let canary = Service::answering(move |request| after(if request < 200 { 60 } else { 20 }));
    let house = house(&stable, &canary);
    let loads = users(&house);
    let plan = "function: f\nalias: live\nsteps: [50%, 100%]\nbake: 2s\nanalysis: {proof: none, latency: {warmup: 1s}}\n";
    house.start_rollout(plan, &json!({})).ok();
    let warming = house.wait_until("f:live", "warming up", PATIENCE, |status| requests(status) > 20);
    assert!(warming["evidence"]["warming"]["requests"].as_u64() > Some(0), "{warming:#}");
    house.wait_until("f:live", "at its end", PATIENCE, |status| status["phase"] != "Progressing");
    assert_eq!(house.phase("f:live"), "Succeeded", "{:#?}", house.history("f:live"));
    drop(loads);
}

/// Both versions, of which nothing failed before, fail everything for a second, as when what they share is gone; later the
/// canary breaks.
#[test]
fn broken_canary_is_rolled_back_as_soon_after_an_outage_as_ever() {
    // Eight to twenty, and more than eighty where the outage damps.
    at_most("failed after the outage", 24, failures_after_an_outage);
}

fn failures_after_an_outage() -> u64 {
    let (stable, canary) = (Service::start(0.0, 1), Service::start(0.0, 2));
    let house = house(&stable, &canary);
    let loads = users(&house);
    house.start_rollout("function: f\nalias: live\nsteps: [10%, 100%]\nbake: 1h\n", &json!({})).ok();
    let served = |more: u64| {
        let until = requests(&house.status("f:live")) + more;
        house.wait_until("f:live", "served", PATIENCE, |status| requests(status) >= until)
    };
    served(20);
    for failures in [1.0, 0.0] {
        stable.set_failures(failures);
        canary.set_failures(failures);
        served(10);
    }
    let before = served(200);
    assert_eq!(before["phase"], "Progressing", "{before:#}");
    canary.set_failures(1.0);
    let after = house.wait_for("f:live", "RolledBack", PATIENCE);
    let [before, after] = [before, after].map(|status| status["exposure"]["failures"].as_u64().unwrap());
    println!("{before} failed in the outage, {} after it until rollback", after - before);
    assert!(after > before, "{before} failed in the outage, {after} in all");
    drop(loads);
    after - before
}

/// A hundred users who stick to their version, one of whom asks forty times as often as the others.
#[test]
fn users_who_stick_are_judged_and_not_their_requests() {
    let (stable, canary) = (Service::start(0.0, 1), Service::start(0.0, 2));
    let house = house(&stable, &canary);
    let mut loads: Vec<Load> = (0..100)
        .map(|user| Load::by(house.router(), "/f:live/", 1.0, &format!("x-user: {user}\r\n")))
        .collect();
    let plan =
        "function: f\nalias: live\nsteps: [50%, 100%]\nbake: 1h\nrouting: {affinity: {header: x-user}}\n";
    house.start_rollout(plan, &json!({})).ok();
    let served = |least: u64| {
        house.wait_until("f:live", "served", PATIENCE, |status| requests(status) >= least);
    };
    served(200);
    loads.extend((0..4).map(|_| Load::by(house.router(), "/f:live/", 10.0, "x-user: 7\r\n")));
    served(600);
    let status = house.status("f:live");
    assert_eq!(status["phase"], "Progressing", "{status:#}");
    assert_eq!(status["evidence"]["split"]["mismatch"], false, "{status:#}");
    let words = house.get("/v1/rollouts/f:live/explain").ok()["notices"].to_string();
    assert!(words.contains("users are judged"), "{words}");
    let before = status["exposure"]["failures"].as_u64().unwrap();
    canary.set_failures(1.0);
    let after = house.wait_for("f:live", "RolledBack", PATIENCE)["exposure"]["failures"].as_u64().unwrap();
    println!("{} failed requests of users until rollback", after - before);
    assert!(after > before);
    drop(loads);
}

const PATIENCE_OF_USERS: Duration = Duration::from_millis(300);
const WITHOUT_LATENCY: &str =
    "function: f\nalias: live\nsteps: [25%, 100%]\nbake: 2s\nanalysis: {latency: none}\n";

/// A hundred requests a second by users who wait for three tenths of a second and then go away.
fn impatient_users(house: &House) -> Vec<Load> {
    (0..50).map(|_| Load::waiting(PATIENCE_OF_USERS, house.router(), "/f:live/", 2.0, "")).collect()
}

/// Nobody judges its latency, and of all who ask it nobody waits for a timeout.
#[test]
fn canary_that_hangs_until_its_users_give_up_is_rolled_back_where_latency_is_not_judged() {
    let (stable, canary) =
        (Service::start(0.0, 1), Service::answering(|_| Answer { after: None, ..Answer::GOOD }));
    let house = house(&stable, &canary);
    let loads = impatient_users(&house);
    house.start_rollout(WITHOUT_LATENCY, &json!({})).ok();
    let given_up = |status: &Value| status["evidence"]["patience"]["canaryGaveUp"].as_u64() > Some(0);
    let is_over = |status: &Value| status["phase"] != "Progressing";
    house.wait_until("f:live", "given up", PATIENCE, |status| given_up(status) || is_over(status));
    let status = house.wait_for("f:live", "RolledBack", PATIENCE);
    let reason = status["reason"].as_str().unwrap();
    println!("{} requests until rollback: {reason}", requests(&status));
    assert!(reason.contains("clients gave up"), "{reason}");
    assert_eq!(status["exposure"]["failures"], 0, "nobody's failure: {status:#}");
    drop(loads);
}

/// A tenth of the requests hang on both versions alike: that is no more than users do.
#[test]
fn canary_on_which_users_give_up_as_on_stable_is_promoted_where_latency_is_not_judged() {
    let hangs = |every: u64| {
        Service::answering(move |request| match request % every {
            0 => Answer { after: None, ..Answer::GOOD },
            _ => Answer::GOOD,
        })
    };
    let (stable, canary) = (hangs(10), hangs(10));
    let house = house(&stable, &canary);
    let loads = impatient_users(&house);
    let plan = WITHOUT_LATENCY.replace("latency: none", "latency: none, proof: none").replace("2s", "10s");
    house.start_rollout(&plan, &json!({})).ok();
    let told = house.wait_until("f:live", "given up", PATIENCE, |status| {
        let patience = &status["evidence"]["patience"];
        patience["canaryGaveUp"].as_u64() > Some(5) && patience["stableGaveUp"].as_u64() > Some(15)
    });
    assert_eq!(told["phase"], "Progressing", "{told:#}");
    let words = house.get("/v1/rollouts/f:live/explain").ok().to_string();
    assert!(words.contains("canaryGaveUp"), "{words}");
    house.wait_until("f:live", "at its end", PATIENCE, |status| status["phase"] != "Progressing");
    assert_eq!(house.phase("f:live"), "Succeeded", "{:#?}", house.history("f:live"));
    drop(loads);
}
