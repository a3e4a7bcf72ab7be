//! Stored evidence, and behind a zero byte bytes that say what is counted afterwards.

use std::sync::LazyLock;

use serin_core::analysis::evidence::{Block, Evidence, Settings};
use serin_core::analysis::{Arms, Counts};
use serin_core::lambda::function::Revision;
use serin_core::model::time::Uptime;
use serin_core::model::weight::Weight;
use serin_core::plan::{Source, load};

const PLAN: &str =
    "apiVersion: serin/v1\nkind: Plan\nfunction: f\nalias: live\nsteps: [1%, 50%, 100%]\nbake: 10m\n";

static SETTINGS: LazyLock<Settings> = LazyLock::new(|| {
    let plan = load(&Source::new("p.yaml", PLAN), None).expect("a plan").plan;
    plan.evidence_settings().expect("that judges")
});

/// Evidence that can be read is judged on without a panic, stays finite where it was, and is stored so that the same is
/// read.
pub(super) fn run(data: &[u8]) {
    let (stored, counted) = super::halves(data, 0);
    let evidence = match super::is_written_as_it_is_read::<Evidence>(stored) {
        Some(evidence) => evidence,
        None if stored.is_empty() => Evidence::begin(Uptime(0), Default::default()),
        None => return,
    };
    let mut evidence = evidence;
    evidence.take_over(&SETTINGS);
    evidence.seek_proof(Weight::FULL, Revision(1));
    let (mut at, mut epoch) = (Uptime(1000), Revision(1));
    for four in counted.chunks(4) {
        let [kind, requests, failures, span] =
            std::array::from_fn(|index| four.get(index).copied().unwrap_or(0));
        at = at.plus(std::time::Duration::from_millis(u64::from(span) * 100));
        epoch = Revision(epoch.0 + u64::from(kind >> 7));
        let count = |shift: u8| {
            let requests = u64::from(requests) << (shift % 24);
            Counts { requests, failures: requests.min(u64::from(failures)) }
        };
        let arms = Arms { stable: count(kind & 15), canary: count((kind >> 3) & 7) };
        let weight = Weight::from_ppm(u32::from(span) * 3_900).unwrap_or(Weight::FULL);
        if kind & 64 == 0 {
            evidence.observe(&SETTINGS, at, [Block::of_counts(epoch, weight, arms)]);
        } else {
            evidence.idle_until(&SETTINGS, at);
        }
        let harm = evidence.ln_harm(&SETTINGS);
        assert!(!harm.is_nan(), "harm that is no number neither rolls back nor advances");
        let _ = (evidence.is_harmful(), evidence.is_proven(&SETTINGS), evidence.next_look(&SETTINGS));
    }
    let written = serde_json::to_string(&evidence).expect("evidence is stored");
    let again = serde_json::from_str::<Evidence>(&written).unwrap_or_else(|why| panic!("{why}: {written}"));
    assert_eq!(serde_json::to_string(&again).expect("and once more"), written);
}
