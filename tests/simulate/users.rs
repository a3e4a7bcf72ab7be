//! Users who stick to their version, in virtual time: it is they who are judged, and not their requests.

use std::time::Duration;

use serin::simulate::{Crowd, Incident, Manners, Run, Traffic};

use super::{HOURS, ended, plan, quantile, reasons, runs, traffic};

const STICKING: &str = "function: f\nalias: live\nsteps: [3%, 5%, 25%, 50%, 100%]\nbake: 5m\n\
                        routing: {affinity: {cookie: session}}\nanalysis: {latency: none, refusals: none}\n";

fn crowd(users: u32, failing: f64, failures: f64) -> Option<Crowd> {
    Some(Crowd { users, failing, failures })
}

#[test]
fn users_who_fail_alike_on_both_versions_take_no_canary_back() {
    for (failing, failures) in [(0.001, 1.0), (0.02, 0.2)] {
        let healthy = Traffic { crowd: crowd(1000, failing, failures), ..traffic(10.0, 0.001, 0.001) };
        let all = runs(&plan(STICKING), &healthy, Duration::from_secs(1800), 40);
        let back = ended(&all, "RolledBack");
        println!("1000 users, {failing} of them fail {failures}: {back} of 40 rolled back");
        assert!(back <= 1, "{back} of 40 rolled back: {:#?}", reasons(&all));
    }
}

#[test]
fn canary_broken_for_its_users_is_found_by_a_few_of_them() {
    let broken = Traffic { crowd: crowd(1000, 0.02, 0.2), ..traffic(10.0, 0.001, 1.0) };
    let all = runs(&plan(STICKING), &broken, HOURS, 40);
    assert_eq!(ended(&all, "RolledBack"), 40, "{:#?}", reasons(&all));
    assert!(reasons(&all)[0].contains("users met a failure"), "{:#?}", reasons(&all));
    let failures = quantile(all.iter().map(|run| run.canary_failures).collect(), 0.5);
    println!("1000 users, broken: {failures} failed requests");
    assert!(failures <= 6, "{failures} failed requests");
}

#[test]
fn incident_that_the_versions_show_at_different_speeds_takes_no_canary_back_from_its_users() {
    let incident = Incident { failures: 0.3, from: Duration::from_secs(90), lasts: Duration::from_secs(180) };
    let manners =
        |seconds| Manners { failure_latency: Some(Duration::from_secs(seconds)), ..Manners::default() };
    for (stable, canary) in [(20, 1), (1, 20)] {
        let shared = Traffic {
            crowd: crowd(1000, 0.0, 0.0),
            incidents: vec![incident],
            stable_manners: manners(stable),
            canary_manners: manners(canary),
            ..traffic(50.0, 0.001, 0.001)
        };
        let all = runs(&plan(&STICKING.replace("5m", "1m")), &shared, Duration::from_secs(600), 40);
        let back = ended(&all, "RolledBack");
        println!("shown after {stable} s and {canary} s: {back} of 40 rolled back");
        assert!(back <= 1, "{back} of 40 rolled back: {:#?}", reasons(&all));
    }
}

#[test]
fn ten_thousand_users_prove_a_good_canary_step_by_step() {
    let healthy = Traffic { crowd: crowd(10_000, 0.0, 0.0), ..traffic(100.0, 0.001, 0.001) };
    let all = runs(&plan(STICKING), &healthy, Duration::from_secs(2400), 10);
    let reached = |run: &&Run| run.weights.iter().any(|(_, ppm)| *ppm == 250_000);
    let up = all.iter().filter(reached).count();
    println!("10000 users at 100/s: {up} of 10 reached 25 % within 40 minutes");
    assert!(up >= 5, "{up} of 10: {:?}", all.iter().map(|run| &run.weights).collect::<Vec<_>>());
}
