//! Clients who give up: harm where latency is not judged, and no proof anywhere.

use super::*;
use crate::analysis::cohort::{Cohorts, Slot, Tally};
use crate::plan::{Source, load};

/// Ten requests a second to a canary at a tenth: how each second's end, stable's first.
fn seconds(settings: &Settings, count: u64, tallies: impl Fn(u64) -> [Tally; 2]) -> Evidence {
    let mut evidence = Evidence::begin(Uptime(0), Past::warmed(0.6, 6000.0));
    evidence.seek_proof(Weight::FULL, Revision(1));
    let (mut totals, mut slots) = ([Tally::default(); 2], Vec::new());
    for second in 0..count {
        let [stable, canary] = tallies(second);
        totals = [totals[0].plus(&stable), totals[1].plus(&canary)];
        slots.push(Slot { start: second * 20, span: 20, stable, canary });
        let now = second * 20 + 20;
        slots.push(Slot { start: now, span: 1, ..Slot::default() });
        let arms = Arms {
            canary: Counts { requests: canary.dispatched, failures: canary.failed },
            stable: Counts { requests: stable.dispatched, failures: stable.failed },
        };
        let block = Block {
            gave_up: [stable.gave_up, canary.gave_up],
            cohorts: Some(Cohorts { now, totals, slots: &slots, offset: 0 }),
            ..Block::of_counts(Revision(1), Weight::from_ppm(100_000).unwrap(), arms)
        };
        evidence.observe(settings, Uptime(second * 1000 + 1000), [block]);
        slots.clear();
    }
    evidence
}

fn ended(requests: u64, gave_up: u64, left: u64) -> Tally {
    Tally { dispatched: requests, answered: requests, ended: requests, gave_up, left, ..Tally::default() }
}

fn settings_where(analysis: &str) -> Settings {
    let plan = format!("function: f\nalias: live\nsteps: [10%, 100%]\nanalysis: {{{analysis}}}\n");
    load(&Source::new("plan.yaml", plan), None).unwrap().plan.evidence_settings().unwrap()
}

#[test]
fn canary_that_hangs_until_its_clients_give_up_is_harmful_where_latency_is_not_judged() {
    let settings = settings_where("latency: none");
    let hanging = seconds(&settings, 4, |_| [ended(90, 0, 0), ended(10, 10, 0)]);
    assert!(hanging.is_harmful(), "{}", hanging.ln_harm(&settings));
    let why = hanging.slowness(&settings).unwrap();
    assert!(why.contains("clients gave up"), "{why}");
    // One that hangs on every fifth request is found a little later.
    let fifth = seconds(&settings, 20, |_| [ended(90, 0, 0), ended(10, 2, 0)]);
    assert!(fifth.is_harmful(), "{}", fifth.ln_harm(&settings));
    // Clients who go away from both alike are no harm, nor are more of them within what is accepted.
    for (of_stable, of_canary) in [(18, 2), (45, 5), (90, 10), (18, 3)] {
        let alike = seconds(&settings, 600, |_| [ended(90, of_stable, 0), ended(10, of_canary, 0)]);
        assert!(!alike.is_harmful(), "{of_stable} of 90, {of_canary} of 10: {}", alike.ln_harm(&settings));
    }
    // Where latency is judged it finds what hangs, and by its own rules.
    let with_latency = settings_where("");
    let hanging = seconds(&with_latency, 100, |_| [ended(90, 0, 0), ended(10, 10, 0)]);
    assert!(hanging.ln_patience_harm(&with_latency).is_none() && !hanging.is_harmful());
}

#[test]
fn nobody_is_proven_by_requests_that_ended_unanswered() {
    for settings in [settings_where(""), settings_where("latency: none")] {
        let clean = seconds(&settings, 600, |_| [ended(90, 0, 0), ended(10, 0, 0)]);
        assert!(clean.is_proven(&settings));
        for canary in [ended(10, 10, 0), ended(10, 0, 10), ended(10, 5, 5)] {
            let hanging = seconds(&settings, 600, |_| [ended(90, 0, 0), canary]);
            assert!(!hanging.is_proven(&settings), "{canary:?}: {:?}", hanging.ln_proof());
        }
        // Clients who go away from both alike do not keep a good canary from its proof.
        let alike = seconds(&settings, 1200, |second| {
            let odd = second % 10;
            [ended(90, u64::from(odd < 9), 9), ended(10, u64::from(odd == 0), 1)]
        });
        assert!(alike.is_proven(&settings), "{:?}", alike.ln_proof());
    }
    // Half of the requests hang: what is answered does not prove the other half.
    let settings = settings_where("latency: none");
    let half = seconds(&settings, 600, |_| [ended(90, 0, 0), ended(10, 5, 0)]);
    assert!(!half.is_proven(&settings), "{:?}", half.ln_proof());
}

#[test]
fn rollouts_that_began_before_patience_was_judged_go_on_without() {
    let asked = settings_where("latency: none");
    let evidence = Evidence::begin(Uptime(0), Past::default());
    let stored = serde_json::to_string(&evidence).unwrap();
    let again: Evidence = serde_json::from_str(&stored).unwrap();
    assert_eq!(again.settings_kept(asked).patience, asked.patience);
    // As a release stored it that knew nothing of it, which also reads what this one stores.
    let mut before: serde_json::Value = serde_json::from_str(&stored).unwrap();
    before.as_object_mut().unwrap().remove("judges_patience").unwrap();
    let before: Evidence = serde_json::from_value(before).unwrap();
    assert_eq!(before.settings_kept(asked).patience, None);
    assert!(before.ln_harm(&before.settings_kept(asked)).abs() < 1e-12);
}
