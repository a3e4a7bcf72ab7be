//! One rollout of a plan: a total, pure state machine.
//!
//! `Rollout::apply` takes an event (what somebody asked for or what was observed) and answers with the next state and
//! the effects to perform, with "no change, because", or with a refusal that says why. Every phase answers every event.
//! `gates` says what stands between a rollout and its next step, `Rollout::due` which event time and evidence alone now
//! lead to, and `Rollout::deadline` when to look again. Nothing here reads a clock, a counter or a file.

mod answers;
mod apply;
mod copies;
mod event;
mod gates;
mod outside;
mod state;
pub mod watching;

pub use answers::{Answers, HookAnswer, HookState, Judgement, Measured, MetricState, Question, Reading};
pub use apply::Cause;
pub use event::{Base, DriftResolution, Effect, Event, Harm, Outcome, Refusal, Transition};
pub use gates::{Facts, Gate, Need, WaitingFor};
pub use outside::{Answer, ExternalCheck, bounds};
pub use state::{
    AfterWait, ApprovalGiven, Closing, Committed, Drift, Ending, NewRollout, Origin, Pause, PauseCause,
    Phase, Rollout, RolloutRecord,
};

pub use crate::model::rollout_id::RolloutId;

#[cfg(test)]
mod tests;
