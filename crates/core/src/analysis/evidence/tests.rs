//! Every number of the vectors, which were computed independently at 50 digits.

mod impatience;

use serde::Deserialize;
use serde_json::Value;

use super::*;
use crate::analysis::boundary::{Margin, above, below};
use crate::analysis::dispersion::{Damping, DispersionRule};
use crate::analysis::harm::HarmTable;
use crate::analysis::latency_span::LatencySpan;
use crate::analysis::past::Ends;
use crate::analysis::ratio::ln_evidence_against;

#[derive(Deserialize)]
struct Vectors {
    ripr: Vec<Value>,
    harm: Vec<Run>,
    noninferiority: Vec<Run>,
    ratio_cs: Vec<Value>,
}

#[derive(Deserialize)]
struct Run {
    name: String,
    a0: f64,
    b0: f64,
    rho: f64,
    delta: f64,
    level: f64,
    disp: f64,
    ticks: Vec<(f64, u64, u64, u64, u64)>,
    expect: Vec<Value>,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../../../../../tests/vectors/analysis.json")).unwrap()
}

#[track_caller]
fn assert_close(found: f64, expected: f64, what: &str) {
    let off = (found - expected).abs();
    assert!(off <= 1e-9 * (1.0 + expected.abs()), "{what}: {found} instead of {expected}, off by {off:e}");
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("{key} is missing in {value}"))
}

#[test]
fn nearest_null_points() {
    for case in vectors().ripr {
        let [w, tc, ts] = ["w", "theta_c", "theta_s"].map(|key| number(&case, key));
        let margin = Margin { ratio: number(&case, "rho"), added: number(&case, "delta") };
        let factors = above(w, tc, ts, margin);
        assert_close(factors.canary_failure, number(&case, "ce"), "canary failure");
        assert_close(factors.canary_success, number(&case, "cs"), "canary success");
        assert_close(factors.stable_failure, number(&case, "se"), "stable failure");
        assert_close(factors.stable_success, number(&case, "ss"), "stable success");
    }
}

/// Replays a run tick by tick, one second each, and hands every state to `check`.
fn replay(
    run: &Run,
    settings: &Settings,
    next_weight: Option<Weight>,
    check: impl Fn(usize, &Evidence, bool),
) {
    let mut evidence = Evidence::begin(Uptime(0), Past::warmed(run.a0, run.b0));
    if let Some(next_weight) = next_weight {
        evidence.seek_proof(next_weight, Revision(0));
    }
    let mut epoch = Revision(1);
    let mut served = run.ticks[0].0;
    for (index, &(weight, nc, ec, ns, es)) in run.ticks.iter().enumerate() {
        if weight != served {
            (epoch, served) = (Revision(epoch.0 + 1), weight);
        }
        let arms = Arms {
            canary: Counts { requests: nc, failures: ec },
            stable: Counts { requests: ns, failures: es },
        };
        let weight = Weight::from_fraction(weight).unwrap();
        let at = Uptime((index as u64 + 1) * 1000);
        let canary_failed = evidence.observe(settings, at, [Block::of_counts(epoch, weight, arms)]);
        check(index, &evidence, canary_failed);
    }
}

fn settings_of(run: &Run) -> Settings {
    Settings {
        limit: Margin { ratio: run.rho, added: run.delta },
        ceiling: None,
        false_rollback_rate: run.level,
        proof: None,
        dispersion: DispersionRule::Constant(run.disp),
        latency: None,
        refusals: None,
        patience: None,
        users: None,
        stable: None,
    }
}

#[test]
fn harm_tick_by_tick() {
    for run in vectors().harm {
        let settings = settings_of(&run);
        replay(&run, &settings, None, |index, evidence, _| {
            let (expected, what) = (&run.expect[index], format!("{} tick {index}", run.name));
            assert_close(evidence.ln_harm(&settings), number(expected, "log_m"), &what);
            assert_eq!(evidence.is_harmful(), expected["rollback"].as_bool().unwrap(), "{what}");
        });
    }
}

#[test]
fn proof_tick_by_tick() {
    for run in vectors().noninferiority {
        // The vectors name the margin itself; a budget of that size before 100 % is the same margin.
        let settings = Settings {
            proof: Some(ProofSettings { budget: run.delta, false_advance_rate: run.level }),
            ..settings_of(&run)
        };
        replay(&run, &settings, Some(Weight::FULL), |index, evidence, _| {
            let (expected, what) = (&run.expect[index], format!("{} tick {index}", run.name));
            assert_close(evidence.ln_proof().unwrap(), number(expected, "log_e"), &what);
            assert_eq!(evidence.is_proven(&settings), expected["safe"].as_bool().unwrap(), "{what}");
        });
    }
}

#[test]
fn ratio_intervals() {
    for case in vectors().ratio_cs {
        let splits: Vec<FailureSplit> = case["epochs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|epoch| FailureSplit {
                weight: epoch[0].as_f64().unwrap(),
                canary: epoch[1].as_u64().unwrap(),
                stable: epoch[2].as_u64().unwrap(),
            })
            .collect();
        assert_close(ln_evidence_against(&splits, 1.0), number(&case, "log_e_theta1"), "against 1");
        assert_close(ln_evidence_against(&splits, 1.2), number(&case, "log_e_theta1_2"), "against 1.2");
        let found = interval(&splits, number(&case, "alpha")).unwrap();
        for (end, key) in [(found.low, "lower"), (found.high, "upper")] {
            match case[key].as_f64() {
                Some(expected) => assert_close(end.unwrap(), expected, key),
                None => assert_eq!(end, None, "{key}"),
            }
        }
    }
}

#[test]
fn alternatives_on_the_wrong_side_say_nothing() {
    let margin = Margin { ratio: 1.2, added: 0.0005 };
    assert_eq!(above(0.03, 0.0001, 0.001, margin), Default::default());
    assert_eq!(below(0.03, 0.5, 0.001, margin), Default::default());
    // Where stable fails nearly always the limit passes 99 % and no alternative lies above it.
    let table = HarmTable::new(0.03, 0.9, Margin { ratio: 1.2, added: 0.0 });
    let mut harm = Harm::default();
    let all_failed = Counts { requests: 1000, failures: 1000 };
    harm.update(&table, Arms { canary: all_failed, stable: all_failed }, Damping::NONE, 0);
    assert!(harm.ln() < 1.0, "{}", harm.ln());
}

/// With B = 0.5 pp, a clean canary beside a clean stable version needs about 37, 185, 370, 740 requests.
#[test]
fn a_clean_canary_needs_this_many_requests() {
    let settings = Settings {
        limit: Margin { ratio: 1.2, added: 0.0005 },
        ceiling: None,
        false_rollback_rate: 0.01,
        proof: Some(ProofSettings { budget: 0.005, false_advance_rate: 0.05 }),
        dispersion: DispersionRule::Constant(1.0),
        latency: None,
        refusals: None,
        patience: None,
        users: None,
        stable: None,
    };
    for (next, about) in [(50_000, 37.0), (250_000, 185.0), (500_000, 370.0), (1_000_000, 740.0)] {
        let mut evidence = Evidence::begin(Uptime(0), Past::warmed(0.0, 1e9));
        evidence.seek_proof(Weight::from_ppm(next).unwrap(), Revision(1));
        let needed =
            evidence.more_clean_requests(&settings, Weight::from_ppm(30_000).unwrap()).unwrap() as f64;
        assert!((needed / about - 1.0).abs() < 0.15, "before {next} ppm: {needed} instead of about {about}");
    }
}

/// Stored and read back in the middle, the evidence goes on as if nothing had happened.
#[test]
fn a_restart_changes_nothing() {
    let settings = settings_of(&vectors().harm[1]);
    let block = |canary, stable| {
        let arms = Arms {
            canary: Counts { requests: 3, failures: canary },
            stable: Counts { requests: 97, failures: stable },
        };
        Block::of_counts(Revision(1), Weight::from_ppm(30_000).unwrap(), arms)
    };
    let mut straight = Evidence::begin(Uptime(0), Past::warmed(8.7, 8700.0));
    let mut interrupted = straight.clone();
    for second in 0..40_u64 {
        let blocks = [block(u64::from(second % 13 == 0), u64::from(second % 5 == 0))];
        straight.observe(&settings, Uptime((second + 1) * 1000), blocks);
        interrupted.observe(&settings, Uptime((second + 1) * 1000), blocks);
        if second == 19 {
            let stored = serde_json::to_string(&interrupted).unwrap();
            interrupted = serde_json::from_str(&stored).unwrap();
        }
    }
    assert_eq!(straight.ln_harm(&settings), interrupted.ln_harm(&settings));
}

fn share(percent: u32) -> Weight {
    Weight::from_ppm(percent * 10_000).unwrap()
}

fn arms(canary: (u64, u64), stable: (u64, u64)) -> Arms {
    let of = |(requests, failures)| Counts { requests, failures };
    Arms { canary: of(canary), stable: of(stable) }
}

fn strict() -> Settings {
    Settings {
        limit: Margin { ratio: 1.0, added: 0.0 },
        ceiling: None,
        latency: None,
        refusals: None,
        patience: None,
        false_rollback_rate: 0.01,
        proof: Some(ProofSettings { budget: 0.005, false_advance_rate: 0.05 }),
        dispersion: DispersionRule::Estimated { at_least: 1.0 },
        users: None,
        stable: None,
    }
}

/// What stable does between canary failures is no reason to roll back; the next canary failure is.
#[test]
fn harm_is_found_at_a_failure_of_the_canary() {
    let settings = Settings { dispersion: DispersionRule::Constant(1.0), ..strict() };
    let mut evidence = Evidence::begin(Uptime(0), Past::warmed(1.0, 1000.0));
    let mut at = Uptime(0);
    let mut look = |evidence: &mut Evidence, arms| {
        at = at.plus(Duration::from_millis(100));
        evidence.observe(&settings, at, [Block::of_counts(Revision(1), share(5), arms)]);
    };
    look(&mut evidence, arms((1, 1), (10, 0)));
    while evidence.ln_harm(&settings) < settings.ln_harm_limit() {
        assert!(!evidence.is_harmful());
        look(&mut evidence, arms((0, 0), (100, 0)));
    }
    assert!(!evidence.is_harmful(), "good stable requests alone rolled it back");
    look(&mut evidence, arms((1, 1), (0, 0)));
    assert!(evidence.is_harmful());
    look(&mut evidence, arms((100_000, 0), (10, 0)));
    assert!(evidence.is_harmful(), "found is found");
    evidence.forgive();
    assert!(!evidence.is_harmful());
}

/// A clump of twenty failures within a second convicts where failures are known to be independent, and not where
/// stable's own come in clumps.
#[test]
fn a_clump_in_one_second_says_little_where_failures_clump() {
    let harmful_after = |clumped: bool| {
        let settings = strict();
        let mut evidence = Evidence::begin(Uptime(0), Past::warmed(60.0, 60_000.0));
        for second in 0..400_u64 {
            let clump = if clumped { 20 * u64::from(second % 20 == 0) } else { 1 };
            let canary = (50, 20 * u64::from(second == 399));
            let at = Uptime((second + 1) * 1000);
            evidence.observe(
                &settings,
                at,
                [Block::of_counts(Revision(1), share(5), arms(canary, (950, clump)))],
            );
        }
        (evidence.is_harmful(), evidence.phi(&settings))
    };
    let (independent, low) = harmful_after(false);
    let (clumped, high) = harmful_after(true);
    assert!(independent && low < 1.1, "{low}");
    assert!(!clumped && high > 5.0, "{high}");
}

/// Both versions have bad spells of ten seconds, each at its own times; a canary that has them, too, is not worse.
#[test]
fn spells_that_stable_has_as_well_are_no_harm() {
    let settings = Settings { dispersion: DispersionRule::Estimated { at_least: 1.0 }, ..strict() };
    let rolled_back = |knows_spells: bool| {
        let mut past = Past::warmed(8.7, 8700.0);
        let mut at = Uptime(0);
        let mut ten_seconds = |past: &mut Past, failures: u64| {
            for second in 0..10 {
                let failures = if second == 9 { failures - failures / 10 * 9 } else { failures / 10 };
                let to = at.plus(Duration::from_secs(1));
                past.learn(Ends { counts: Counts { requests: 100, failures }, ..Ends::default() }, at, to);
                at = to;
            }
        };
        for _ in 0..4 {
            (0..30).for_each(|_| ten_seconds(&mut past, 1));
            if knows_spells {
                (0..3).for_each(|_| ten_seconds(&mut past, 50));
            }
        }
        let mut evidence = Evidence::begin(at, past);
        for second in 0..600_u64 {
            at = at.plus(Duration::from_secs(1));
            let failed = if (300..330).contains(&second) { 1 } else { 0 };
            let block = Block::of_counts(Revision(1), share(25), arms((25, failed), (75, 0)));
            evidence.observe(&settings, at, [block]);
        }
        evidence.is_harmful()
    };
    assert!(rolled_back(false), "so it tells nothing");
    assert!(!rolled_back(true));
}

#[test]
fn a_wrong_split_is_judged_in_blocks_of_ten_seconds_with_its_own_odds() {
    let settings = strict();
    let mut evidence = Evidence::begin(Uptime(0), Past::warmed(10.0, 10_000.0));
    evidence.seek_proof(share(25), Revision(1));
    let mut second = 0;
    let mut look = |evidence: &mut Evidence, arms| {
        second += 1;
        let at = Uptime(second * 1000);
        evidence.observe(&settings, at, [Block::of_counts(Revision(1), share(5), arms)]);
    };
    // A third of the requests instead of a twentieth, and no failures: nothing is wrong but the split.
    for _ in 0..30 {
        look(&mut evidence, arms((33, 0), (67, 0)));
    }
    assert!(evidence.is_split_wrong());
    assert!((evidence.found_share().unwrap() - 0.33).abs() < 0.01);
    let proof = evidence.ln_proof().unwrap();
    // Equal failures of both arms are no harm at these odds.
    for _ in 0..100 {
        look(&mut evidence, arms((33, 1), (67, 2)));
    }
    assert!(!evidence.is_harmful());
    let now = evidence.ln_proof().unwrap();
    assert!((now - proof).abs() < 0.1, "no proof stands on a wrong split: {proof} became {now}");
    // A broken canary is found at the end of a block.
    let mut seconds = 0;
    while !evidence.is_harmful() {
        look(&mut evidence, arms((33, 33), (67, 2)));
        seconds += 1;
        assert!(seconds < 60);
    }
    assert!(seconds <= 21, "{seconds}");
    // Another weight is watched anew.
    let block = Block::of_counts(Revision(2), share(25), arms((250, 0), (750, 0)));
    evidence.observe(&settings, Uptime(500_000), [block]);
    assert!(!evidence.is_split_wrong());
}

#[test]
fn a_ceiling_guards_where_no_stable_arm_is_left() {
    let settings = Settings { ceiling: Some(0.02), ..strict() };
    let mut evidence = Evidence::begin(Uptime(0), Past::warmed(10.0, 10_000.0));
    let mut failed = 0;
    for second in 0..600_u64 {
        let failures = u64::from(second >= 300) * 5;
        failed += failures;
        let block = Block::of_counts(Revision(1), Weight::FULL, arms((100, failures), (0, 0)));
        evidence.observe(&settings, Uptime((second + 1) * 1000), [block]);
        assert!(second >= 300 || !evidence.is_harmful());
        if evidence.is_harmful() {
            assert!(failed < 150, "{failed} failures");
            return;
        }
    }
    panic!("five percent under a ceiling of two were never found");
}

#[test]
fn a_sick_stable_version_holds_until_the_canary_is_proven_better() {
    use crate::analysis::evidence::StableSettings;
    let stable = Some(StableSettings { failures: 0.2, span: Duration::from_secs(60) });
    let settings = Settings { stable, ..strict() };
    let run = |canary_fails: bool| {
        let mut evidence = Evidence::begin(Uptime(0), Past::warmed(10.0, 10_000.0));
        let mut held = 0;
        for second in 0..400_u64 {
            let canary = (10, u64::from(canary_fails) * 3);
            let block = Block::of_counts(Revision(1), share(10), arms(canary, (90, 27)));
            evidence.observe(&settings, Uptime((second + 1) * 1000), [block]);
            held += u64::from(evidence.stable_hold(&settings).is_some());
        }
        (evidence.stable_hold(&settings).is_some(), held)
    };
    assert_eq!(run(true), (true, 341), "as sick as stable: held since the first minute");
    let (held, seconds) = run(false);
    assert!(!held && (1..60).contains(&seconds), "held for {seconds} s");
}

mod latency {
    use super::*;
    use crate::analysis::cohort::{Cohorts, EDGES, Slot, Tally};
    use crate::analysis::latency::LatencySettings;
    use crate::model::histogram::HistogramSnapshot;

    fn settings(ceiling_ms: Option<u64>) -> Settings {
        let ceiling_bucket = ceiling_ms.map(|ms| crate::analysis::latency_span::bucket_up(ms * 1000));
        let warmup = Duration::from_secs(60);
        Settings {
            latency: Some(LatencySettings { ratio: 1.5, added_us: 10_000, ceiling_bucket, warmup }),
            ..strict()
        }
    }

    /// A pseudo-random latency with a long tail, the same on every machine.
    fn latency_us(state: &mut u64, scale: f64) -> u64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let uniform = ((*state >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        (20_000.0 * scale * (1.0 - uniform.ln())) as u64
    }

    /// Seconds until harm is found, at 100 requests a second of which the canary gets a tenth, from a warm start.
    fn found_after(settings: &Settings, scale_at: impl Fn(u64) -> f64, weight: Weight) -> Option<u64> {
        let mut state = 1;
        let mut past = Past::default();
        let mut before = HistogramSnapshot::default();
        for second in 0..300_u64 {
            let mut now = before.clone();
            (0..100).for_each(|_| now.record(latency_us(&mut state, 1.0)));
            past.latency.add(LatencySpan { now: &now, before: &before });
            let (from, to) = (Uptime(second * 1000), Uptime((second + 1) * 1000));
            let counts = Counts { requests: 100, failures: 0 };
            past.learn(Ends { counts, ..Ends::default() }, from, to);
            before = now;
        }
        past.refresh(Uptime(300_000));
        let mut evidence = Evidence::begin(Uptime(300_000), past);
        let mut stable_before = HistogramSnapshot::default();
        let canary_count = u64::from(weight.ppm() / 10_000);
        let (mut totals, mut slots) = ([Tally::default(); 2], Vec::new());
        (300..1200_u64)
            .find(|second| {
                let mut slot = Slot { start: second * 20, span: 20, ..Slot::default() };
                let in_force = evidence.edges(settings);
                let (_, edges) = in_force.iter().rfind(|(from, _)| *from <= slot.start).unwrap();
                let count = |tally: &mut Tally, total: &mut Tally, latency_us: u64, edges: &[u64; EDGES]| {
                    for tally in [tally, total] {
                        (tally.dispatched, tally.answered, tally.ended) =
                            (tally.dispatched + 1, tally.answered + 1, tally.ended + 1);
                        let within = tally.within.iter_mut().zip(edges);
                        within.for_each(|(within, edge)| *within += u64::from(latency_us < *edge));
                    }
                };
                let mut stable = stable_before.clone();
                for request in 0..100 {
                    if request < canary_count {
                        let latency_us = latency_us(&mut state, scale_at(*second - 300));
                        count(&mut slot.canary, &mut totals[1], latency_us, &edges.canary);
                    } else {
                        let latency_us = latency_us(&mut state, 1.0);
                        stable.record(latency_us);
                        count(&mut slot.stable, &mut totals[0], latency_us, &edges.stable);
                    }
                }
                slots.push(slot);
                slots.retain(|slot: &Slot| slot.start + 200 > second * 20);
                let block = Block {
                    latency: Some(LatencySpan { now: &stable, before: &stable_before }),
                    cohorts: Some(Cohorts { now: (second + 1) * 20, totals, slots: &slots, offset: 0 }),
                    ..Block::of_counts(Revision(1), weight, arms((canary_count, 0), (100 - canary_count, 0)))
                };
                evidence.observe(settings, Uptime((second + 1) * 1000), [block]);
                stable_before = stable;
                evidence.is_harmful()
            })
            .map(|second| second - 300)
    }

    /// What is found in cohorts that are open is blamed on what was found in them.
    #[test]
    fn a_canary_that_fails_at_once_is_said_to_fail() {
        let settings = Settings { refusals: Some(Margin { ratio: 1.5, added: 0.01 }), ..settings(None) };
        let settings = Settings { dispersion: DispersionRule::Constant(1.0), ..settings };
        let mut evidence = Evidence::begin(Uptime(300_000), Past::warmed(1.0, 1000.0));
        evidence.edges(&settings);
        let of = |dispatched, ended, failed| Tally {
            dispatched,
            answered: ended,
            ended,
            failed,
            ..Tally::default()
        };
        let slots = [
            Slot { start: 6000, span: 1, stable: of(40, 40, 0), canary: of(4, 4, 0) },
            Slot { start: 6001, span: 1, stable: of(40, 39, 0), canary: of(6, 6, 6) },
        ];
        let totals = [of(80, 79, 0), of(10, 10, 6)];
        let block = Block {
            cohorts: Some(Cohorts { now: 6003, totals, slots: &slots, offset: 0 }),
            ..Block::of_counts(Revision(1), share(10), arms((10, 6), (79, 0)))
        };
        evidence.observe(&settings, Uptime(300_150), [block]);
        assert!(evidence.is_harmful());
        assert_eq!(evidence.slowness(&settings), None, "neither slow nor refusing");
    }

    #[test]
    fn as_fast_as_stable_is_no_harm() {
        assert_eq!(found_after(&settings(None), |_| 1.0, share(10)), None);
    }

    #[test]
    fn four_times_slower_is_found_but_not_while_the_canary_warms_up() {
        let found = found_after(&settings(None), |_| 4.0, share(10)).unwrap();
        assert!((60..90).contains(&found), "{found} s");
        assert_eq!(
            found_after(&settings(None), |second| if second < 60 { 4.0 } else { 1.0 }, share(10)),
            None
        );
        let late =
            found_after(&settings(None), |second| if second < 600 { 1.0 } else { 4.0 }, share(10)).unwrap();
        assert!((600..650).contains(&late), "{late} s");
    }

    #[test]
    fn a_ceiling_of_p99_guards_alone_at_full_weight() {
        assert_eq!(
            found_after(&settings(None), |_| 4.0, Weight::FULL),
            None,
            "nothing is left to compare with"
        );
        let found = found_after(&settings(Some(200)), |_| 4.0, Weight::FULL).unwrap();
        assert!(found < 120, "{found} s");
        assert_eq!(found_after(&settings(Some(200)), |_| 1.0, Weight::FULL), None);
    }
}
