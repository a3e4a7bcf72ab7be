//! The one way in: every change of state, whoever asks for it, is a `Command` decided here.
//!
//! Deciding is pure: a draft of the world in, a reply or a refusal out, and the draft holds the changes, each with the
//! entry that names who and why. What a change of an alias entails for rollouts is decided in the same breath
//! (`after`), so that nothing is ever half done.

mod aliases;
mod code;
mod event_sources;
mod facts;
mod follow;
mod function_settings;
mod functions;
mod operate;
mod permissions;
mod refusal;
mod reply;
mod rollback;
mod rollouts;
mod settle;
mod start;
mod take_over;
pub mod target;
mod verbs;
mod watching;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::lambda::alias::{AdditionalVersion, Alias, AliasId, Routing};
use crate::lambda::concurrency::{EventInvoke, Provisioned};
use crate::lambda::event_source::EventSource;
use crate::lambda::function::{Configuration, Function, Revision};
use crate::lambda::policy::{PolicyScope, Statement};
use crate::model::actor::Actor;
use crate::model::arn::{FunctionName, VersionId, VersionNumber};
use crate::model::time::Timestamp;
use crate::rollout::{Answer, DriftResolution, ExternalCheck, RolloutId};
use crate::world::draft::{By, Draft};
use crate::world::plans::ReadPlan;

pub use code::{Change, Precondition};
pub use event_sources::{EventSourceChange, TagChange};
pub use facts::with_facts;
pub use function_settings::{EventInvokeChange, FunctionSettingsChange};
pub use refusal::Refusal;
pub use settle::settle;
pub use start::Trigger;
pub use target::RolloutRef;

/// A change somebody asks for.
#[derive(Clone, Debug)]
pub struct Command {
    /// Who asks.
    pub actor: Actor,
    /// Why, in their words.
    pub reason: Option<String>,
    /// So that asking twice does it once.
    pub key: Option<IdempotencyKey>,
    /// A fresh identifier, for whatever the command makes.
    pub fresh: Uuid,
    /// What is asked for.
    pub action: Action,
}

/// A key that stands for one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The key, chosen by whoever asks.
    pub key: String,
    /// What is asked, so that the key cannot stand for two commands.
    pub fingerprint: String,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub enum Action {
    /// Publish a version, making the function if need be.
    Publish {
        /// The function.
        function: FunctionName,
        /// What to publish.
        configuration: Configuration,
        /// Even if nothing changed since the newest version.
        force_new: bool,
    },
    /// Make a function that runs from a zip.
    CreateFunction {
        /// The function.
        function: FunctionName,
        /// What `$LATEST` is.
        configuration: Box<Configuration>,
        /// Names and values its owner gives it.
        tags: BTreeMap<String, String>,
        /// Publish a version in the same breath.
        publish: bool,
    },
    /// Change `$LATEST`.
    UpdateFunction {
        /// The function.
        function: FunctionName,
        /// What becomes how.
        change: Change,
        /// Only if this is so.
        precondition: Precondition,
    },
    /// Publish `$LATEST`.
    PublishLatest {
        /// The function.
        function: FunctionName,
        /// The version's description; `$LATEST`'s unless given.
        description: Option<String>,
        /// Only if this is so.
        precondition: Precondition,
    },
    /// Change what is kept beside a function's versions.
    FunctionSettingsChange(FunctionName, FunctionSettingsChange),
    /// Tell every live rollout that another process goes on with it.
    TakeOver {
        /// The version of serin before.
        from: String,
        /// The version that goes on.
        to: String,
    },
    /// Make a mapping of an event source; its identifier is the command's.
    CreateEventSource(Box<EventSource>),
    /// Change a mapping of an event source.
    UpdateEventSource(Uuid, Box<EventSourceChange>),
    /// Change the tags of a mapping of an event source.
    TagEventSource(Uuid, TagChange),
    /// Delete a mapping of an event source.
    DeleteEventSource(Uuid),
    /// Delete a function with its versions, aliases and policies.
    DeleteFunction(FunctionName),
    /// Delete one version.
    DeleteVersion(FunctionName, VersionNumber),
    /// Make an alias.
    CreateAlias {
        /// Function and name.
        id: AliasId,
        /// Its function version.
        function_version: VersionId,
        /// Its additional versions, as asked for.
        additional: Vec<AdditionalVersion>,
        /// Free text.
        description: String,
    },
    /// Change an alias; what is `None` stays.
    UpdateAlias {
        /// Function and name.
        id: AliasId,
        /// Its function version.
        function_version: Option<VersionId>,
        /// Its additional versions, as asked for.
        additional: Option<Vec<AdditionalVersion>>,
        /// Free text.
        description: Option<String>,
        /// Only if this still is its RevisionId.
        revision_id: Option<String>,
    },
    /// Delete an alias.
    DeleteAlias(AliasId),
    /// Allow somebody something.
    AddPermission {
        /// The function.
        function: FunctionName,
        /// The function itself, a version or an alias.
        scope: PolicyScope,
        /// What is allowed.
        statement: Statement,
        /// Only if this still is the policy's RevisionId, or the alias's.
        revision_id: Option<String>,
    },
    /// Take a permission back.
    RemovePermission {
        /// The function.
        function: FunctionName,
        /// The function itself, a version or an alias.
        scope: PolicyScope,
        /// The statement.
        sid: String,
        /// Only if this still is the policy's RevisionId.
        revision_id: Option<String>,
    },
    /// Start a rollout.
    Start {
        /// The plan.
        plan: Arc<ReadPlan>,
        /// The canary; the plan's choice unless given.
        to: Option<VersionNumber>,
        /// Even if this version was rolled back before.
        again: bool,
        /// Say what would happen, and do nothing.
        dry_run: bool,
        /// What starts it.
        trigger: Trigger,
    },
    /// Take what came back from outside.
    Answered {
        /// What was asked.
        check: ExternalCheck,
        /// What came back.
        answer: Answer,
    },
    /// Do something with a rollout.
    Operate {
        /// Which.
        target: RolloutRef,
        /// What.
        verb: Verb,
    },
}

/// What an operator does with a rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Pass what the current step waits for, once, or go to the end.
    Promote {
        /// The step that whoever asks has seen.
        step: usize,
        /// To the end.
        full: bool,
    },
    /// Keep the weight, and wait.
    Pause,
    /// End a pause.
    Resume(Option<DriftResolution>),
    /// Approve the current approval step.
    Approve,
    /// End it, canary weight 0.
    Abort,
    /// Go back: in flight to stable, after success to the version before; or from anywhere to the version named.
    Rollback {
        /// The version.
        to: Option<VersionNumber>,
    },
    /// Start a new rollout of the same plan and version.
    Retry,
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "camelCase")]
pub enum Reply {
    /// A version was published, or was the newest already.
    #[serde(rename_all = "camelCase")]
    Published {
        /// The function.
        function: FunctionName,
        /// The version.
        version: VersionNumber,
        /// Whether it is new.
        created: bool,
        /// Rollouts that this started.
        rollouts: Vec<RolloutId>,
    },
    /// `$LATEST` or a version, as it became or was already.
    Configured {
        /// The function.
        function: FunctionName,
        /// The version; `None` is `$LATEST`.
        version: Option<VersionNumber>,
        /// What it is.
        configuration: Box<Configuration>,
        /// The change that made it so.
        revision: Revision,
        /// When that was.
        at: Timestamp,
    },
    /// Something was changed that has nothing to show.
    Kept,
    /// Processes are kept ready.
    Provisioned(Provisioned),
    /// How events are handled now.
    EventInvoke(EventInvoke),
    /// A mapping of an event source, as it became or was.
    EventSource(EventSource),
    /// Something is gone, or was not there.
    Deleted {
        /// Whether it was there.
        existed: bool,
    },
    /// An alias as it became.
    #[serde(rename_all = "camelCase")]
    Alias {
        /// The alias.
        alias: Alias,
        /// Its RevisionId.
        revision_id: String,
    },
    /// A permission was added.
    Permission {
        /// The statement.
        statement: Statement,
    },
    /// A rollout was started, changed, or left as it was.
    #[serde(rename_all = "camelCase")]
    Rollout {
        /// Which; `None` where the alias is on a version that no rollout has to do with.
        id: Option<RolloutId>,
        /// The alias.
        alias: AliasId,
        /// Its phase afterwards.
        #[serde(default)]
        phase: Option<String>,
        /// Its step afterwards.
        step: usize,
        /// Whether the command changed anything.
        changed: bool,
        /// What happened, in a sentence.
        message: String,
        /// What the alias then is, read back; replies that were kept before there was this have none.
        #[serde(default)]
        routing: Option<Routing>,
    },
    /// What a dry run would do.
    #[serde(rename_all = "camelCase")]
    WouldStart {
        /// The alias.
        alias: AliasId,
        /// Where it is.
        stable: VersionNumber,
        /// Where it would go.
        canary: VersionNumber,
        /// The steps, in words.
        steps: Vec<String>,
        /// What would happen first, in a sentence.
        message: String,
    },
}

/// Forgets what was kept for a version or an alias that goes; tells whether there was anything.
fn forget_qualifier(function: &mut Function, qualifier: &str) -> bool {
    let provisioned = function.provisioned.remove(qualifier).is_some();
    function.event_invoke.remove(qualifier).is_some() || provisioned
}

/// Decides a command on a draft; after a refusal the draft is as it was.
pub fn decide(draft: &mut Draft<'_>, command: &Command) -> Result<Reply, Refusal> {
    let mark = draft.mark();
    let by = By { actor: &command.actor, reason: command.reason.as_deref() };
    let result = act(draft, command, by);
    let keep = match &result {
        Ok(Reply::WouldStart { .. }) | Err(_) => false,
        Ok(_) => true,
    };
    if !keep {
        draft.return_to(mark);
    }
    result
}

/// Gives the reply that was given to the same key at `at`, with what the alias is by now.
///
/// A rollback that is no longer so is refused: its reply would say something that is not.
///
/// # Errors
///
/// The alias has been moved since a rollback of it.
pub fn repeat(draft: &Draft<'_>, command: &Command, reply: Reply, at: Timestamp) -> Result<Reply, Refusal> {
    let Reply::Rollout { alias, routing: Some(then), id, phase, step, changed, message } = reply else {
        return Ok(reply);
    };
    let now = draft.world.alias(&alias).map(|state| state.alias.routing);
    if now == Some(then) {
        return Ok(Reply::Rollout { alias, routing: now, id, phase, step, changed, message });
    }
    let is = now.map_or_else(|| "gone".to_owned(), |now| now.to_string());
    if matches!(command.action, Action::Operate { verb: Verb::Rollback { .. }, .. }) {
        return Err(Refusal::Conflict(format!(
            "this idempotency key was used for a rollback at {at}, after which {alias} was {then}; nothing was done again, \
             and a new key asks for another rollback; {alias} is {is} now"
        )));
    }
    let message =
        format!("{message}; that was at {at}, with the same idempotency key, and nothing was done again");
    Ok(Reply::Rollout { alias, routing: now, id, phase, step, changed, message })
}

fn act(draft: &mut Draft<'_>, command: &Command, by: By<'_>) -> Result<Reply, Refusal> {
    match &command.action {
        Action::Publish { function, configuration, force_new } => {
            functions::publish(draft, by, function, configuration, *force_new, command.fresh)
        }
        Action::CreateFunction { function, configuration, tags, publish } => {
            code::create(draft, by, function, configuration, tags, *publish, command.fresh)
        }
        Action::UpdateFunction { function, change, precondition } => {
            code::update(draft, by, function, change, precondition, command.fresh)
        }
        Action::PublishLatest { function, description, precondition } => {
            code::publish(draft, by, function, description.as_deref(), precondition, command.fresh)
        }
        Action::FunctionSettingsChange(function, upkeep) => {
            function_settings::change(draft, by, function, upkeep)
        }
        Action::TakeOver { from, to } => Ok(take_over::tell(draft, by, from, to)),
        Action::CreateEventSource(source) => event_sources::create(draft, by, source, command.fresh),
        Action::UpdateEventSource(id, change) => event_sources::update(draft, by, *id, change),
        Action::TagEventSource(id, change) => event_sources::tag(draft, by, *id, change),
        Action::DeleteEventSource(id) => event_sources::delete(draft, by, *id),
        Action::DeleteFunction(function) => functions::delete(draft, by, function),
        Action::DeleteVersion(function, version) => functions::delete_version(draft, by, function, *version),
        Action::CreateAlias { id, function_version, additional, description } => {
            aliases::create(draft, by, id, *function_version, additional, description, command.fresh)
        }
        Action::UpdateAlias { id, function_version, additional, description, revision_id } => {
            let update = aliases::Update {
                function_version: *function_version,
                additional: additional.as_deref(),
                description: description.as_deref(),
                revision_id: revision_id.as_deref(),
            };
            aliases::update(draft, by, id, &update, command.fresh)
        }
        Action::DeleteAlias(id) => aliases::delete(draft, by, id),
        Action::AddPermission { function, scope, statement, revision_id } => {
            permissions::add(draft, by, function, scope, statement, revision_id.as_deref())
        }
        Action::RemovePermission { function, scope, sid, revision_id } => {
            permissions::remove(draft, by, function, scope, sid, revision_id.as_deref())
        }
        Action::Start { plan, to, again, dry_run, trigger } => {
            let asked = start::Asked { plan, to: *to, again: *again, retry_of: None, trigger };
            let routing = draft.world.alias(&plan.plan.target).map(|state| state.alias.routing);
            start::start(draft, by, &asked, command.fresh, *dry_run)
                .map_err(|refusal| refusal::with_routing(refusal, &plan.plan.target, routing))
        }
        Action::Answered { check, answer } => operate::answered(draft, by, check, answer, command.fresh),
        Action::Operate { target, verb } => verbs::operate(draft, by, target, verb, command.fresh),
    }
}
