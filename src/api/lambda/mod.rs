//! AWS Lambda's control API, as unmodified `aws` and boto3 speak it.
//!
//! Paths, shapes, statuses, texts and key case are AWS's; each handler is a translation to the same door and the same
//! snapshots that serve `/v1`.

pub mod actions;
pub mod aliases;
pub mod error;
pub mod invoke;
pub mod permissions;
mod validate;

use super::Api;
use super::auth::Caller;
use crate::chance;
use crate::clock;
use crate::control::door::{Action, Command, Reply};
use crate::domain::arn::{FunctionName, FunctionRef, Place};
use error::LambdaError;
use validate::Violations;

/// What a Lambda operation works with: the function a path names, and whose ARNs the answer speaks of.
pub(super) struct Scope {
    /// The bare function.
    pub function: FunctionName,
    /// What followed the name.
    pub suffix: Option<String>,
    /// Region and account.
    pub place: Place,
}

/// The longest function reference that alias and version operations take; others take more.
const NAME_CHARS_MAX: usize = 140;

impl Scope {
    /// Reads the `{F}` of a path.
    fn of(api: &Api, caller: &Caller, text: &str, violations: &mut Violations) -> Option<Scope> {
        let region = caller.region.clone().unwrap_or_else(|| api.place.region.clone());
        let place = Place { region, account: api.place.account.clone() };
        violations.length("functionName", text, 1, NAME_CHARS_MAX);
        match text.parse::<FunctionRef>() {
            Ok(read) => Some(Scope { function: read.name, suffix: read.qualifier, place }),
            Err(_) => {
                violations.pattern("functionName", text, FUNCTION_PATTERN);
                None
            }
        }
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

/// Asks the control plane for a change on behalf of a Lambda client.
async fn ask(api: &Api, caller: &Caller, scope: &Scope, action: Action) -> Result<Reply, LambdaError> {
    let fresh = chance::new_id(clock::wall_now());
    let command = Command { actor: caller.actor.clone(), reason: None, key: None, fresh, action };
    api.control.submit(command).await.map_err(|error| LambdaError::of(error, scope))
}
