//! What a rollout asks outside, and what the answers mean: metrics that must hold, and web hooks that must agree.
//!
//! Asking is IO and happens elsewhere. What is to be asked now follows from the state alone (`Rollout::errands`), so a
//! question that was under way when the daemon was killed is simply asked again. An answer comes back as an event. Only
//! a finite number within its bounds passes; whatever else comes back is no verdict, and nothing advances on it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::Event;
use super::state::{Phase, Rollout, RolloutId};
use crate::domain::plan::{Metric, Step, Webhook};
use crate::domain::time::{Moment, Timestamp, Uptime, human};
use crate::domain::weight::Weight;

/// The wait before a web hook is asked a second time; it doubles with every further time.
const HOOK_BACKOFF: Duration = Duration::from_secs(1);
/// The longest such wait.
const HOOK_BACKOFF_MAX: Duration = Duration::from_secs(60);

/// What came back for a metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reading {
    /// A number.
    Value(f64),
    /// No number, and why.
    Nothing(String),
}

/// What a reading means for its metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Judgement {
    /// A finite number within its bounds.
    Pass,
    /// A finite number outside its bounds.
    Bad,
    /// Anything else.
    Inconclusive,
}

/// What a web hook said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HookAnswer {
    /// A 2xx status.
    Agreed(u16),
    /// Another status.
    Refused(u16),
    /// No answer, and why.
    Silent(String),
}

/// One thing to be asked, so that an answer can be told from a late one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Question {
    /// A metric of the plan.
    #[serde(rename_all = "camelCase")]
    Metric {
        /// Its name.
        name: String,
        /// The step that set the weight at which it is asked.
        weight_step: usize,
    },
    /// The web hook of a step.
    Hook {
        /// The step.
        step: usize,
        /// Counts how often a person had it asked anew, from 0.
        round: u32,
        /// Counts tries of this round, from 0.
        attempt: u32,
    },
}

/// Something to be asked outside now; data, performed at the edge.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Errand {
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

impl Errand {
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

impl Reading {
    /// The same, unless it is a number that cannot be compared or written down.
    fn sound(self) -> Reading {
        match self {
            Reading::Value(value) if !value.is_finite() => Reading::Nothing(format!("the value is {value}")),
            sound @ (Reading::Value(_) | Reading::Nothing(_)) => sound,
        }
    }

    /// What it means for a metric.
    pub fn judged(&self, metric: &Metric) -> Judgement {
        match self {
            Reading::Value(value) if value.is_finite() => {
                let holds =
                    metric.min.is_none_or(|min| *value >= min) && metric.max.is_none_or(|max| *value <= max);
                if holds { Judgement::Pass } else { Judgement::Bad }
            }
            Reading::Value(_) | Reading::Nothing(_) => Judgement::Inconclusive,
        }
    }
}

impl std::fmt::Display for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reading::Value(value) => write!(f, "{value}"),
            Reading::Nothing(why) => write!(f, "no verdict: {why}"),
        }
    }
}

impl HookAnswer {
    /// Whether the step passes.
    pub fn agrees(&self) -> bool {
        matches!(self, HookAnswer::Agreed(200..=299))
    }
}

impl std::fmt::Display for HookAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            HookAnswer::Agreed(status) | HookAnswer::Refused(status) => write!(f, "answered {status}"),
            HookAnswer::Silent(why) => write!(f, "gave no answer: {why}"),
        }
    }
}

/// What is stored of the answers of a rollout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Answers {
    /// By metric, at the present weight.
    pub metrics: BTreeMap<String, MetricState>,
    /// How long all metrics of the current analysis step have been seen to hold.
    pub held: Duration,
    /// The last moment at which they were.
    pub held_up_to: Option<Uptime>,
    /// The web hook of the current step.
    pub hook: HookState,
}

/// What is known of a metric at the present weight.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MetricState {
    /// The last answer.
    pub last: Option<Measured>,
    /// Bad answers so far.
    pub bad: u32,
    /// Answers without a verdict in a row.
    pub inconclusive: u32,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// When it came, for people.
    pub at: Timestamp,
    /// When it came, on the daemon's clock.
    pub up: Uptime,
    /// What.
    pub reading: Reading,
    /// What it means.
    pub judgement: Judgement,
}

/// What is known of the current step's web hook.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HookState {
    /// Counts how often a person had it asked anew.
    pub round: u32,
    /// How often it has answered, or not, in this round.
    pub tried: u32,
    /// The last answer, and when it came.
    pub last: Option<(Uptime, HookAnswer)>,
}

impl HookState {
    /// Whether it agreed.
    pub fn has_agreed(&self) -> bool {
        self.last.as_ref().is_some_and(|(_, answer)| answer.agrees())
    }

    /// When it is to be asked; at once the first time.
    pub(super) fn due(&self, hook: &Webhook) -> Option<Uptime> {
        if self.has_agreed() || self.tried > hook.retries {
            return None;
        }
        Some(match &self.last {
            Some((up, _)) if self.tried > 0 => {
                let doubled = HOOK_BACKOFF.saturating_mul(1 << (self.tried - 1).min(16));
                up.plus(doubled.min(HOOK_BACKOFF_MAX))
            }
            _ => Uptime(0),
        })
    }
}

impl Answers {
    /// Forgets what was measured at another weight.
    pub(super) fn begin_weight(&mut self) {
        self.metrics.clear();
    }

    /// Forgets what belongs to the step before.
    pub(super) fn begin_step(&mut self) {
        (self.held, self.held_up_to) = (Duration::ZERO, None);
        self.hook = HookState::default();
    }

    /// A person has decided to go on: limits are counted anew, and the web hook is asked anew.
    pub(super) fn forgive(&mut self) {
        for state in self.metrics.values_mut() {
            (state.bad, state.inconclusive) = (0, 0);
        }
        if !self.hook.has_agreed() {
            self.hook = HookState { round: self.hook.round.saturating_add(1), ..HookState::default() };
        }
    }

    /// Notes an answer of a metric and what it means.
    pub(super) fn note(&mut self, metric: &Metric, reading: Reading, at: Timestamp, up: Uptime) -> Judgement {
        let judgement = reading.judged(metric);
        let state = self.metrics.entry(metric.name.clone()).or_default();
        match judgement {
            Judgement::Pass => state.inconclusive = 0,
            Judgement::Bad => {
                state.bad = state.bad.saturating_add(1);
                state.inconclusive = 0;
            }
            Judgement::Inconclusive => state.inconclusive = state.inconclusive.saturating_add(1),
        }
        state.last = Some(Measured { at, up, reading, judgement });
        judgement
    }

    /// Credits the time since the last moment at which all metrics of a step held, if they still do.
    ///
    /// Only time with a pass at both of its ends counts, and a gap longer than two intervals counts as two. A bad answer
    /// begins anew; one without a verdict earns nothing.
    pub(super) fn credit(&mut self, step: &[&Metric], answered: &Metric, judgement: Judgement, up: Uptime) {
        let all_hold = step.iter().all(|metric| {
            let last = self.metrics.get(&metric.name).and_then(|state| state.last.as_ref());
            last.is_some_and(|last| last.judgement == Judgement::Pass)
        });
        if judgement == Judgement::Bad {
            self.held = Duration::ZERO;
        }
        if !all_hold {
            self.held_up_to = None;
            return;
        }
        if let Some(before) = self.held_up_to {
            let earned = up.since(before).min(answered.interval.saturating_mul(2));
            self.held = self.held.saturating_add(earned);
        }
        self.held_up_to = Some(up);
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
    pub fn errands(&self, up: Uptime) -> Vec<Errand> {
        let due = self.questions().into_iter().filter(|(due, _)| *due <= up);
        due.map(|(_, question)| Errand { rollout: self.record.id, question }).collect()
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
