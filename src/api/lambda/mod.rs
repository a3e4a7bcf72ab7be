//! AWS Lambda's control API, as unmodified `aws` and boto3 speak it.
//!
//! Paths, shapes, statuses, texts and key case are AWS's; each handler is a translation to the same door and the same
//! snapshots that serve `/v1`.

pub mod actions;
pub mod aliases;
pub mod call;
pub mod code;
pub mod concurrency;
mod configuration;
pub mod error;
pub mod event_invoke;
pub mod event_sources;
pub mod functions;
pub mod invoke;
pub mod operations;
pub mod permissions;
mod request;
mod shape;
pub mod tags;
mod validate;

use super::Api;
use super::auth::Caller;
use crate::chance;
use crate::clock;
use crate::control::door::{Action, Command, Refusal, Reply};
use crate::control::handle::DoorError;
use crate::domain::arn::{FunctionName, FunctionRef, Place};
use error::LambdaError;
use validate::Violations;

/// What a Lambda operation works with: the function a path names, and whose ARNs the answer speaks of.
pub(super) struct Scope {
    /// The bare function.
    pub function: FunctionName,
    /// The version or alias of it, wherever the request names it.
    pub qualifier: Option<String>,
    /// Region and account.
    pub place: Place,
}

/// The longest function reference that most operations take.
const NAME_CHARS_MAX: usize = 140;
/// The longest that operations take which also read a version or an alias from it.
const NAMESPACED_CHARS_MAX: usize = 256;

impl Scope {
    /// Reads what a body or a filter takes for a function, `chars_max` long at most.
    fn named(
        api: &Api,
        caller: &Caller,
        text: &str,
        chars_max: usize,
        violations: &mut Violations,
    ) -> Option<Scope> {
        Scope::of(api, caller, (text, text.parse().ok()), chars_max, violations)
    }

    /// What a text names, read already; a text that names none breaks AWS's pattern.
    fn of(
        api: &Api,
        caller: &Caller,
        (text, read): (&str, Option<FunctionRef>),
        chars_max: usize,
        violations: &mut Violations,
    ) -> Option<Scope> {
        let place = place(api, caller);
        violations.length("functionName", text, 1, chars_max);
        let Some(read) = read else {
            violations.pattern("functionName", text, FUNCTION_PATTERN);
            return None;
        };
        if let Some(region) = read.region.filter(|region| *region != place.region) {
            violations.then(LambdaError::not_found(format!(
                "Functions from '{region}' are not reachable in this region ('{}')",
                place.region
            )));
        }
        if read.account.is_some_and(|account| account != place.account) {
            violations.then(LambdaError::of_another_account());
        }
        Some(Scope { function: read.name, qualifier: read.qualifier, place })
    }

    /// The ARN of the function, of a version or of an alias.
    fn arn(&self, qualifier: Option<&str>) -> String {
        match qualifier {
            None => self.place.function_arn(self.function.as_str()),
            Some(qualifier) => self.place.qualified_arn(self.function.as_str(), qualifier),
        }
    }
}

/// AWS's pattern for what may stand in a path as a function.
const FUNCTION_PATTERN: &str = r"(arn:(aws[a-zA-Z-]*)?:lambda:)?([a-z]{2}(-gov)?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?([a-zA-Z0-9-_]+)(:(\$LATEST|[a-zA-Z0-9-_]+))?";

/// Whose ARNs an answer speaks of: the caller's region, this house's account.
fn place(api: &Api, caller: &Caller) -> Place {
    let region = caller.region.clone().unwrap_or_else(|| api.place.region.clone());
    Place { region, account: api.place.account.clone() }
}

/// Asks the control plane for a change on behalf of a Lambda client.
async fn ask(api: &Api, caller: &Caller, scope: &Scope, action: Action) -> Result<Reply, LambdaError> {
    let answer = api.submit(command(caller, action)).await;
    answer.map_err(|error| LambdaError::of(error, scope))
}

/// Asks for a change that concerns no one function; a refusal is the caller's to word.
async fn submit(api: &Api, caller: &Caller, action: Action) -> Result<Result<Reply, Refusal>, LambdaError> {
    match api.submit(command(caller, action)).await {
        Ok(reply) => Ok(Ok(reply)),
        Err(DoorError::Refused(refusal)) => Ok(Err(refusal)),
        Err(other) => Err(LambdaError::failed(&other)),
    }
}

fn command(caller: &Caller, action: Action) -> Command {
    let fresh = chance::new_id(clock::wall_now());
    Command { actor: caller.actor.clone(), reason: None, key: None, fresh, action }
}

/// A reply that does not fit the command, which no client can do anything about.
fn unexpected(reply: &Reply) -> LambdaError {
    LambdaError::unavailable(format!("the control plane answered something else: {reply:?}"))
}
