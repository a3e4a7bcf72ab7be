//! Why a command is refused, in sentences.

use crate::commands::reply::name_of;
use crate::lambda::alias::Routing;
use crate::lambda::alias::RoutingFault;
use crate::lambda::configure::ConfigurationFault;
use crate::lambda::function::VersionInUse;
use crate::model::arn::AliasId;
use crate::model::arn::FunctionName;
use crate::model::arn::VersionId;
use crate::rollout;

/// Why a command was not done. The texts are for people; each kind has its place in both APIs.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// There is no such function, or no such version of it.
    #[error("{}", function_not_found(.0, *.1))]
    FunctionNotFound(FunctionName, Option<VersionId>),
    /// There is no such alias.
    #[error("there is no alias {0}; `serin alias create {0} --version N` makes it, `serin alias list {function}` lists those there are", function = .0.function)]
    AliasNotFound(AliasId),
    /// There is no such rollout, or none yet.
    #[error("{0}")]
    RolloutNotFound(String),
    /// The alias exists.
    #[error("alias {0} exists already; change it with `serin alias update {0}`")]
    AliasExists(AliasId),
    /// The routing breaks a rule.
    #[error("{}", routing_refused(.0, .1))]
    Routing(AliasId, RoutingFault),
    /// The RevisionId is not the latest.
    #[error("{what} has changed since: its RevisionId is {latest} by now")]
    RevisionMismatch {
        /// What has.
        what: String,
        /// Its RevisionId.
        latest: String,
    },
    /// The version is needed.
    #[error("{0}")]
    InUse(VersionInUse),
    /// The function cannot be deleted while rollouts move its aliases.
    #[error("{0}")]
    Busy(String),
    /// The function exists.
    #[error("function {0} exists already")]
    FunctionExists(FunctionName),
    /// The code is not the latest.
    #[error(
        "CodeSHA256 ({asked}) is different from current CodeSHA256 in $LATEST ({latest}). Please try again with the \
         CodeSHA256 in $LATEST."
    )]
    CodeMismatch {
        /// What the client believes, in base64.
        asked: String,
        /// What it is, in base64.
        latest: String,
    },
    /// The configuration cannot be.
    #[error("{0}")]
    Configuration(ConfigurationFault),
    /// What is to be changed is not there.
    #[error("{0}")]
    Absent(String),
    /// The statement id is taken.
    #[error("statement {0} exists already")]
    StatementExists(String),
    /// The statement id is not there.
    #[error("there is no statement {0}")]
    StatementNotFound(String),
    /// There is no policy at all.
    #[error("no policy is attached there")]
    PolicyNotFound,
    /// The value is not acceptable.
    #[error("{0}")]
    Invalid(String),
    /// More concurrency is asked for than the account has left.
    #[error("{0}")]
    ConcurrencyLimit(String),
    /// The state does not allow it.
    #[error("{0}")]
    Conflict(String),
    /// The actor may not.
    #[error("{0}")]
    Forbidden(String),
    /// A person's reason is wanted.
    #[error("{0}")]
    ReasonWanted(String),
    /// The alias is quarantined.
    #[error("{0}")]
    Quarantined(String),
    /// Something the decision needs cannot be read now.
    #[error("cannot decide this now: {0}")]
    Unavailable(String),
    /// The idempotency key stood for another command.
    #[error("this idempotency key was used for another command; use a new key for a new command")]
    KeyReused,
}

impl From<(&rollout::Rollout, rollout::Refusal)> for Refusal {
    fn from((rollout, refusal): (&rollout::Rollout, rollout::Refusal)) -> Refusal {
        let name = name_of(rollout);
        match refusal {
            rollout::Refusal::Conflict(text) => Refusal::Conflict(format!("{name} {text}")),
            rollout::Refusal::Forbidden(text) => Refusal::Forbidden(format!("{name} {text}")),
        }
    }
}

fn function_not_found(function: &FunctionName, version: Option<VersionId>) -> String {
    match version {
        Some(version) => format!(
            "there is no version {version} of function {function}; `serin function versions {function}` lists those there \
             are, `serin function publish {function} --url URL` makes one"
        ),
        None => format!(
            "there is no function {function}; `serin function publish {function} --url URL` makes it, `serin function \
             list` lists those there are"
        ),
    }
}

fn routing_refused(alias: &AliasId, fault: &RoutingFault) -> String {
    match fault {
        RoutingFault::VersionAbsent(version) => function_not_found(&alias.function, Some(*version)),
        fault @ (RoutingFault::MoreThanTwoVersions
        | RoutingFault::LatestWithWeights
        | RoutingFault::SameVersionTwice(_)
        | RoutingFault::RolesDiffer
        | RoutingFault::DeadLettersDiffer) => format!("alias {alias} cannot be so: {fault}"),
    }
}

/// A refusal that says what the alias is, as every answer of a verb does.
pub(super) fn with_routing(refusal: Refusal, id: &AliasId, routing: Option<Routing>) -> Refusal {
    let Some(routing) = routing else { return refusal };
    let said = |text: String| format!("{text}; {id} is {routing} now");
    match refusal {
        Refusal::Conflict(text) => Refusal::Conflict(said(text)),
        Refusal::Forbidden(text) => Refusal::Forbidden(said(text)),
        Refusal::ReasonWanted(text) => Refusal::ReasonWanted(said(text)),
        other @ (Refusal::FunctionNotFound(..)
        | Refusal::AliasNotFound(_)
        | Refusal::RolloutNotFound(_)
        | Refusal::AliasExists(_)
        | Refusal::Routing(..)
        | Refusal::RevisionMismatch { .. }
        | Refusal::InUse(_)
        | Refusal::Busy(_)
        | Refusal::FunctionExists(_)
        | Refusal::CodeMismatch { .. }
        | Refusal::Configuration(_)
        | Refusal::Absent(_)
        | Refusal::StatementExists(_)
        | Refusal::StatementNotFound(_)
        | Refusal::PolicyNotFound
        | Refusal::Invalid(_)
        | Refusal::ConcurrencyLimit(_)
        | Refusal::Quarantined(_)
        | Refusal::Unavailable(_)
        | Refusal::KeyReused) => other,
    }
}
