//! What real traffic does to evidence: outages, failures that show late, hangs, refusals and cold starts, in virtual time.

use std::sync::Arc;
use std::time::Duration;

use serin::simulate::{Arm, Cold, Incident, Manners, Run, Traffic};
use serin_core::world::plans::ReadPlan;

use super::{HOURS, ended, plan, quantile, reasons, runs, traffic};

const STEPS: &str = "function: f\nalias: live\nsteps: [3%, 5%, 25%, 50%, 100%]\n";
const STRICT: &str = "analysis: {failures: {maxRatio: 1, maxAdded: 0pp}, latency: none, refusals: none}\n";

fn strict() -> Arc<ReadPlan> {
    plan(&format!("{STEPS}bake: 5m\n{STRICT}"))
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Median and 95th percentile of what it cost until rollback; every run must end so.
#[track_caller]
fn cost(runs: &[Run], of: fn(&Run) -> u64) -> (u64, u64) {
    assert_eq!(ended(runs, "RolledBack"), runs.len());
    let costs: Vec<u64> = runs.iter().map(of).collect();
    (quantile(costs.clone(), 0.5), quantile(costs, 0.95))
}

fn failures(run: &Run) -> u64 {
    run.canary_failures
}

fn requests(run: &Run) -> u64 {
    run.canary_requests
}

#[test]
fn outage_of_a_second_costs_a_broken_canary_no_more_than_calm_does() {
    for (rate, calm_most, most) in [(100.0, 3, 5), (1000.0, 10, 12)] {
        let outage = Incident { failures: 1.0, from: seconds(10), lasts: seconds(1) };
        let broken = traffic(rate, 0.001, 1.0);
        let after_outage =
            Traffic { canary_breaks: Some(seconds(81)), incidents: vec![outage], ..broken.clone() };
        let (calm, outage) = (
            cost(&runs(&strict(), &broken, HOURS, 40), failures),
            cost(&runs(&strict(), &after_outage, HOURS, 40), failures),
        );
        println!("{rate}/s: broken from the start {calm:?}, 70 s after an outage of a second {outage:?}");
        assert!(calm.0 <= calm_most, "{rate}/s: broken from the start {calm:?}");
        assert!(outage.0 <= most, "{rate}/s: broken after an outage {outage:?}");
    }
}

/// Whatever arm shows its failures first: what counts is how requests end, in the order in which they were dispatched.
#[track_caller]
fn incidents(count: u64, back_max: usize) {
    let incident = Incident { failures: 0.3, from: seconds(90), lasts: seconds(180) };
    let plan = plan(&format!("{STEPS}bake: 1m\n{STRICT}"));
    for (stable_ms, canary_ms) in [(20_000, 20_000), (20_000, 1_000), (2_000, 200), (1_000, 20_000)] {
        let shows = |ms| Manners { failure_latency: Some(Duration::from_millis(ms)), ..Manners::default() };
        let shared = Traffic {
            incidents: vec![incident],
            stable_manners: shows(stable_ms),
            canary_manners: shows(canary_ms),
            ..traffic(50.0, 0.001, 0.001)
        };
        let all = runs(&plan, &shared, seconds(600), count);
        let back = ended(&all, "RolledBack");
        println!("failures show after {stable_ms}/{canary_ms} ms: {back} of {count} rolled back");
        assert!(
            back <= back_max,
            "{stable_ms}/{canary_ms} ms: {back} of {count} rolled back: {:#?}",
            reasons(&all)
        );
    }
}

#[test]
fn incident_that_arms_show_at_different_speeds_is_no_harm() {
    incidents(16, 1);
}

#[test]
#[ignore = "ten minutes or more: 100 runs of each; scripts/test-long runs this"]
fn of_100_shared_incidents_three_and_of_100_cold_canaries_two_at_most_cost_a_rollback() {
    incidents(100, 3);
    cold_canaries(100, 2, 95);
}

fn by_latency(canary: f64) -> Traffic {
    let arm = Arm { failures: 0.001, latency: Duration::from_millis(50) };
    Traffic::steady(100.0, arm, Arm { latency: arm.latency.mul_f64(canary), ..arm })
}

const WARM: &str = "function: f\nalias: live\nsteps: [3%, 25%, 50%, 100%]\nbake: 1m\n";

#[track_caller]
fn cold_canaries(count: u64, back_max: usize, up_min: usize) {
    let cold = Traffic { cold: Some(Cold { requests: 200, factor: 3.0 }), ..by_latency(1.0) };
    let all = runs(&plan(WARM), &cold, HOURS, count);
    let (back, up) = (ended(&all, "RolledBack"), ended(&all, "Succeeded"));
    println!("the first 200 requests x3 after each rise: {back} of {count} rolled back, {up} promoted");
    assert!(
        back <= back_max && up >= up_min,
        "{back} of {count} rolled back, {up} promoted: {:#?}",
        reasons(&all)
    );
}

#[test]
fn cold_canary_is_no_slow_one() {
    cold_canaries(40, 1, 38);
}

#[test]
fn slow_canary_is_found_once_it_is_warm_and_a_very_slow_one_before() {
    for (factor, most) in [(3.0, 320), (10.0, 100), (30.0, 30)] {
        let slow = cost(&runs(&plan(WARM), &by_latency(factor), HOURS, 40), requests);
        println!("x{factor}: {slow:?} canary requests until rollback");
        assert!(slow.0 <= most, "x{factor}: {slow:?} canary requests");
    }
}

#[test]
fn hanging_canary_is_found_long_before_its_timeout() {
    let hangs = Manners { hangs: 1.0, ..Manners::default() };
    let hanging = Traffic { canary_manners: hangs, ..by_latency(1.0) };
    let waiting = cost(&runs(&plan(WARM), &hanging, HOURS, 40), requests);
    println!("hanging at 100/s: {waiting:?} requests wait until rollback");
    assert!(waiting.0 <= 7, "{waiting:?} requests wait");
}

#[test]
fn canary_that_refuses_everything_is_rolled_back() {
    let refusing = |stable, canary| Traffic {
        stable_manners: Manners { refusals: stable, ..Manners::default() },
        canary_manners: Manners { refusals: canary, ..Manners::default() },
        ..by_latency(1.0)
    };
    for (stable, most) in [(0.0, 8), (0.01, 8), (0.05, 8)] {
        let refused = cost(&runs(&plan(WARM), &refusing(stable, 1.0), HOURS, 40), requests);
        println!("404 to everything, stable refuses {stable}: {refused:?} canary requests");
        assert!(refused.0 <= most, "stable refuses {stable}: {refused:?} canary requests");
    }
    let all = runs(&plan(WARM), &refusing(0.05, 0.05), HOURS, 40);
    assert!(ended(&all, "RolledBack") <= 2, "{:#?}", reasons(&all));
    let unjudged = plan(&format!("{WARM}analysis: {{refusals: none}}\n"));
    assert_eq!(ended(&runs(&unjudged, &refusing(0.0, 1.0), HOURS, 4), "Succeeded"), 4, "a plan may not care");
}
