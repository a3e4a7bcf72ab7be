//! What was asked outside and what came back, as a rollout keeps it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::time::{Timestamp, Uptime};
use crate::plan::{Metric, Webhook};

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

impl Reading {
    /// The same, unless it is a number that cannot be compared or written down.
    pub(super) fn sound(self) -> Reading {
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
