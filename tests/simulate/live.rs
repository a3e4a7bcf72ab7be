//! The same scenario through real sockets and in virtual time: the same core must come to the same verdicts.

use std::time::Duration;

use serde_json::json;
use serin::simulate::{Arm, Traffic, run};

use super::{HOURS, plan};
use crate::support::house::House;
use crate::support::service::{Load, Service};

const PLAN: &str = "function: f\nalias: live\nsteps: [50%, 100%]\nbake: 1h\n";
const STABLE: f64 = 0.01;
const CANARY: f64 = 0.3;
const REQUESTS_PER_S: f64 = 300.0;

/// Canary requests until rollback, and the failed ones among them.
type Cost = [f64; 2];

/// One rollout of a service that fails, with a daemon, a router and sockets of its own.
fn live(seed: u64) -> Cost {
    let house = House::start();
    let services = [Service::start(STABLE, seed), Service::start(CANARY, seed + 1000)];
    for service in &services {
        house.publish("f", &service.url());
    }
    house.alias("f", "live", "1");
    house.start_rollout(PLAN, &json!({})).ok();
    let _load = Load::start(house.router(), "/f:live/", REQUESTS_PER_S);
    let status = house.wait_for("f:live", "RolledBack", Duration::from_secs(60));
    ["requests", "failures"].map(|what| status["exposure"][what].as_f64().unwrap())
}

fn virtually(seed: u64) -> Cost {
    let arm = |failures: f64| Arm { failures, latency: Duration::from_millis(1) };
    let steady = Traffic::steady(REQUESTS_PER_S, arm(STABLE), arm(CANARY));
    let run = run(&plan(PLAN), &Traffic { prior: Duration::ZERO, ..steady }, HOURS, seed);
    assert_eq!(run.phase, "RolledBack");
    [run.canary_requests as f64, run.canary_failures as f64]
}

fn mean_and_variance(numbers: &[f64]) -> (f64, f64) {
    let count = numbers.len() as f64;
    let mean = numbers.iter().sum::<f64>() / count;
    (mean, numbers.iter().map(|number| (number - mean).powi(2)).sum::<f64>() / (count - 1.0))
}

#[track_caller]
fn assert_agreement(live: &[Cost], simulated: &[Cost]) {
    for (index, what) in ["canary requests", "failed canary requests"].iter().enumerate() {
        let of = |costs: &[Cost]| -> Vec<f64> { costs.iter().map(|cost| cost[index]).collect() };
        let (live_mean, _) = mean_and_variance(&of(live));
        let (mean, variance) = mean_and_variance(&of(simulated));
        // The spread is taken from the large sample; four standard errors of the difference.
        let error = (variance / live.len() as f64 + variance / simulated.len() as f64).sqrt();
        let off = (live_mean - mean).abs();
        assert!(off <= 4.0 * error, "{what}: {live_mean} live, {mean} simulated, and {error} is the error");
    }
}

#[test]
fn live_rollouts_end_as_simulated_ones_do() {
    let live: Vec<Cost> = (0..12).map(live).collect();
    let simulated: Vec<Cost> = (0..2000).map(virtually).collect();
    assert_agreement(&live, &simulated);
}
