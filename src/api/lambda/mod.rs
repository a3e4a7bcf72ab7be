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
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzed;
pub mod invoke;
mod location;
pub mod operations;
pub mod permissions;
mod request;
mod shape;
pub mod tags;
pub mod updates;
mod validate;

use super::Api;
use crate::api::caller::Caller;
use crate::chance;
use crate::clock;
use crate::control::handle::CommandError;
use error::LambdaError;
use serin_core::commands::{Action, Command, Refusal, Reply};
use serin_core::model::arn::{Called, FunctionName, FunctionRef, Place};
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

/// How an operation takes a function's name; operations differ, and their refusals quote what they take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Naming {
    /// A name without full stops, and perhaps a qualifier.
    Plain,
    /// The same without a qualifier.
    Unqualified,
    /// A name that may have full stops, and perhaps a qualifier.
    Namespaced,
}

impl Naming {
    /// The longest text that is taken.
    fn chars_max(self) -> usize {
        match self {
            Naming::Plain | Naming::Unqualified => 140,
            Naming::Namespaced => 256,
        }
    }

    /// AWS's pattern.
    pub fn pattern(self) -> &'static str {
        match self {
            Naming::Plain => {
                r"(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?([a-zA-Z0-9-_]+)(:(\$LATEST|[a-zA-Z0-9-_]+))?"
            }
            Naming::Unqualified => {
                r"(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?([a-zA-Z0-9-_]+)"
            }
            Naming::Namespaced => {
                r"(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?([a-zA-Z0-9-_\.]+)(:(\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9-_]+))?"
            }
        }
    }

    /// What a text names, if it matches the pattern.
    fn read(self, text: &str) -> Option<Called<'_>> {
        let called = Called::read(text)?;
        let fits = match self {
            Naming::Namespaced => true,
            Naming::Plain => !called.name.contains('.') && called.qualifier != Some("$LATEST.PUBLISHED"),
            Naming::Unqualified => !called.name.contains('.') && called.qualifier.is_none(),
        };
        fits.then_some(called)
    }
}

impl Scope {
    /// Reads what a body or a filter takes for a function.
    fn named(
        api: &Api,
        caller: &Caller,
        text: &str,
        naming: Naming,
        violations: &mut Violations,
    ) -> Option<Scope> {
        Scope::of(api, caller, (text, text.parse().ok()), naming, violations)
    }

    /// What a text names, read already; a text that names none breaks AWS's pattern, or is no function's name here.
    fn of(
        api: &Api,
        caller: &Caller,
        (text, read): (&str, Option<FunctionRef>),
        naming: Naming,
        violations: &mut Violations,
    ) -> Option<Scope> {
        let place = place(api, caller);
        violations.length("functionName", text, 1, naming.chars_max());
        let Some(called) = naming.read(text) else {
            violations.pattern("functionName", text, naming.pattern());
            return None;
        };
        if let Some(region) = called.region.filter(|region| *region != place.region) {
            violations.then(LambdaError::not_found(format!(
                "Functions from '{region}' are not reachable in this region ('{}')",
                place.region
            )));
        }
        if called.account.is_some_and(|account| account != place.account) {
            violations.then(LambdaError::of_another_account());
        }
        let Some(read) = read else {
            // No function here can be called so.
            let arn = match called.qualifier {
                None => place.function_arn(called.name),
                Some(qualifier) => place.qualified_arn(called.name, qualifier),
            };
            violations.then(LambdaError::not_found(format!("Function not found: {arn}")));
            return None;
        };
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
        Err(CommandError::Refused(refusal)) => Ok(Err(refusal)),
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
