//! How much clean traffic a plan's gates need before they can decide.
//!
//! For a canary without a single failure beside a stable version at a steady rate, the proof before each next weight
//! takes so many canary requests; traffic says how long that is. Estimates only: chance makes it more or less.

use std::time::Duration;

use super::boundary::Margin;
use super::proof::{Proof, ProofTable, margin_before};
use crate::domain::plan::{Analysis, Plan};
use crate::domain::weight::Weight;

/// What the gate from one weight to the next needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepNeed {
    /// The step that sets the weight, from 1.
    pub step: usize,
    /// The weight.
    pub weight: Weight,
    /// The next one; `None` at the last.
    pub next: Option<Weight>,
    /// How long it bakes whatever the traffic.
    pub bake: Duration,
    /// What decides there.
    pub decision: Decision,
}

/// What decides whether the next weight is let in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decision {
    /// Proof, after about so many clean canary requests.
    Proof {
        /// Canary requests.
        clean_requests: u64,
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
    /// How long a clean canary is judged here at so many requests a second to the alias; `None` if it takes for ever.
    pub fn time_to_decide(&self, requests_per_s: f64) -> Option<Duration> {
        let Decision::Proof { clean_requests } = self.decision else { return Some(Duration::ZERO) };
        let seconds = clean_requests as f64 / (requests_per_s * self.weight.fraction());
        Duration::try_from_secs_f64(seconds.ceil()).ok()
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
            next,
            bake: bake_at(plan, *step),
            decision: decision(plan.analysis.as_ref(), *weight, next, stable_rate),
        }
    };
    weights.iter().enumerate().map(need).collect()
}

/// The least time served between a weight and the next.
fn bake_at(plan: &Plan, step: usize) -> Duration {
    use crate::domain::plan::Step;
    let after = plan.steps.iter().skip(step).take_while(|step| !matches!(step, Step::SetWeight(_)));
    let bakes: Duration =
        after.filter_map(|step| if let Step::Bake(span) = step { Some(*span) } else { None }).sum();
    bakes.max(plan.default_bake_after(step))
}

fn decision(analysis: Option<&Analysis>, weight: Weight, next: Option<Weight>, stable_rate: f64) -> Decision {
    let Some(analysis) = analysis else {
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
    let table = ProofTable::new(weight.fraction(), stable_rate.max(f64::MIN_POSITIVE), margin);
    let ln_limit = -proof.false_advance_rate.ln();
    match Proof::default().more_clean_requests(&table, ln_limit, analysis.min_dispersion) {
        Some(clean_requests) => Decision::Proof { clean_requests },
        None => Decision::NeverProven,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::plan::{Source, load};

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
                Decision::Proof { clean_requests } => Some(clean_requests),
                _ => None,
            })
            .collect();
        for (found, about) in clean.iter().zip([37.0, 185.0, 370.0, 740.0]) {
            assert!((*found as f64 / about - 1.0).abs() < 0.15, "{clean:?}");
        }
        assert_eq!((clean.len(), needs[4].decision), (4, Decision::Unguarded));
        let time = needs[0].time_to_decide(100.0).unwrap();
        assert_eq!(time.as_secs(), (clean[0] as f64 / 3.0).ceil() as u64);
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
}
