//! A first weight that copies prove before any user gets the canary, over many rollouts with seeds.

use std::time::Duration;

use serin::simulate::{Cold, Incident, Traffic};

use super::{HOURS, ended, plan, quantile, reasons, runs, traffic};

const COPIED: &str = "function: f\nalias: live\nsteps: [50%, 100%]\nbake: 10s\nfirstWeight: mirror\n";
const BARE: &str = "function: f\nalias: live\nsteps: [50%, 100%]\nbake: 10s\nfirstWeight: unproven\n";

/// A minute of stable's traffic comes before the rollout.
fn after_a_minute(requests_per_s: f64, stable: f64, canary: f64) -> Traffic {
    Traffic { prior: Duration::from_secs(60), ..traffic(requests_per_s, stable, canary) }
}

#[test]
fn a_broken_canary_is_taken_back_before_any_user_gets_it() {
    const RUNS: u64 = 12;
    for (rps, canary) in [(10.0, 1.0), (100.0, 1.0), (100.0, 0.2)] {
        let ways = [COPIED, BARE].map(|text| {
            let runs = runs(&plan(text), &after_a_minute(rps, 0.001, canary), HOURS, RUNS);
            assert_eq!(ended(&runs, "RolledBack") as u64, RUNS, "{rps}/s, {canary}");
            runs
        });
        let failed = ways.each_ref().map(|runs| {
            let failed = runs.iter().map(|run| run.canary_failures).collect();
            quantile(failed, 0.5)
        });
        println!(
            "{rps}/s, {canary} of the canary's fail: {failed:?} users' requests failed with copies and without"
        );
        assert!(failed[0] == 0 && failed[1] >= 5, "{failed:?}");
        let proven = ways[0].iter().filter(|run| run.canary_requests > 0).count();
        assert!(proven <= 1, "{proven} of {RUNS} got their first weight");
    }
}

/// The copies' part of a rollout takes back no more good canaries than the plan says, nor does what comes after it.
#[track_caller]
fn good_canaries(count: u64, back_max: usize) {
    let incident = Incident { failures: 0.3, from: Duration::from_secs(2), lasts: Duration::from_secs(60) };
    let calm = after_a_minute(50.0, 0.001, 0.001);
    let cases = [
        ("calm", calm.clone()),
        ("slow traffic", after_a_minute(5.0, 0.001, 0.001)),
        ("failing often", after_a_minute(50.0, 0.02, 0.02)),
        ("shared incident", Traffic { incidents: vec![incident], ..calm.clone() }),
        ("cold", Traffic { cold: Some(Cold { requests: 200, factor: 3.0 }), ..calm.clone() }),
        ("killed", Traffic { restart_every: Some(Duration::from_secs(7)), ..calm }),
    ];
    for (name, traffic) in cases {
        let runs = runs(&plan(COPIED), &traffic, 4 * HOURS, count);
        let (back, up) = (ended(&runs, "RolledBack"), ended(&runs, "Succeeded"));
        println!("{name}: {back} of {count} rolled back, {up} succeeded");
        assert!(back <= back_max, "{name}: {back} of {count}: {:#?}", reasons(&runs));
        assert!(up as u64 >= count * 9 / 10, "{name}: {up} of {count}");
        let copied = runs.iter().filter(|run| run.weights.first().is_some_and(|(_, ppm)| *ppm == 0)).count();
        assert_eq!(copied as u64, count, "{name}: the first thing is copies");
    }
}

#[test]
fn a_good_canary_is_proven_by_copies_and_goes_on() {
    good_canaries(4, 1);
}

#[test]
#[ignore = "ten minutes or more in a debug build: 150 runs of each; scripts/test-long runs this"]
fn of_150_good_canaries_five_at_most_are_taken_back_by_copies_or_after_them() {
    // alpha is 1 %: more than 5 of 150 come by chance once in two hundred times.
    good_canaries(150, 5);
}
