//! How long a plan's gates need before they can decide, for a canary that is as good as stable.
//!
//! A good canary is not one without failures, it is one that fails as often as stable does, and that makes all the
//! difference where stable fails once in a hundred requests. So each gate's need is what such a canary needs on average
//! and nine times in ten (`proof::Pace`), and no less than the bake. Nine times in ten the whole plan is through after
//!
//! ```text
//! sum of the means + sqrt(sum of (nine in ten - mean)^2)
//! ```
//!
//! because steps take long independently of each other; a sum of their nine in ten would be 1.7 times too long (simulated
//! with four gates: the rule above is 1.0 to 1.35 times the ninetieth percentile of what the engine takes). Estimates
//! only, a heuristic: they err to the long side, and clumps of failures take longer.
//!
//! Where a plan would take too long, other steps may not: of the weights 3, 5, 10, 25 and 50 % before all of it, those are
//! suggested that fit and begin with the smallest weight, and of these the quickest.

use std::time::Duration;

use crate::analysis::boundary::Margin;
use crate::analysis::mirror::SampleKind;
use crate::analysis::proof::{Proof, ProofTable, margin_before};
use crate::analysis::users;
use crate::model::weight::Weight;
use crate::plan::Plan;

/// What the gate from one weight to the next needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepNeed {
    /// The step that sets the weight, from 1.
    pub step: usize,
    /// The weight.
    pub weight: Weight,
    /// The share of the alias's requests that the canary gets for judging: the weight, or that of copies where it has none.
    pub judged: Weight,
    /// The next one; `None` at the last.
    pub next: Option<Weight>,
    /// How long it bakes whatever the traffic.
    pub bake: Duration,
    /// How long the canary warms there at least; nothing where latency is not judged.
    pub warms_least: Duration,
    /// What decides there.
    pub decision: Decision,
}

/// What decides whether the next weight is let in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decision {
    /// Proof, after about so many canary requests.
    Proof {
        /// Of a canary that never fails.
        clean_requests: u64,
        /// Of one that fails as stable does, on average.
        expected_requests: f64,
        /// Of such a one, nine times in ten.
        p90_requests: f64,
    },
    /// Proof by users who stick to a version: looked at after one bake, two, four and so on.
    Users {
        /// So many of the canary's, none of whom met a failure.
        clean_users: u64,
        /// So many it has, where that is known.
        canary_users: Option<u64>,
    },
    /// Proof that no number of requests brings.
    NeverProven,
    /// Time and people: the plan asks for no proof.
    TimeAlone,
    /// Nothing is left to advance to; harm is judged against an absolute ceiling.
    CeilingAlone,
    /// Nothing is left to advance to, and nothing compares the canary with anything.
    Unguarded,
}

impl StepNeed {
    /// By when a good canary is decided about here nine times in ten, at so many requests a second to the alias.
    ///
    /// `None` if it takes for ever.
    pub fn time_to_decide(&self, requests_per_s: f64) -> Option<Duration> {
        match self.decision {
            Decision::Proof { p90_requests, .. } => self.time_of(p90_requests, requests_per_s),
            // They come within a bake; without any requests nobody does.
            Decision::Users { clean_users, canary_users } => {
                let are_enough = canary_users.is_none_or(|users| users >= clean_users);
                (requests_per_s > 0.0 && are_enough).then_some(Duration::ZERO)
            }
            Decision::NeverProven => None,
            Decision::TimeAlone | Decision::CeilingAlone | Decision::Unguarded => Some(Duration::ZERO),
        }
    }

    fn time_of(&self, canary_requests: f64, requests_per_s: f64) -> Option<Duration> {
        let seconds = canary_requests / (requests_per_s * self.judged.fraction());
        Duration::try_from_secs_f64(seconds.ceil()).ok()
    }

    /// How long it stays here: on average, and nine times in ten.
    fn spans(&self, requests_per_s: f64) -> Option<(f64, f64)> {
        let least = self.warmup(requests_per_s) + self.bake;
        let expected = match self.decision {
            Decision::Proof { expected_requests, .. } => self.time_of(expected_requests, requests_per_s)?,
            Decision::NeverProven => return None,
            Decision::Users { .. } | Decision::TimeAlone | Decision::CeilingAlone | Decision::Unguarded => {
                Duration::ZERO
            }
        };
        let p90 = self.time_to_decide(requests_per_s)?;
        Some((expected.max(least).as_secs_f64(), p90.max(least).as_secs_f64()))
    }

    /// The same where the alias has so many users at a time.
    pub fn among(self, users: u64) -> StepNeed {
        let decision = match self.decision {
            Decision::Users { clean_users, .. } => {
                let canary_users = Some((users as f64 * self.weight.fraction()) as u64);
                Decision::Users { clean_users, canary_users }
            }
            decision @ (Decision::Proof { .. }
            | Decision::NeverProven
            | Decision::TimeAlone
            | Decision::CeilingAlone
            | Decision::Unguarded) => decision,
        };
        StepNeed { decision, ..self }
    }

    /// How long the canary warms at a weight before the bake counts.
    pub fn warmup(&self, requests_per_s: f64) -> Duration {
        // Nothing bakes where there are copies alone, and so nothing waits for a warm-up.
        if self.warms_least.is_zero() || self.next.is_none() || self.weight == Weight::ZERO {
            return Duration::ZERO;
        }
        let seconds = WARMED_BY / (requests_per_s * self.judged.fraction());
        Duration::try_from_secs_f64(seconds.ceil())
            .unwrap_or(WARMUP_MAX)
            .max(self.warms_least)
            .min(WARMUP_MAX)
    }
}

/// So many canary requests warm a canary, or so much time.
const WARMED_BY: f64 = 200.0;
const WARMUP_MAX: Duration = Duration::from_secs(15 * 60);

/// By when a good canary is through all of it nine times in ten; `None` if it never is.
pub fn time_to_finish(needs: &[StepNeed], requests_per_s: f64) -> Option<Duration> {
    let (mut mean, mut squares) = (0.0, 0.0);
    for need in needs {
        let (expected, p90) = need.spans(requests_per_s)?;
        mean += expected;
        squares += (p90 - expected).powi(2);
    }
    Duration::try_from_secs_f64((mean + f64::sqrt(squares)).ceil()).ok()
}

/// The weights that are tried in place of a plan's own, in parts per million.
const TRIED: [u32; 5] = [30_000, 50_000, 100_000, 250_000, 500_000];

/// Other weights for a plan, and how long they take.
#[derive(Clone, Debug, PartialEq)]
pub struct Suggestion {
    /// The weights, 100 % last.
    pub weights: Vec<Weight>,
    /// By when a good canary is through nine times in ten.
    pub time: Duration,
    /// Whether that is within what was asked for; if not, nothing would be.
    pub fits: bool,
}

/// Weights with which a good canary is through within `limit`, at the plan's own bake; the quickest ones if none is.
///
/// `users` are how many the alias has at a time, where that is known. `None` where no traffic would ever prove anything.
pub fn suggest(
    plan: &Plan,
    stable_rate: f64,
    (requests_per_s, users): (f64, Option<u64>),
    limit: Duration,
) -> Option<Suggestion> {
    let subsets = (1_u32..1 << TRIED.len()).filter_map(|subset| {
        let chosen = TRIED.iter().enumerate().filter(|(index, _)| subset & (1 << index) != 0);
        let mut weights: Vec<Weight> = chosen.filter_map(|(_, ppm)| Weight::from_ppm(*ppm)).collect();
        weights.push(Weight::FULL);
        let needs: Vec<StepNeed> = (0..weights.len())
            .map(|index| StepNeed {
                step: index + 1,
                weight: weights[index],
                judged: weights[index],
                next: weights.get(index + 1).copied(),
                bake: if index + 1 < weights.len() { plan.bake } else { Duration::ZERO },
                warms_least: warms_least(plan),
                decision: decision(plan, weights[index], weights.get(index + 1).copied(), stable_rate),
            })
            .map(|need| users.map_or(need, |users| need.among(users)))
            .collect();
        let time = time_to_finish(&needs, requests_per_s)?;
        Some(Suggestion { fits: time <= limit, weights, time })
    });
    // What fits comes first, then the smallest first weight, then the quickest.
    subsets.min_by_key(|found| (!found.fits, found.fits.then(|| found.weights[0]), found.time))
}

fn warms_least(plan: &Plan) -> Duration {
    let latency = plan.analysis.as_ref().and_then(|analysis| analysis.latency);
    latency.map_or(Duration::ZERO, |latency| latency.warmup)
}

/// Without a weight it is copies that are judged.
fn judged_at(plan: &Plan, weight: Weight) -> Weight {
    match weight {
        Weight::ZERO => plan.mirror_at(weight).map_or(weight, |mirror| mirror.share),
        weight => weight,
    }
}

/// What each weight of a plan needs, where the stable version fails at `stable_rate` (0 to 1).
pub fn of(plan: &Plan, stable_rate: f64) -> Vec<StepNeed> {
    let weights: Vec<(usize, Weight)> =
        (1..=plan.steps.len()).filter_map(|step| Some((step, plan.weight_at(step)?))).collect();
    let need = |(index, (step, weight)): (usize, &(usize, Weight))| {
        let next = weights.get(index + 1).map(|(_, next)| *next);
        StepNeed {
            step: *step,
            weight: *weight,
            judged: judged_at(plan, *weight),
            next,
            bake: bake_at(plan, *step),
            warms_least: warms_least(plan),
            decision: decision(plan, *weight, next, stable_rate),
        }
    };
    weights.iter().enumerate().map(need).collect()
}

/// The least time served between a weight and the next.
fn bake_at(plan: &Plan, step: usize) -> Duration {
    use crate::plan::Step;
    let after = plan.steps.iter().skip(step).take_while(|step| !matches!(step, Step::SetWeight(_)));
    let bakes: Duration =
        after.filter_map(|step| if let Step::Bake(span) = step { Some(*span) } else { None }).sum();
    bakes.max(plan.default_bake_after(step))
}

fn decision(plan: &Plan, weight: Weight, next: Option<Weight>, stable_rate: f64) -> Decision {
    let Some(analysis) = &plan.analysis else {
        return if next.is_some() { Decision::TimeAlone } else { Decision::Unguarded };
    };
    let Some(next) = next else {
        let has_ceiling = analysis.failures.max.is_some()
            || analysis.latency.is_some_and(|latency| latency.p99_max.is_some());
        return match (weight < Weight::FULL, has_ceiling) {
            (true, _) => Decision::TimeAlone,
            (false, true) => Decision::CeilingAlone,
            (false, false) => Decision::Unguarded,
        };
    };
    let Some(proof) = analysis.proof else { return Decision::TimeAlone };
    let margin: Margin = margin_before(next.fraction(), analysis.failures.max_ratio, proof.added_failures);
    if plan.routing.judges_users() {
        return Decision::Users { clean_users: users::for_proof(margin), canary_users: None };
    }
    let stratum = if weight == Weight::ZERO { SampleKind::MirrorCopy } else { SampleKind::Weighted };
    let table = ProofTable::new(stratum.share(weight), stable_rate.max(f64::MIN_POSITIVE), margin);
    let ln_limit = -proof.false_advance_rate.ln();
    let pace = table.pace(ln_limit).map(|pace| pace.damped(analysis.min_dispersion));
    match (Proof::default().more_clean_requests(&table, ln_limit, analysis.min_dispersion), pace) {
        (Some(clean_requests), Some(pace)) => Decision::Proof {
            clean_requests,
            expected_requests: pace.canary_requests(),
            p90_requests: pace.canary_requests_p90(),
        },
        _ => Decision::NeverProven,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Source, load};

    fn plan(text: &str) -> Plan {
        let text = format!("function: f\nalias: live\n{text}");
        load(&Source::new("f.yaml", text), None).unwrap().plan
    }

    /// The figures of the specification, section 3: 37, 185, 370 and 740 clean requests.
    #[test]
    fn each_step_needs_what_its_margin_asks() {
        let needs = of(&plan("steps: [3%, 5%, 25%, 50%, 100%]\n"), 1e-6);
        let clean: Vec<u64> = needs
            .iter()
            .filter_map(|need| match need.decision {
                Decision::Proof { clean_requests, .. } => Some(clean_requests),
                Decision::Users { .. }
                | Decision::NeverProven
                | Decision::TimeAlone
                | Decision::CeilingAlone
                | Decision::Unguarded => None,
            })
            .collect();
        for (found, about) in clean.iter().zip([37.0, 185.0, 370.0, 740.0]) {
            assert!((*found as f64 / about - 1.0).abs() < 0.15, "{clean:?}");
        }
        assert_eq!((clean.len(), needs[4].decision), (4, Decision::Unguarded));
        let time = needs[0].time_to_decide(100.0).unwrap();
        assert!((time.as_secs() as f64 / (50.0 / 3.0) - 1.0).abs() < 0.2, "{time:?}");
        assert_eq!(needs[0].time_to_decide(0.0), None);
        assert_eq!(needs[0].bake, Duration::from_secs(300));
    }

    #[test]
    fn what_decides_without_proof_is_said() {
        let decisions = |text: &str| -> Vec<Decision> {
            of(&plan(text), 0.001).iter().map(|need| need.decision).collect()
        };
        assert_eq!(
            decisions("steps: [3%, 100%]\nanalysis: none\n"),
            [Decision::TimeAlone, Decision::Unguarded]
        );
        let ceiling = "steps: [3%, 100%]\nanalysis: {proof: none, failures: {max: 2%}}\n";
        assert_eq!(decisions(ceiling), [Decision::TimeAlone, Decision::CeilingAlone]);
    }

    #[test]
    fn a_bake_step_takes_the_place_of_the_default() {
        let needs = of(&plan("bake: 5m\nsteps: [3%, {bake: 20s}, {bake: 40s}, 100%]\n"), 0.001);
        assert_eq!(needs[0].bake, Duration::from_secs(60));
    }

    const FIVE: &str = "steps: [3%, 5%, 25%, 50%, 100%]\nanalysis: {latency: none}\n";

    /// Hours by which a good canary was through in nine of ten simulated runs of the engine, at a rate of traffic and of
    /// stable's failures.
    #[test]
    fn a_plan_takes_as_long_as_the_engine_does() {
        let simulated = [
            (0.2, 0.001, 16.6),
            (1.0, 0.001, 3.31),
            (1.0, 0.01, 9.50),
            (10.0, 0.001, 0.45),
            (10.0, 0.01, 1.01),
            (10.0, 0.05, 1.45),
            (100.0, 0.001, 0.34),
        ];
        for (rps, rate, hours) in simulated {
            let time = time_to_finish(&of(&plan(FIVE), rate), rps).unwrap();
            let ratio = time.as_secs_f64() / 3600.0 / hours;
            assert!((0.95..1.5).contains(&ratio), "{rps}/s at {rate}: {ratio}");
        }
    }

    #[test]
    fn steps_that_fit_are_suggested() {
        let day = Duration::from_secs(24 * 3600);
        let all_good = suggest(&plan(FIVE), 0.001, (1.0, None), day).unwrap();
        assert!(all_good.fits && all_good.weights[0] == Weight::from_ppm(30_000).unwrap(), "{all_good:?}");
        let never = suggest(&plan(FIVE), 0.01, (0.05, None), day).unwrap();
        assert!(!never.fits && never.weights.len() == 2, "{never:?}");
        assert!(suggest(&plan(FIVE), 0.001, (0.0, None), day).is_none_or(|none| !none.fits));
    }

    #[test]
    fn a_canary_warms_before_its_bake() {
        let warm = of(&plan("steps: [3%, 100%]\n"), 1e-6);
        assert_eq!(warm[0].warmup(100.0), Duration::from_secs(67));
        assert_eq!(warm[0].warmup(1.0), Duration::from_secs(900));
        assert_eq!(of(&plan(FIVE), 1e-6)[0].warmup(1.0), Duration::ZERO);
    }

    #[test]
    fn users_who_stick_are_what_a_gate_needs() {
        let plan = plan("steps: [3%, 5%, 25%, 50%, 100%]\nrouting: {affinity: {cookie: session}}\n");
        let needs = of(&plan, 0.001);
        let clean: Vec<u64> = needs
            .iter()
            .filter_map(|need| match need.decision {
                Decision::Users { clean_users, canary_users: None } => Some(clean_users),
                Decision::Proof { .. }
                | Decision::Users { .. }
                | Decision::NeverProven
                | Decision::TimeAlone
                | Decision::CeilingAlone
                | Decision::Unguarded => None,
            })
            .collect();
        assert_eq!(clean, [38, 190, 380, 760]);
        let finish = |users| {
            let needs: Vec<StepNeed> = needs.iter().map(|need| need.among(users)).collect();
            time_to_finish(&needs, 100.0)
        };
        assert!(finish(10_000).is_some_and(|time| time >= Duration::from_secs(1200)), "{:?}", finish(10_000));
        assert_eq!(finish(1000), None, "30 of the canary's prove nothing");
        assert!(suggest(&plan, 0.001, (100.0, Some(1000)), Duration::from_secs(86_400)).is_none());
    }
}
