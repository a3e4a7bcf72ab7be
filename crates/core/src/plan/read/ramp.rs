//! A ramp: weights that rise by the same difference, each held for the same time, in one step of a plan.
//!
//! It is short for the weights and bakes it stands for, as a preset is, so everything that acts on a plan knows weights
//! alone: before each of them stands what stands before every weight.

use std::time::Duration;

use super::fields::{Field, Reader};
use super::steps::PlacedStep;
use super::values::Span;
use crate::model::weight::Weight;
use crate::plan::keys;
use crate::plan::model::Step;

/// The most weights that one ramp stands for; more would be a plan that nobody reads the progress of.
const WEIGHTS_MAX: u32 = 100;

/// What a ramp says: up to which share, by how much at a time, and how long each is held.
struct Ramp {
    to: Weight,
    by: Weight,
    every: Duration,
}

impl Reader<'_> {
    /// Takes a ramp as the steps it stands for, from the weight that the steps before it have set.
    pub fn ramp(
        &mut self,
        field: &Field<'_>,
        before: &[PlacedStep],
        at: &Field<'_>,
    ) -> Option<Vec<PlacedStep>> {
        let fields = self.map(field, &keys::RAMP)?;
        let taken = |reader: &mut Self, name: &'static str| {
            let taken = fields.get(name);
            if taken.is_none() {
                reader.missing(&fields, field.at, "a `ramp`", name);
            }
            taken
        };
        let (to, by) = (taken(self, "to"), taken(self, "by"));
        let every = taken(self, "every").and_then(|every| self.span(&every, Span::Any));
        let (to, by) = (to?, by?);
        let (to_weight, by_weight) = (self.weight(&to), self.weight(&by));
        let ramp = Ramp { to: to_weight?, by: by_weight?, every: every? };
        let last = before.iter().rev().find_map(|placed| match placed.step {
            Step::SetWeight(weight) => Some((weight, placed.place)),
            Step::Bake(_) | Step::Pause | Step::Approval(_) | Step::Analysis(_) | Step::Webhook(_) => None,
        });
        let from = last.map_or(Weight::ZERO, |(weight, _)| weight);
        if ramp.to <= from {
            let share = ramp.to;
            let fault = match last {
                Some((last, place)) => self
                    .faults
                    .error(
                        to.place(),
                        format!("the ramp ends at {share}, and the weight before it is {last}"),
                    )
                    .related(place, format!("{last} is set here")),
                None => self.faults.error(to.place(), format!("a ramp to {share} moves nothing")),
            };
            fault.help("let it end above where it begins");
            return None;
        }
        let rise = ramp.to.ppm() - from.ppm();
        if ramp.by == Weight::ZERO {
            self.faults
                .error(by.place(), "a ramp by 0% never rises")
                .help("write how much each weight is above the one before, as in `by: 5%`");
            return None;
        }
        let count = rise.div_ceil(ramp.by.ppm());
        if count > WEIGHTS_MAX {
            self.faults
                .error(
                    by.place(),
                    format!("the ramp stands for {count} weights, and at most {WEIGHTS_MAX} are taken"),
                )
                .help("let each be more above the one before");
            return None;
        }
        let place = at.place();
        Some(ramp.steps(from).into_iter().map(|step| PlacedStep { step, place }).collect())
    }
}

impl Ramp {
    /// The weights above `from`, each with how long it is held; nothing is held where all traffic is the canary's.
    fn steps(&self, from: Weight) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut share = from;
        while share < self.to {
            share = Weight::from_ppm(share.ppm() + self.by.ppm()).map_or(self.to, |next| next.min(self.to));
            steps.push(Step::SetWeight(share));
            if share < Weight::FULL {
                steps.push(Step::Bake(self.every));
            }
        }
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_stands_for_weights_and_bakes() {
        let percent = |text: &str| -> Weight { text.parse().unwrap() };
        let shown = |from: &str, to: &str, by: &str| -> Vec<String> {
            let ramp = Ramp { to: percent(to), by: percent(by), every: Duration::from_secs(120) };
            let weights = ramp.steps(percent(from)).into_iter().filter_map(|step| match step {
                Step::SetWeight(weight) => Some(weight.to_string()),
                Step::Bake(span) => Some(format!("{}s", span.as_secs())),
                Step::Pause | Step::Approval(_) | Step::Analysis(_) | Step::Webhook(_) => None,
            });
            weights.collect()
        };
        assert_eq!(shown("0%", "15%", "5%"), ["5%", "120s", "10%", "120s", "15%", "120s"]);
        assert_eq!(shown("3%", "10%", "5%"), ["8%", "120s", "10%", "120s"], "the last rise may be smaller");
        assert_eq!(shown("50%", "100%", "50%"), ["100%"], "at all traffic nothing is held");
        assert_eq!(shown("99.9999%", "100%", "100%"), ["100%"]);
    }
}
