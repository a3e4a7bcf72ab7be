//! Whether a policy allows an operation of Lambda's to whoever is no owner.

use std::fmt;

use super::call::Call;
use super::error::LambdaError;
use crate::access::Who;
use crate::api::Api;
use crate::api::caller::Caller;
use serin_core::lambda::policy::{Asking, PolicyScope, allows};
use serin_core::model::arn::{FunctionRef, Place, Qualifier};

/// What policies call Invoke.
const INVOKE: &str = "lambda:InvokeFunction";

/// Why somebody may not do what they ask, in AWS's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    who: String,
    action: String,
    resource: Option<String>,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Denied { who, action, resource } = self;
        let kind = if resource.is_some() { "resource" } else { "identity" };
        let resource = resource.as_deref().unwrap_or("*");
        write!(
            f,
            "User: {who} is not authorized to perform: {action} on resource: {resource} because no {kind}-based policy \
             allows the {action} action"
        )
    }
}

/// Whether a policy allows an operation to somebody who is no owner; `None` is an operation that serin does not have.
pub fn check(api: &Api, call: Option<&Call>, who: &Who, region: Option<&str>) -> Result<(), Denied> {
    let action = format!("lambda:{}", call.map_or("UnknownOperation", |call| call.operation.name));
    match call.and_then(|call| call.function.as_ref()) {
        Some(function) => allowed(api, function, &action, who, region),
        None => Err(Denied { who: who.known.name.clone(), action, resource: None }),
    }
}

/// Whether a policy allows somebody who is no owner to invoke a function, which they are about to have invoked.
fn may_invoke(api: &Api, function: &FunctionRef, who: &Who, region: Option<&str>) -> Result<(), Denied> {
    allowed(api, function, INVOKE, who, region)
}

/// Refuses what a function is to report to, where whoever configures it may not reach that themselves: serin will, on its
/// own account and by its own keys. What is of another account is refused to everybody.
pub fn check_targets<'a>(
    api: &Api,
    caller: &Caller,
    targets: impl IntoIterator<Item = &'a str>,
) -> Result<(), LambdaError> {
    for target in targets.into_iter().filter(|target| !target.is_empty()) {
        let is_function = target.split(':').nth(2) == Some("lambda");
        let function: Option<FunctionRef> = target.parse().ok().filter(|_| is_function);
        let account = function.as_ref().and_then(|function| function.account.as_ref());
        if account.is_some_and(|account| *account != api.place.account) {
            return Err(LambdaError::of_another_account());
        }
        let Some(who) = &caller.held else { continue };
        match &function {
            Some(function) => may_invoke(api, function, who, caller.region.as_deref())
                .map_err(|denied| LambdaError::denied(denied.to_string()))?,
            None => {
                let name = &who.known.name;
                return Err(LambdaError::denied(format!(
                    "User: {name} is not authorized to have reports sent to {target}: serin writes to queues with keys of its \
                     own, so only an owner may name one"
                )));
            }
        }
    }
    Ok(())
}

fn allowed(
    api: &Api,
    function: &FunctionRef,
    action: &str,
    who: &Who,
    region: Option<&str>,
) -> Result<(), Denied> {
    let place = Place {
        region: function.region.clone().unwrap_or_else(|| region.unwrap_or(&api.place.region).to_owned()),
        account: function.account.clone().unwrap_or_else(|| api.place.account.clone()),
    };
    let name = function.name.as_str();
    let qualifier = function.qualifier.as_deref();
    let arn =
        qualifier.map_or_else(|| place.function_arn(name), |qualifier| place.qualified_arn(name, qualifier));
    let denied =
        || Denied { who: who.known.name.clone(), action: action.to_owned(), resource: Some(arn.clone()) };
    let Some(principal) = &who.known.principal else { return Err(denied()) };
    let read: Option<Qualifier> = qualifier.map(str::parse).transpose().map_err(|_| denied())?;
    let scope = PolicyScope::of(read.as_ref()).ok_or_else(denied)?;
    let world = api.control.world();
    let policy = world.function(&function.name).and_then(|state| state.policies.get(&scope));
    let asking = Asking {
        principal,
        action,
        source_arn: who.source_arn.as_deref(),
        source_account: who.source_account.as_deref(),
    };
    if policy.is_some_and(|policy| allows(&policy.statements, &asking)) { Ok(()) } else { Err(denied()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denials_are_worded_as_aws_words_them() {
        let denied = Denied {
            who: "arn:aws:iam::123456789012:user/ana".to_owned(),
            action: "lambda:GetAlias".to_owned(),
            resource: Some("arn:aws:lambda:us-east-1:000000000000:function:f".to_owned()),
        };
        assert_eq!(
            denied.to_string(),
            "User: arn:aws:iam::123456789012:user/ana is not authorized to perform: lambda:GetAlias on resource: \
             arn:aws:lambda:us-east-1:000000000000:function:f because no resource-based policy allows the \
             lambda:GetAlias action"
        );
    }
}
