//! Clients who give up, where latency is not judged: a canary that hangs is found by them, and a good one has nothing to fear.

use std::sync::Arc;
use std::time::Duration;

use super::{Arm, Crowd, Manners, ReadPlan, Run, Traffic, read_plan, run};
use serin_core::plan::Source;

const HOUR: Duration = Duration::from_secs(3600);
const PLAN: &str =
    "function: f\nalias: live\nsteps: [3%, 25%, 50%, 100%]\nbake: 1m\nanalysis: {latency: none}\n";
const UNPROVEN: &str = "function: f\nalias: live\nsteps: [3%, 25%, 50%, 100%]\nbake: 5m\nanalysis: {latency: none, proof: none}\n";
const AFFINITY: &str = "routing: {affinity: {cookie: session}}\n";
const PATIENCE: Duration = Duration::from_millis(300);

/// Clients who wait for 300 ms, where answers take so long on average.
fn waiting(rate: f64, answers_ms: u64) -> Traffic {
    let arm = Arm { failures: 0.001, latency: Duration::from_millis(answers_ms) };
    Traffic { patience: Some(PATIENCE), ..Traffic::steady(rate, arm, arm) }
}

fn hanging(rate: f64, share: f64) -> Traffic {
    Traffic { canary_manners: Manners { hangs: share, ..Manners::default() }, ..waiting(rate, 30) }
}

fn plan(text: &str) -> Arc<ReadPlan> {
    Arc::new(read_plan("test", &Source::new("test.yaml", text), None).unwrap())
}

/// Runs seeds `0..count`.
fn runs(plan: &Arc<ReadPlan>, traffic: &Traffic, until: Duration, count: u64) -> Vec<Run> {
    (0..count).map(|seed| run(plan, traffic, until, seed)).collect()
}

fn ended(runs: &[Run], phase: &str) -> usize {
    runs.iter().filter(|run| run.phase == phase).count()
}

fn reasons(runs: &[Run]) -> Vec<&str> {
    runs.iter().filter(|run| run.phase == "RolledBack").map(|run| run.reason.as_str()).collect()
}

/// Median and 95th percentile of canary requests.
fn requests(runs: &[Run]) -> (u64, u64) {
    let mut requests: Vec<u64> = runs.iter().map(|run| run.canary_requests).collect();
    requests.sort_unstable();
    (requests[requests.len() / 2], requests[requests.len() * 95 / 100])
}

#[test]
fn canary_that_hangs_until_clients_give_up_costs_a_few_requests() {
    for (text, rate, share, most) in [
        (PLAN, 10.0, 1.0, 8),
        (PLAN, 100.0, 1.0, 12),
        (UNPROVEN, 100.0, 1.0, 12),
        (PLAN, 100.0, 0.2, 60),
        (PLAN, 100.0, 0.05, 600),
    ] {
        let all = runs(&plan(text), &hanging(rate, share), HOUR, 20);
        assert_eq!(ended(&all, "RolledBack"), 20, "{:#?}", reasons(&all));
        assert!(
            reasons(&all).iter().any(|reason| reason.contains("clients gave up")),
            "{:#?}",
            reasons(&all)
        );
        let (median, p95) = requests(&all);
        println!("{rate}/s, {share} hang: {median} / {p95} canary requests until rollback");
        assert!(median <= most, "{rate}/s, {share} hang: {median} requests");
    }
}

/// Who waits less than counts proves nothing.
#[test]
fn canary_that_hangs_is_never_promoted_however_soon_clients_leave() {
    for patience_ms in [20, 60] {
        let hanging = Traffic { patience: Some(Duration::from_millis(patience_ms)), ..hanging(100.0, 1.0) };
        let hanging =
            Traffic { stable: Arm { latency: Duration::from_millis(2), ..hanging.stable }, ..hanging };
        let all = runs(&plan(PLAN), &hanging, HOUR / 3, 6);
        let beyond = all.iter().filter(|run| run.weights.len() > 1 && run.phase != "RolledBack").count();
        assert_eq!((ended(&all, "Succeeded"), beyond), (0, 0), "{patience_ms} ms: {all:#?}");
    }
}

/// Of answers that take 30, 100 and 300 ms on average .005, 5 and 37 % are given up.
#[track_caller]
fn alike(cells: &[(f64, u64)], count: u64, back_max: usize) {
    for (rate, answers_ms) in cells.iter().copied() {
        let all = runs(&plan(UNPROVEN), &waiting(rate, answers_ms), HOUR, count);
        let back = ended(&all, "RolledBack");
        println!("answers after {answers_ms} ms, {rate}/s: {back} of {count} rolled back");
        assert!(back <= back_max, "{answers_ms} ms: {back} of {count}: {:#?}", reasons(&all));
    }
}

#[test]
fn clients_who_give_up_on_both_versions_alike_take_no_canary_back() {
    alike(&[(10.0, 100), (10.0, 300), (100.0, 100)], 20, 1);
}

#[test]
#[ignore = "ten minutes or more: 1000 rollouts of each; scripts/test-long runs this"]
fn of_1000_canaries_that_clients_give_up_as_they_do_stable_ten_at_most_are_taken_back() {
    alike(&[(10.0, 100), (10.0, 300), (100.0, 30), (100.0, 100), (100.0, 300)], 1000, 10);
}

#[test]
fn good_canary_is_proven_though_some_give_up() {
    // One in a hundred and fifty is given up on either version.
    let all = runs(&plan(PLAN), &waiting(100.0, 60), HOUR, 16);
    let up = ended(&all, "Succeeded");
    println!("{up} of 16 promoted");
    assert!(up >= 15, "{up} of 16: {:#?}", all.iter().map(|run| &run.needs).collect::<Vec<_>>());
}

#[test]
fn users_who_stick_to_a_canary_that_hangs_are_no_proof_of_it() {
    let crowd = Some(Crowd { users: 10_000, failing: 0.0, failures: 0.0 });
    let all = runs(&plan(&[PLAN, AFFINITY].concat()), &Traffic { crowd, ..hanging(100.0, 1.0) }, HOUR, 8);
    assert_eq!(ended(&all, "RolledBack"), 8, "{:#?}", reasons(&all));
    println!("users who stick: {:?} canary requests until rollback", requests(&all));
    let good = runs(&plan(&[PLAN, AFFINITY].concat()), &Traffic { crowd, ..waiting(100.0, 60) }, HOUR, 8);
    let (back, up) = (ended(&good, "RolledBack"), ended(&good, "Succeeded"));
    println!("a good one: {back} of 8 rolled back, {up} promoted");
    assert!(back <= 1, "{:#?}", reasons(&good));
}
