//! What a rollout asks outside, and what the answers mean: metrics that must hold, and web hooks that must agree.
//!
//! Asking is IO and happens elsewhere. What is to be asked now follows from the state alone (`Rollout::errands`), so a
//! question that was under way when the daemon was killed is simply asked again. An answer comes back as an event. Only
//! a finite number within its bounds passes; whatever else comes back is no verdict, and nothing advances on it.

use super::answers::{HookAnswer, HookState, Judgement, MetricState, Question, Reading};
use super::event::Event;
use super::state::{Phase, Rollout};
use crate::model::rollout_id::RolloutId;
use crate::model::time::{Moment, Uptime, human};
use crate::model::weight::Weight;
use crate::plan::{Metric, Step, Webhook};

/// Something to be asked outside now; data, performed at the edge.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExternalCheck {
    /// For which rollout.
    pub rollout: RolloutId,
    /// What.
    pub question: Question,
}

/// What comes back from an errand.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// For a metric.
    Reading(Reading),
    /// For the web hook of a step.
    Hook(HookAnswer),
}

impl ExternalCheck {
    /// The event that an answer is; an answer of the wrong kind is none.
    pub fn answered(&self, answer: Answer) -> Event {
        match (&self.question, answer) {
            (Question::Metric { name, weight_step }, answer) => Event::Measured {
                metric: name.clone(),
                weight_step: *weight_step,
                reading: match answer {
                    Answer::Reading(reading) => reading.sound(),
                    Answer::Hook(_) => Reading::Nothing("a web hook's answer is no number".to_owned()),
                },
            },
            (Question::Hook { step, round, attempt }, answer) => Event::HookAnswered {
                step: *step,
                round: *round,
                attempt: *attempt,
                answer: match answer {
                    Answer::Hook(answer) => answer,
                    Answer::Reading(_) => {
                        HookAnswer::Silent("a number is no answer of a web hook".to_owned())
                    }
                },
            },
        }
    }
}

impl Rollout {
    /// The metric of a name.
    pub fn metric(&self, name: &str) -> Option<&Metric> {
        self.plan.analysis.as_ref()?.metrics.iter().find(|metric| metric.name == name)
    }

    /// The metrics of the current analysis step; none at any other step.
    pub fn step_metrics(&self) -> Vec<&Metric> {
        match self.current_step() {
            Some(Step::Analysis(step)) => step.metrics.iter().filter_map(|name| self.metric(name)).collect(),
            _ => Vec::new(),
        }
    }

    /// The metrics asked now: from their weight on, and wherever a step names them.
    pub fn metrics_in_force(&self) -> Vec<&Metric> {
        let Some(analysis) = &self.plan.analysis else { return Vec::new() };
        let (share, step) = (self.share(), self.step_metrics());
        let in_force = |metric: &&Metric| {
            (share > Weight::ZERO && share >= metric.from)
                || step.iter().any(|named| named.name == metric.name)
        };
        analysis.metrics.iter().filter(in_force).collect()
    }

    /// Whether answers of metrics can still lead to anything.
    pub(super) fn minds_metrics(&self) -> bool {
        match self.record.phase {
            Phase::Progressing => self.record.drift.is_none() || self.record.is_armed(),
            Phase::Paused(_) => self.record.is_armed(),
            Phase::Pending
            | Phase::Promoting
            | Phase::RollingBack(_)
            | Phase::Succeeded
            | Phase::RolledBack
            | Phase::Aborted
            | Phase::Superseded => false,
        }
    }

    /// When a metric is to be asked next; `None` while its weight is not served.
    pub fn asks_metric_at(&self, metric: &Metric) -> Option<Uptime> {
        let record = &self.record;
        if let Some(last) = record.answers.metrics.get(&metric.name).and_then(|state| state.last.as_ref()) {
            return Some(last.up.plus(metric.interval));
        }
        let watch = if self.share() > Weight::ZERO { &record.served } else { &record.waited };
        watch.reaches(metric.initial_delay)
    }

    /// The web hook that the current step waits for.
    pub(super) fn hook(&self) -> Option<&Webhook> {
        match self.current_step() {
            Some(Step::Webhook(hook)) if self.record.phase == Phase::Progressing => Some(hook),
            _ => None,
        }
    }

    fn questions(&self) -> Vec<(Uptime, Question)> {
        let record = &self.record;
        let mut questions = Vec::new();
        if let Some(hook) = self.hook()
            && let Some(due) = record.answers.hook.due(hook)
        {
            let HookState { round, tried, .. } = record.answers.hook;
            questions.push((due, Question::Hook { step: record.step, round, attempt: tried }));
        }
        if self.minds_metrics() {
            for metric in self.metrics_in_force() {
                if let Some(due) = self.asks_metric_at(metric) {
                    let (name, weight_step) = (metric.name.clone(), record.weight_step);
                    questions.push((due, Question::Metric { name, weight_step }));
                }
            }
        }
        questions
    }

    /// What a metric said last, what it must say, and when it is asked again.
    pub fn metric_in_words(&self, at: Moment, name: &str) -> String {
        let Some(metric) = self.metric(name) else {
            return format!("the metric {name}, which is not defined");
        };
        let state = self.record.answers.metrics.get(name);
        let said = match state.and_then(|state| state.last.as_ref()) {
            Some(last) => last.reading.to_string(),
            None => "not answered yet".to_owned(),
        };
        let again = match self.asks_metric_at(metric) {
            Some(next) if next > at.up => format!("asked again in {}", human(next.since(at.up))),
            Some(_) => "being asked".to_owned(),
            None => "asked once its weight is served".to_owned(),
        };
        let inconclusive = state.map_or(0, |state| state.inconclusive);
        let silence = match (inconclusive, metric.dry_run) {
            (0, _) | (_, true) => String::new(),
            (count, false) => {
                format!(", {count} without a verdict in a row, pauses after {}", metric.inconclusive_limit)
            }
        };
        format!("the metric {name} ({}; {said}{silence}; {again})", bounds(metric))
    }

    /// What is to be asked outside by now; the same again until the answer is in.
    pub fn external_checks(&self, up: Uptime) -> Vec<ExternalCheck> {
        let due = self.questions().into_iter().filter(|(due, _)| *due <= up);
        due.map(|(_, question)| ExternalCheck { rollout: self.record.id, question }).collect()
    }

    /// When the next errands become due, of those that are not yet.
    pub(super) fn next_errand(&self, up: Uptime) -> Option<Uptime> {
        self.questions().into_iter().map(|(due, _)| due).filter(|due| *due > up).min()
    }

    /// Whether an answer is worth an entry in the journal, given the rollout before it.
    ///
    /// The same answer again is not, once nothing is counted any more: a metric asked every minute for months must not
    /// fill a disk.
    pub fn is_news(&self, before: &Rollout, metric: &str) -> bool {
        let Some(definition) = self.metric(metric) else { return true };
        let state_of =
            |rollout: &Rollout| rollout.record.answers.metrics.get(metric).cloned().unwrap_or_default();
        let (old, new) = (state_of(before), state_of(self));
        let judgement = |state: &MetricState| state.last.as_ref().map(|last| last.judgement);
        if judgement(&old) != judgement(&new) {
            return true;
        }
        match judgement(&new) {
            _ if definition.dry_run => false,
            Some(Judgement::Bad) => new.bad <= definition.failure_limit.saturating_add(1),
            Some(Judgement::Inconclusive) => {
                new.inconclusive <= definition.inconclusive_limit.saturating_add(1)
            }
            _ => false,
        }
    }
}

/// A metric's bounds in words.
pub fn bounds(metric: &Metric) -> String {
    match (metric.min, metric.max) {
        (Some(min), Some(max)) => format!("{min} to {max}"),
        (Some(min), None) => format!("at least {min}"),
        (None, Some(max)) => format!("at most {max}"),
        (None, None) => "anything".to_owned(),
    }
}
