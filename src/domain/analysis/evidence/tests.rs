//! Every number of the vectors, which were computed independently at 50 digits.

use serde::Deserialize;
use serde_json::Value;

use super::*;
use crate::domain::analysis::boundary::{above, below};
use crate::domain::analysis::ratio::ln_evidence_against;

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
    serde_json::from_str(include_str!("../../../../tests/vectors/analysis.json")).unwrap()
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
    let mut evidence = Evidence::begin(Uptime(0), Baseline::warmed(run.a0, run.b0));
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
        let canary_failed = evidence.observe(settings, at, &[Block { epoch, weight, arms }]);
        check(index, &evidence, canary_failed);
    }
}

fn settings_of(run: &Run) -> Settings {
    Settings {
        limit: Margin { ratio: run.rho, added: run.delta },
        ceiling: None,
        false_rollback_rate: run.level,
        proof: None,
        dispersion: run.disp,
    }
}

#[test]
fn harm_tick_by_tick() {
    for run in vectors().harm {
        let settings = settings_of(&run);
        replay(&run, &settings, None, |index, evidence, _| {
            let (expected, what) = (&run.expect[index], format!("{} tick {index}", run.name));
            assert_close(evidence.ln_harm(&settings), number(expected, "log_m"), &what);
            assert_eq!(evidence.is_harmful(&settings), expected["rollback"].as_bool().unwrap(), "{what}");
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
    harm.update(&table, Arms { canary: all_failed, stable: all_failed }, 1.0);
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
        dispersion: 1.0,
    };
    for (next, about) in [(50_000, 37.0), (250_000, 185.0), (500_000, 370.0), (1_000_000, 740.0)] {
        let mut evidence = Evidence::begin(Uptime(0), Baseline::warmed(0.0, 1e9));
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
    let block = |canary, stable| Block {
        epoch: Revision(1),
        weight: Weight::from_ppm(30_000).unwrap(),
        arms: Arms {
            canary: Counts { requests: 3, failures: canary },
            stable: Counts { requests: 97, failures: stable },
        },
    };
    let mut straight = Evidence::begin(Uptime(0), Baseline::warmed(8.7, 8700.0));
    let mut interrupted = straight.clone();
    for second in 0..40_u64 {
        let blocks = [block(u64::from(second % 13 == 0), u64::from(second % 5 == 0))];
        straight.observe(&settings, Uptime((second + 1) * 1000), &blocks);
        interrupted.observe(&settings, Uptime((second + 1) * 1000), &blocks);
        if second == 19 {
            let stored = serde_json::to_string(&interrupted).unwrap();
            interrupted = serde_json::from_str(&stored).unwrap();
        }
    }
    assert_eq!(straight.ln_harm(&settings), interrupted.ln_harm(&settings));
}
