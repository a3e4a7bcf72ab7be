//! Clients who send in bursts, many at once, and again what failed: none of it is the canary's.

use std::time::Duration;

use serin::simulate::{Bursts, Clients, Crowd, Retries, Run, Traffic};

use super::{HOURS, ended, plan, quantile, reasons, runs, traffic};

const SHORT: &str = "function: f\nalias: live\nsteps: [3%, 25%, 50%, 100%]\nbake: 1m\n\
                     analysis: {failures: {maxRatio: 1, maxAdded: 0pp}, latency: none, refusals: none, proof: none}\n";
const AFFINITY: &str = "routing: {affinity: {cookie: session}}\n";

/// Ten times as much for three seconds, of which a share fails on both versions.
fn bursts(failures: f64) -> Clients {
    let (every, lasts) = (Duration::from_secs(30), Duration::from_secs(3));
    Clients { bursts: Some(Bursts { factor: 10.0, every, lasts, failures }), ..Clients::default() }
}

fn bunches() -> Clients {
    Clients { bunch: 20.0, ..Clients::default() }
}

fn retries() -> Clients {
    Clients { retries: Some(Retries { times: 3, failures: 0.5 }), ..Clients::default() }
}

#[test]
fn what_clients_do_takes_no_canary_back() {
    let all_of_it = Clients { bursts: bursts(0.2).bursts, bunch: 5.0, retries: retries().retries };
    let sticking = [SHORT, AFFINITY].concat();
    for (clients, plan_text, users) in [
        (bursts(0.2), SHORT, None),
        (bunches(), SHORT, None),
        (retries(), SHORT, None),
        (all_of_it, &sticking, Some(1000)),
    ] {
        let crowd = users.map(|users| Crowd { users, failing: 0.0, failures: 0.0 });
        let healthy = Traffic { clients, crowd, ..traffic(50.0, 0.01, 0.01) };
        let all = runs(&plan(plan_text), &healthy, Duration::from_secs(600), 40);
        let back = ended(&all, "RolledBack");
        println!("{clients:?}: {back} of 40 rolled back");
        assert!(back <= 2, "{clients:?}: {back} of 40 rolled back: {:#?}", reasons(&all));
    }
}

#[test]
fn broken_canary_is_found_whatever_clients_do() {
    // What is sent again fails half of the time on stable, too. Bursts in which a fifth fails, twice a minute, damp for hours.
    for (clients, most) in [(bursts(0.0), 6), (bunches(), 40), (retries(), 14)] {
        let broken = Traffic { clients, ..traffic(50.0, 0.001, 1.0) };
        let all = runs(&plan(SHORT), &broken, HOURS, 20);
        assert_eq!(ended(&all, "RolledBack"), 20, "{clients:?}: {:#?}", reasons(&all));
        let failures = quantile(all.iter().map(|run| run.canary_failures).collect(), 0.5);
        println!("{clients:?}: {failures} failed requests");
        assert!(failures <= most, "{clients:?}: {failures} failed requests");
    }
}

#[test]
fn what_failed_is_sent_again_and_bunches_are_as_much_traffic_as_singles() {
    let requests = |clients| {
        let all = runs(&plan(SHORT), &Traffic { clients, ..traffic(50.0, 0.2, 0.2) }, HOURS, 10);
        // Ten minutes come before the rollout.
        let rate = |run: &Run| run.requests as f64 / (run.elapsed.as_secs_f64() + 600.0);
        all.iter().map(rate).sum::<f64>() / 10.0
    };
    let (single, bunched, again) = (requests(Clients::default()), requests(bunches()), requests(retries()));
    assert!((48.0..52.0).contains(&single), "{single} a second");
    assert!((0.9..1.1).contains(&(bunched / single)), "{bunched} beside {single}");
    // A fifth is sent again, of which three fifths fail: 1 + .2 (1 + .6 + .36).
    assert!((1.3..1.5).contains(&(again / single)), "{again} beside {single}");
}
