//! What a judge is told of a busy alias: ten requests a look, of which the canary gets one.

use serin_core::analysis::cohort::{Cohorts, EDGES, Slot, Tally};
use serin_core::analysis::evidence::{Block, Evidence};
use serin_core::analysis::latency_span::LatencySpan;
use serin_core::analysis::past::Past;
use serin_core::analysis::{Arms, Counts};
use serin_core::lambda::function::Revision;
use serin_core::model::histogram::HistogramSnapshot;
use serin_core::model::time::Uptime;
use serin_core::model::weight::Weight;
use serin_core::plan::Source;
use serin_core::world::plans::read_plan;

/// Looks so often, every 100 ms; one canary request in ten fails, and one in twenty is given up or refused. `around` is
/// handed each update, and runs it.
pub fn updates(analysis: &str, looks: u64, mut around: impl FnMut(&mut dyn FnMut())) {
    let text = format!("function: f\nalias: live\nsteps: [3%, 100%]\nanalysis: {{{analysis}}}\n");
    let plan = read_plan("looks", &Source::new("looks.yaml", text), None).expect("this plan is sound");
    let settings = plan.plan.evidence_settings().expect("the plan judges");
    let mut evidence = Evidence::begin(Uptime(0), Past::warmed(60.0, 6000.0));
    evidence.seek_proof(Weight::FULL, Revision(1));
    let weight = Weight::from_ppm(30_000).expect("3 % is a weight");
    let mut histograms = [HistogramSnapshot::default(), HistogramSnapshot::default()];
    let (mut totals, mut slots) = ([Tally::default(); 2], Vec::<Slot>::with_capacity(8));
    for look in 1..=looks {
        let before = histograms.clone();
        for (index, histogram) in histograms.iter_mut().enumerate() {
            for request in 0..if index == 0 { 9 } else { 1 } {
                histogram.record(5_000 + (look * 7919 + request * 131) % 60_000);
            }
        }
        let arms = Arms {
            canary: Counts { requests: 1, failures: u64::from(look % 10 == 0) },
            stable: Counts { requests: 9, failures: u64::from(look % 2 == 0) },
        };
        let beside = |of: u64| u64::from(look % 20 == of);
        // What was dispatched since the last look is under way; what was before has ended.
        let ended = |counts: Counts| Tally {
            dispatched: counts.requests,
            answered: counts.requests,
            ended: counts.requests,
            failed: counts.failures,
            refused: beside(7),
            gave_up: beside(13),
            left: 0,
            within: [counts.requests; EDGES],
        };
        let open = |counts: Counts| Tally { dispatched: counts.requests, ..Tally::default() };
        if let Some(last) = slots.last_mut() {
            (last.stable, last.canary) = (ended(arms.stable), ended(arms.canary));
            totals = [totals[0].plus(&last.stable), totals[1].plus(&last.canary)];
        }
        let since = evidence.needs_since(Revision(1));
        slots.retain(|slot| slot.end() > since);
        for start in [look * 2 - 1, look * 2] {
            slots.push(Slot { start, span: 1, ..Slot::default() });
        }
        let last = slots.len() - 1;
        (slots[last].stable, slots[last].canary) = (open(arms.stable), open(arms.canary));
        let told = [totals[0].plus(&slots[last].stable), totals[1].plus(&slots[last].canary)];
        let block = Block {
            latency: Some(LatencySpan { now: &histograms[0], before: &before[0] }),
            cohorts: Some(Cohorts { now: look * 2, totals: told, slots: &slots, offset: 0 }),
            ..Block::of_counts(Revision(1), weight, arms)
        };
        around(&mut || {
            std::hint::black_box(evidence.observe(&settings, Uptime(look * 100), [block]));
        });
    }
}
