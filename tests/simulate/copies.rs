//! What copies prove, over many rollouts in which everything is known: `serin_core::analysis::mirror`.

use rand::RngExt;
use serin::chance;
use serin_core::analysis::boundary::Margin;
use serin_core::analysis::dispersion::DispersionRule;
use serin_core::analysis::evidence::{Block, Evidence, Settings};
use serin_core::analysis::mirror::SampleKind;
use serin_core::analysis::past::Past;
use serin_core::analysis::{Arms, Counts};
use serin_core::lambda::function::Revision;
use serin_core::model::time::Uptime;
use serin_core::model::weight::Weight;

/// Plays a rollout with copies: half of the requests are of a kind that fails more often, and whether a request is
/// to blame itself is the same for both versions. Says whether harm was found.
fn plays(seed: u64, canary_rates: [f64; 2], stable_rates: [f64; 2], requests: u32) -> (bool, u64) {
    let settings = Settings {
        limit: Margin { ratio: 1.0, added: 0.0 },
        ceiling: None,
        false_rollback_rate: 0.05,
        users: None,
        proof: None,
        dispersion: DispersionRule::Constant(1.0),
        latency: None,
        refusals: None,
        patience: None,
        stable: None,
    };
    let (mut chance, weight) = (chance::seeded(seed), Weight::from_ppm(30_000).unwrap());
    let mut evidence = Evidence::begin(Uptime(0), Past::warmed(100.0, 2000.0));
    let mut canary_failures = 0;
    for request in 0..requests {
        let mut blocks = [SampleKind::MirrorSource, SampleKind::MirrorCopy, SampleKind::Weighted]
            .map(|stratum| Block { stratum, ..Block::of_counts(Revision(1), weight, Arms::default()) });
        let mut draw = |share: f64| chance.random::<f64>() < share;
        // Only one kind may be copied, and of that every second request.
        let (kind, shared_luck) = (usize::from(draw(0.5)), draw(0.3));
        let (is_aside, is_canary) = (kind == 1 && draw(0.5), draw(weight.fraction()));
        let luck = shared_luck.then(|| f64::from(u8::from(draw(0.5))));
        let mut fails = |rate: f64| match luck {
            // The same luck for both: a coin that is the request's own, and no other chance.
            Some(coin) => u64::from(coin < 2.0 * rate - 0.5),
            None => u64::from(draw(rate)),
        };
        let mut count = |of: usize, is_canary: bool| {
            let rates = if is_canary { canary_rates } else { stable_rates };
            let one = Counts { requests: 1, failures: fails(rates[kind]) };
            canary_failures += if is_canary { one.failures } else { 0 };
            let arms = &mut blocks[of].arms;
            *(if is_canary { &mut arms.canary } else { &mut arms.stable }) = one;
        };
        count(if is_aside { 0 } else { 2 }, is_canary);
        if is_aside && !is_canary {
            count(1, true);
        }
        evidence.observe(&settings, Uptime(u64::from(request) * 5), blocks);
        if evidence.is_harmful() {
            return (true, canary_failures);
        }
    }
    (false, canary_failures)
}

#[test]
fn a_canary_like_stable_is_rolled_back_no_more_often_than_promised() {
    const RUNS: u64 = 600;
    let found = (0..RUNS).filter(|seed| plays(*seed, [0.02, 0.2], [0.02, 0.2], 3000).0).count() as f64;
    let (expected, sigma) = (0.05 * RUNS as f64, (0.05 * 0.95 * RUNS as f64).sqrt());
    assert!(found <= expected + 4.0 * sigma, "{found} of {RUNS}");
}

#[test]
fn copies_find_a_bad_version_before_its_users_do() {
    for seed in 0..50 {
        let (is_found, failures) = plays(seed, [0.02, 0.9], [0.02, 0.02], 3000);
        assert!(is_found && failures < 30, "{seed}: {is_found}, {failures} failures, nearly all of copies");
    }
}
