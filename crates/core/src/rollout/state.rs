//! What a rollout is at any moment; plain data that is stored whole with every change.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::answers::Answers;
use crate::analysis::{Arms, Counts};
use crate::lambda::alias::{AliasId, Routing};
use crate::lambda::function::Revision;
use crate::model::actor::Actor;
use crate::model::arn::VersionNumber;
use crate::model::rollout_id::RolloutId;
use crate::model::time::{Stopwatch, Timestamp, Uptime};
use crate::model::weight::Weight;
use crate::plan::Plan;

/// How a rollout ends that does not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ending {
    /// By evidence, a ceiling, a bound or a timeout.
    RolledBack,
    /// By a person.
    Aborted,
    /// By another rollout, or because somebody else took the alias over.
    Superseded,
}

/// Why a rollout waits for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PauseCause {
    /// Somebody said `pause`.
    Operator,
    /// The plan has a pause step.
    Plan,
    /// Somebody else changed the alias.
    Drift,
    /// Harm was found and the plan says `onFailure: pause`.
    Harm,
    /// The canary has had `maxExposure.requests`.
    Exposure,
    /// The step waited longer than `stepDeadline`.
    Late,
    /// Nobody approved in time and the plan says `onTimeout: pause`.
    ApprovalTimeout,
    /// A metric or a web hook gave no verdict too often.
    Inconclusive,
}

/// A pause: why, since when, and by whom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pause {
    /// Why.
    pub cause: PauseCause,
    /// Since when.
    pub since: Timestamp,
    /// Who or what made it.
    pub by: Actor,
}

/// Where a rollout stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", content = "detail", rename_all = "camelCase")]
pub enum Phase {
    /// Not begun: behind another rollout, before its time, or outside its window.
    Pending,
    /// On its way, whatever it waits for.
    Progressing,
    /// Waiting for a person.
    Paused(Pause),
    /// The promotion is committed, not yet known to be served.
    Promoting,
    /// The way back is committed, not yet known to be served.
    RollingBack(Ending),
    /// The canary is the function version.
    Succeeded,
    /// The canary was found harmful, or late, and is at weight 0.
    RolledBack,
    /// A person ended it.
    Aborted,
    /// Another rollout or another hand took over.
    Superseded,
}

impl Phase {
    /// The name as JSON and people see it.
    pub fn name(&self) -> &'static str {
        match self {
            Phase::Pending => "Pending",
            Phase::Progressing => "Progressing",
            Phase::Paused(_) => "Paused",
            Phase::Promoting => "Promoting",
            Phase::RollingBack(_) => "RollingBack",
            Phase::Succeeded => "Succeeded",
            Phase::RolledBack => "RolledBack",
            Phase::Aborted => "Aborted",
            Phase::Superseded => "Superseded",
        }
    }

    /// Whether nothing will ever change any more.
    pub fn is_final(&self) -> bool {
        matches!(self, Phase::Succeeded | Phase::RolledBack | Phase::Aborted | Phase::Superseded)
    }

    /// Whether the rollout has begun and not ended: it owns its alias's routing.
    pub fn is_active(&self) -> bool {
        !self.is_final() && *self != Phase::Pending
    }
}

impl From<Ending> for Phase {
    fn from(ending: Ending) -> Phase {
        match ending {
            Ending::RolledBack => Phase::RolledBack,
            Ending::Aborted => Phase::Aborted,
            Ending::Superseded => Phase::Superseded,
        }
    }
}

/// The routing a rollout counts on, and whether the router is known to serve it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Committed {
    /// The alias's routing as committed by this rollout, or as found when it began.
    pub routing: Routing,
    /// The change of the alias that made it so.
    pub revision: Revision,
    /// Whether a live router has confirmed it.
    pub served: bool,
}

/// A change of the alias that the rollout did not make.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// Who made it.
    pub by: Actor,
    /// When.
    pub at: Timestamp,
    /// What the rollout had committed.
    pub expected: Routing,
    /// What the alias is now.
    pub found: Routing,
}

/// One approval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApprovalGiven {
    /// By whom.
    pub by: Actor,
    /// When.
    pub at: Timestamp,
}

/// A start that waits until another alias has served this version for a while.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AfterWait {
    /// The other alias.
    pub target: AliasId,
    /// How long it must serve the version alone.
    pub span: Duration,
    /// How long it has.
    pub served: Stopwatch,
}

/// Who or what started a rollout, and what they said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// Who.
    pub actor: Actor,
    /// Why, in their words or the trigger's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

/// One rollout of a plan.
///
/// The plan is pinned: it is the one that was read from the bytes with `plan_digest` when the rollout was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollout {
    /// The plan, pinned.
    pub plan: Arc<Plan>,
    /// Everything that is stored.
    pub record: RolloutRecord,
}

/// What is stored of a rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutRecord {
    /// Its name.
    pub id: RolloutId,
    /// The plan's name: its file's stem.
    pub plan_name: String,
    /// SHA-256 of the plan's bytes, in hex.
    pub plan_digest: String,
    /// The alias it moves.
    pub alias: AliasId,
    /// The version it moves away from; provisional while Pending.
    pub stable: VersionNumber,
    /// The version it moves to.
    pub canary: VersionNumber,
    /// The rollout this one repeats.
    pub retry_of: Option<RolloutId>,
    /// Who started it.
    pub origin: Origin,
    /// When it was made.
    pub started_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Where it stands.
    pub phase: Phase,
    /// Why it stands there, in a sentence; empty when that goes without saying.
    pub reason: String,
    /// The current step, from 1; 0 before the first.
    pub step: usize,
    /// When the current step began.
    pub step_since: Timestamp,
    /// The weight the plan has reached; zero before the first.
    pub planned: Weight,
    /// The step that set the present weight; 0 before the first.
    pub weight_step: usize,
    /// What the alias is counted on to be; `None` while Pending.
    pub committed: Option<Committed>,
    /// How long the present weight has been served.
    pub served: Stopwatch,
    /// How long it has been served within the current bake step.
    pub baked: Stopwatch,
    /// How long the current step has waited for what is not a person; for deadlines.
    pub waited: Stopwatch,
    /// Approvals of the current step.
    pub approvals: Vec<ApprovalGiven>,
    /// Whether the current pause step was resumed.
    pub released: bool,
    /// What metrics and web hooks said.
    #[serde(default)]
    pub answers: Answers,
    /// The foreign change that is not yet dealt with.
    pub drift: Option<Drift>,
    /// What a Pending rollout waits for, besides its place in the queue.
    pub after: Option<AfterWait>,
    /// Whether harm was said under `onFailure: report`.
    pub harm_reported: bool,
    /// Whether a person let the rollout go on past `maxExposure.requests`.
    pub exposure_waived: bool,
    /// The version that a person put all traffic on to end it, if they named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_on: Option<VersionNumber>,
    /// How often harm was sought anew in its version on this alias, this rollout included: each time with the whole
    /// `falseRollbackRate`.
    #[serde(default = "one")]
    pub trials: u32,
    /// Whether users are judged and not requests; what began under a release that judged requests goes on so.
    #[serde(default, skip_serializing_if = "is_false")]
    pub by_users: bool,
    /// What had been found when it ended; `None` while it goes on, and where nothing was counted.
    pub closing: Option<Closing>,
}

/// What a rollout's evidence was when it ended, for people who look at it later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Closing {
    /// Canary requests by weight over the whole rollout, and how many failed.
    pub exposure: Counts,
    /// Copies of requests that the canary got, and how many failed.
    #[serde(default)]
    pub copies: Counts,
    /// The canary's last share beside a stable version.
    pub share: Weight,
    /// What was counted of both arms at that share.
    pub arms: Arms,
    /// What was counted of its baseline then.
    #[serde(default, skip_serializing_if = "Counts::is_empty")]
    pub baseline: Counts,
    /// The logarithm of harm, where the plan judges it.
    pub ln_harm: Option<f64>,
    /// The logarithm of proof, where it was sought.
    pub ln_proof: Option<f64>,
    /// Between what the ratio of failure rates lies, canary to stable.
    pub ratio: Option<(Option<f64>, Option<f64>)>,
}

impl RolloutRecord {
    /// The routing as the rollout last knew it, foreign changes included; `None` while Pending.
    pub fn known_routing(&self) -> Option<Routing> {
        match (&self.drift, &self.committed) {
            (Some(drift), _) => Some(drift.found),
            (None, Some(committed)) => Some(committed.routing),
            (None, None) => None,
        }
    }

    /// Whether it ever began: one that was cancelled while it waited never moved its alias.
    pub fn has_begun(&self) -> bool {
        self.committed.is_some()
    }

    /// Sees to it that no stopwatch began to run after `now`, as after an uptime was lost: it would stand until then.
    pub fn rebase(&mut self, now: Uptime) {
        let after = self.after.as_mut().map(|after| &mut after.served);
        for watch in [&mut self.served, &mut self.baked, &mut self.waited].into_iter().chain(after) {
            watch.rebase(now);
        }
    }

    /// Whether harm would still clear the canary's weight: the alias names both versions and nothing has ended.
    pub fn is_armed(&self) -> bool {
        let names_both = self
            .known_routing()
            .is_some_and(|routing| routing.names(self.canary) && routing.names(self.stable));
        names_both && matches!(self.phase, Phase::Progressing | Phase::Paused(_))
    }
}

/// What a new rollout is made from.
#[derive(Clone, Debug)]
pub struct NewRollout {
    /// Its name.
    pub id: RolloutId,
    /// The plan's name: its file's stem.
    pub plan_name: String,
    /// SHA-256 of the plan's bytes, in hex.
    pub plan_digest: String,
    /// The plan, pinned.
    pub plan: Arc<Plan>,
    /// Where it would begin from if it began now.
    pub stable: VersionNumber,
    /// Where it goes.
    pub canary: VersionNumber,
    /// The rollout it repeats.
    pub retry_of: Option<RolloutId>,
    /// How often harm was sought in the canary on this alias before.
    pub trials_before: u32,
    /// Who started it.
    pub origin: Origin,
    /// What it waits for besides its place in the queue.
    pub after: Option<AfterWait>,
}

fn ordinal(number: u32) -> &'static str {
    match (number % 10, number % 100) {
        (1, rest) if rest != 11 => "st",
        (2, rest) if rest != 12 => "nd",
        (3, rest) if rest != 13 => "rd",
        _ => "th",
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

/// Rollouts stored before trials were counted had one.
fn one() -> u32 {
    1
}

impl Rollout {
    /// What it means that its version is tried more than once; `None` where it is not.
    pub fn trials_in_words(&self) -> Option<String> {
        let (trials, rate) = (self.record.trials, self.plan.analysis.as_ref()?.false_rollback_rate * 100.0);
        (trials > 1).then(|| {
            format!(
                "harm is sought anew, for the {trials}{} time in v{} on {}: each time a harmless version is rolled back with \
                 a probability of {rate}%, {}% at most over its life, and a harmful one has another chance to go unseen",
                ordinal(trials),
                self.record.canary,
                self.record.alias,
                (rate * f64::from(trials) * 1e4).round().min(1e6) / 1e4
            )
        })
    }

    /// A rollout that has not begun.
    pub fn pending(start: NewRollout, at: Timestamp) -> Rollout {
        Rollout {
            record: RolloutRecord {
                id: start.id,
                plan_name: start.plan_name,
                plan_digest: start.plan_digest,
                alias: start.plan.target.clone(),
                stable: start.stable,
                canary: start.canary,
                retry_of: start.retry_of,
                origin: start.origin,
                started_at: at,
                updated_at: at,
                phase: Phase::Pending,
                reason: String::new(),
                step: 0,
                step_since: at,
                planned: Weight::ZERO,
                weight_step: 0,
                committed: None,
                served: Stopwatch::default(),
                baked: Stopwatch::default(),
                waited: Stopwatch::default(),
                approvals: Vec::new(),
                released: false,
                answers: Answers::default(),
                drift: None,
                after: start.after,
                harm_reported: false,
                exposure_waived: false,
                ended_on: None,
                trials: start.trials_before.saturating_add(1),
                by_users: start.plan.routing.judges_users(),
                closing: None,
            },
            plan: start.plan,
        }
    }
}
