//! What happens to a rollout, what must then be done, and how it may be declined.

use serde::{Deserialize, Serialize};

use super::answers::{HookAnswer, Reading};
use super::state::{Ending, Rollout};
use crate::analysis::Counts;
use crate::lambda::alias::Routing;
use crate::lambda::function::Revision;
use crate::model::actor::Actor;
use crate::model::arn::VersionNumber;
use crate::model::rollout_id::RolloutId;
use crate::model::weight::Weight;

/// What a rollout begins from: the alias as it then stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Base {
    /// The function version: stable.
    pub stable: VersionNumber,
    /// The alias's last change.
    pub revision: Revision,
}

/// What was found against the canary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Harm {
    /// Failures beyond the plan's limits, beyond reasonable doubt.
    #[serde(rename_all = "camelCase")]
    Evidence {
        /// The logarithm of the capital.
        ln_harm: f64,
        /// What it had to reach.
        ln_harm_limit: f64,
        /// Canary requests so far.
        requests: u64,
        /// How many failed.
        failures: u64,
        /// Copies of requests so far, and how many failed.
        #[serde(default, skip_serializing_if = "Counts::is_empty")]
        copies: Counts,
        /// What was slow, where latency says more than failures do.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        slowness: Option<String>,
    },
    /// As many failed requests as `maxExposure.failures` allows.
    Exposure {
        /// Failed canary requests.
        failures: u64,
        /// The bound.
        limit: u64,
    },
    /// A metric outside its bounds, more often than `failureLimit` forgives.
    Metric {
        /// Its name.
        metric: String,
        /// The last value.
        value: f64,
        /// Its bounds, in words.
        bounds: String,
        /// Bad answers at this weight.
        bad: u32,
    },
    /// A web hook that says no.
    Webhook {
        /// What it answered at last, in words.
        said: String,
        /// How often it was asked.
        tried: u32,
    },
}

impl std::fmt::Display for Harm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Harm::Evidence { ln_harm, ln_harm_limit, slowness: Some(slowness), .. } => {
                write!(f, "{slowness} (evidence {ln_harm:.1}, rollback at {ln_harm_limit:.1})")
            }
            Harm::Evidence { ln_harm, ln_harm_limit, requests, failures, copies, slowness: None } => {
                write!(f, "{failures} of {requests} canary requests")?;
                if copies.requests > 0 {
                    write!(f, " and {} of {} copies", copies.failures, copies.requests)?;
                }
                write!(
                    f,
                    " failed, more than the plan allows (evidence {ln_harm:.1}, rollback at {ln_harm_limit:.1})"
                )
            }
            Harm::Exposure { failures, limit } => {
                write!(f, "{failures} canary requests failed; maxExposure.failures is {limit}")
            }
            Harm::Metric { metric, value, bounds, bad } => {
                let times = if *bad == 1 { String::new() } else { format!(", and {bad} answers were bad") };
                write!(f, "the metric {metric} is {value}; the plan allows {bounds}{times}")
            }
            Harm::Webhook { said, tried } => {
                write!(f, "the web hook {said}, asked {tried} time(s); only 2xx passes")
            }
        }
    }
}

/// What to do about a foreign change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DriftResolution {
    /// Commit the plan's weight again.
    Restore,
    /// Go on from what was found.
    Adopt,
}

/// Something that happened to a rollout, or that somebody asked of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase")]
pub enum Event {
    /// Nothing stands before the first step any more.
    Began {
        /// The alias as it stands.
        base: Base,
    },
    /// A Pending rollout cannot begin.
    Unstartable {
        /// Why.
        why: String,
    },
    /// Everything the next step needs holds.
    Passed {
        /// The step that is over.
        step: usize,
        /// What held, by the gates' names.
        held: Vec<String>,
    },
    /// A live router serves the alias's revision.
    RoutingServed {
        /// The revision.
        revision: Revision,
    },
    /// The alias changed, but not its routing.
    Touched {
        /// The new revision.
        revision: Revision,
    },
    /// Somebody else changed the alias's routing.
    Drifted {
        /// Who.
        by: Actor,
        /// To what.
        found: Routing,
        /// By which change.
        revision: Revision,
    },
    /// The canary does harm.
    HarmFound {
        /// What was found.
        harm: Harm,
    },
    /// The canary has had as many requests as the plan allows.
    ExposureReached {
        /// Canary requests.
        requests: u64,
        /// The bound.
        limit: u64,
    },
    /// The step has waited longer than the plan allows.
    StepLate {
        /// The step.
        step: usize,
    },
    /// Nobody approved in time.
    ApprovalTimedOut {
        /// The step.
        step: usize,
    },
    /// A metric was asked.
    #[serde(rename_all = "camelCase")]
    Measured {
        /// Its name.
        metric: String,
        /// The step that set the weight at which it was asked.
        weight_step: usize,
        /// What came back.
        reading: Reading,
    },
    /// A step's web hook was asked.
    HookAnswered {
        /// The step.
        step: usize,
        /// How often a person had it asked anew before.
        round: u32,
        /// How often it was asked in this round before.
        attempt: u32,
        /// What came back.
        answer: HookAnswer,
    },
    /// Somebody said `promote`.
    Promoted {
        /// The step they saw.
        step: usize,
        /// Whether to the very end.
        full: bool,
        /// What a Pending rollout would begin from; `None` when it cannot begin.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        base: Option<Base>,
        /// What was skipped, for the record.
        skipped: Vec<String>,
    },
    /// Somebody said `pause`.
    PauseAsked,
    /// Somebody said `resume`.
    Resumed {
        /// What to do about drift.
        drift: Option<DriftResolution>,
    },
    /// Somebody approved.
    Approved,
    /// Somebody said `abort`; before there was a word for it, also `rollback` in flight.
    AbortAsked,
    /// Somebody said `rollback` in flight.
    RollbackAsked {
        /// The version that gets all traffic; stable unless named.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        to: Option<VersionNumber>,
    },
    /// Another rollout takes the alias, or the canary's version went away.
    SupersededBy {
        /// The other rollout, if there is one.
        rollout: Option<RolloutId>,
    },
}

/// What must be done once the event is committed; data, performed by the control plane.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Commit this routing in the event's own transaction, if the alias still is at `expected`.
    Route {
        /// The whole routing, never a difference.
        routing: Routing,
        /// The revision the decision was made on.
        expected: Revision,
    },
    /// Gather proof for this weight from the event's own revision on; `None` when nothing higher is left.
    SeekProof {
        /// The next weight.
        next: Option<Weight>,
    },
    /// Forget the harm found so far.
    ForgiveHarm,
    /// Never start the canary again on this alias without a person.
    Remember {
        /// How it ended.
        ending: Ending,
    },
    /// Keep the stable version for `rollback` after success.
    KeepStable,
}

/// The next state and what must be done.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// The rollout after the event.
    pub next: Rollout,
    /// To be performed with and after the commit.
    pub effects: Vec<Effect>,
}

/// How a rollout answers an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It changes.
    Changed(Box<Transition>),
    /// What was asked for already is so; says what is.
    Unchanged(String),
}

/// Why an event is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The phase does not allow it; says why and what would help.
    #[error("{0}")]
    Conflict(String),
    /// The actor may not.
    #[error("{0}")]
    Forbidden(String),
}
