//! What answers from outside lead to.

use super::super::answers::{HookAnswer, Judgement, Reading};
use super::super::outside::bounds;
use super::{Answer, Change, unchanged};
use crate::plan::{OnFailure, Step};
use crate::rollout::event::Harm;
use crate::rollout::state::{Ending, PauseCause, Phase};

impl Change<'_> {
    /// Takes an answer of a metric; only its bounds and its limits say what follows.
    pub(super) fn measured(mut self, name: &str, weight_step: usize, reading: &Reading) -> Answer {
        let at = self.cause.at;
        if weight_step != self.next.record.weight_step {
            return unchanged("was asked about that metric at another weight");
        }
        if !self.next.minds_metrics() {
            return unchanged("does not go by metrics while somebody else's routing stands");
        }
        let plan = std::sync::Arc::clone(&self.next.plan);
        let defined = plan.analysis.as_ref().map_or(&[][..], |analysis| &analysis.metrics);
        let Some(metric) = defined.iter().find(|metric| metric.name == name) else {
            return unchanged("has no such metric");
        };
        let judgement = self.next.record.answers.note(metric, reading.clone(), at.wall, at.up);
        let in_step = match plan.step(self.next.record.step) {
            Some(Step::Analysis(step)) => step.metrics.as_slice(),
            _ => &[],
        };
        if in_step.iter().any(|named| named == name) {
            let step: Vec<_> =
                defined.iter().filter(|metric| in_step.contains(&metric.name) && !metric.dry_run).collect();
            self.next.record.answers.credit(&step, metric, judgement, at.up);
        }
        let state = self.next.record.answers.metrics.get(name).cloned().unwrap_or_default();
        match (judgement, reading) {
            _ if metric.dry_run => self.done(),
            (Judgement::Bad, Reading::Value(value)) if state.bad > metric.failure_limit => {
                let harm = Harm::Metric {
                    metric: name.to_owned(),
                    value: *value,
                    bounds: bounds(metric),
                    bad: state.bad,
                };
                self.outside_harm(&harm)
            }
            (Judgement::Inconclusive, reading)
                if state.inconclusive > metric.inconclusive_limit
                    && self.next.record.phase == Phase::Progressing =>
            {
                let reason =
                    format!("the metric {name} was asked {} times in a row: {reading}", state.inconclusive);
                self.pause(PauseCause::Inconclusive, reason)
            }
            _ => self.done(),
        }
    }

    /// Takes an answer of the current step's web hook; what does not agree is asked again, as often as the plan says.
    pub(super) fn hook_answered(mut self, step: usize, asked: (u32, u32), answer: &HookAnswer) -> Answer {
        let at = self.cause.at;
        let plan = std::sync::Arc::clone(&self.next.plan);
        let record = &mut self.next.record;
        let current = match plan.step(record.step) {
            Some(Step::Webhook(hook)) if record.step == step => hook,
            _ => return unchanged("is not at that step"),
        };
        let state = &mut record.answers.hook;
        if asked != (state.round, state.tried) || state.has_agreed() {
            return unchanged("has that answer already");
        }
        state.tried = state.tried.saturating_add(1);
        state.last = Some((at.up, answer.clone()));
        let tried = state.tried;
        if answer.agrees() || tried <= current.retries {
            return self.done();
        }
        match (answer, &self.next.record.phase) {
            (HookAnswer::Silent(why), Phase::Progressing) => {
                let reason = format!("the web hook gave no answer, asked {tried} time(s): {why}");
                self.pause(PauseCause::Inconclusive, reason)
            }
            (HookAnswer::Silent(_), _) => self.done(),
            (said, _) => self.outside_harm(&Harm::Webhook { said: said.to_string(), tried }),
        }
    }

    /// Does what the plan says of harm that was found outside, also before the canary has any weight.
    fn outside_harm(self, harm: &Harm) -> Answer {
        match (self.next.plan.on_failure, &self.next.record.phase) {
            (OnFailure::Rollback, _) => self.roll_back(Ending::RolledBack, harm.to_string()),
            (OnFailure::Report, _) if matches!(harm, Harm::Metric { .. }) => {
                let mut change = self;
                if change.next.record.phase == Phase::Progressing {
                    change.next.record.reason = format!("reported only: {harm}");
                }
                change.done()
            }
            // A hook that says no never says yes by itself: somebody must look.
            (OnFailure::Pause | OnFailure::Report, Phase::Progressing) => {
                self.pause(PauseCause::Harm, harm.to_string())
            }
            _ => self.done(),
        }
    }
}
