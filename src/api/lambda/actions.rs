//! What each of Lambda's operations is called in a policy, and on what it acts.

use std::fmt;

use axum::http::{Method, Uri};
use percent_encoding::percent_decode_str;

use crate::access::Who;
use crate::api::Api;
use crate::domain::arn::{FunctionRef, Place, Qualifier};
use crate::domain::policy::{Asking, PolicyScope, allows};

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

/// Whether a policy allows an operation to somebody who is no owner.
pub fn check(api: &Api, method: &Method, uri: &Uri, who: &Who, region: Option<&str>) -> Result<(), Denied> {
    let operation = Operation::of(method, uri);
    let action = format!("lambda:{}", operation.name);
    let denied = |resource| Denied { who: who.known.name.clone(), action: action.clone(), resource };
    let Some(function) = operation.function else { return Err(denied(None)) };
    let place = Place {
        region: function.region.clone().unwrap_or_else(|| region.unwrap_or(&api.place.region).to_owned()),
        account: function.account.clone().unwrap_or_else(|| api.place.account.clone()),
    };
    let name = function.name.as_str();
    let qualifier = function.qualifier.as_deref();
    let arn =
        qualifier.map_or_else(|| place.function_arn(name), |qualifier| place.qualified_arn(name, qualifier));
    let denied = || denied(Some(arn.clone()));
    let Some(principal) = &who.known.principal else { return Err(denied()) };
    let read: Option<Qualifier> = qualifier.map(str::parse).transpose().map_err(|_| denied())?;
    let scope = PolicyScope::of(read.as_ref()).ok_or_else(denied)?;
    let world = api.control.world();
    let policy = world.function(&function.name).and_then(|state| state.policies.get(&scope));
    let asking = Asking {
        principal,
        action: &action,
        source_arn: who.source_arn.as_deref(),
        source_account: who.source_account.as_deref(),
    };
    if policy.is_some_and(|policy| allows(&policy.statements, &asking)) { Ok(()) } else { Err(denied()) }
}

/// An operation, and the function it acts on.
struct Operation {
    name: &'static str,
    function: Option<FunctionRef>,
}

impl Operation {
    /// Reads a request's method and target; operations that serin does not know act on nothing, so nobody may them.
    fn of(method: &Method, uri: &Uri) -> Operation {
        // The first segment is the date of Lambda's API, the same operation under any of them.
        let path = uri.path().trim_end_matches('/');
        let segments: Vec<&str> = path.split('/').skip(2).collect();
        let name = match (method.as_str(), segments.as_slice()) {
            ("GET", ["functions"]) => "ListFunctions",
            ("POST", ["functions"]) => "CreateFunction",
            ("GET", ["functions", _]) => "GetFunction",
            ("DELETE", ["functions", _]) => "DeleteFunction",
            ("GET", ["functions", _, "configuration"]) => "GetFunctionConfiguration",
            ("PUT", ["functions", _, "configuration"]) => "UpdateFunctionConfiguration",
            ("PUT", ["functions", _, "code"]) => "UpdateFunctionCode",
            ("GET", ["functions", _, "versions"]) => "ListVersionsByFunction",
            ("POST", ["functions", _, "versions"]) => "PublishVersion",
            ("GET", ["functions", _, "aliases"]) => "ListAliases",
            ("POST", ["functions", _, "aliases"]) => "CreateAlias",
            ("GET", ["functions", _, "aliases", _]) => "GetAlias",
            ("PUT", ["functions", _, "aliases", _]) => "UpdateAlias",
            ("DELETE", ["functions", _, "aliases", _]) => "DeleteAlias",
            ("GET", ["functions", _, "policy"]) => "GetPolicy",
            ("POST", ["functions", _, "policy"]) => "AddPermission",
            ("DELETE", ["functions", _, "policy", _]) => "RemovePermission",
            ("GET", ["functions", _, "concurrency"]) => "GetFunctionConcurrency",
            ("PUT", ["functions", _, "concurrency"]) => "PutFunctionConcurrency",
            ("DELETE", ["functions", _, "concurrency"]) => "DeleteFunctionConcurrency",
            ("GET", ["functions", _, "provisioned-concurrency"]) => "GetProvisionedConcurrencyConfig",
            ("PUT", ["functions", _, "provisioned-concurrency"]) => "PutProvisionedConcurrencyConfig",
            ("DELETE", ["functions", _, "provisioned-concurrency"]) => "DeleteProvisionedConcurrencyConfig",
            ("GET", ["functions", _, "event-invoke-config"]) => "GetFunctionEventInvokeConfig",
            ("PUT", ["functions", _, "event-invoke-config"]) => "PutFunctionEventInvokeConfig",
            ("POST", ["functions", _, "event-invoke-config"]) => "UpdateFunctionEventInvokeConfig",
            ("DELETE", ["functions", _, "event-invoke-config"]) => "DeleteFunctionEventInvokeConfig",
            ("GET", ["functions", _, "event-invoke-config", "list"]) => "ListFunctionEventInvokeConfigs",
            ("GET", ["event-source-mappings"]) => "ListEventSourceMappings",
            ("POST", ["event-source-mappings"]) => "CreateEventSourceMapping",
            ("GET", ["event-source-mappings", _]) => "GetEventSourceMapping",
            ("PUT", ["event-source-mappings", _]) => "UpdateEventSourceMapping",
            ("DELETE", ["event-source-mappings", _]) => "DeleteEventSourceMapping",
            ("GET", ["account-settings"]) => "GetAccountSettings",
            ("GET", ["tags", _]) => "ListTags",
            ("POST", ["tags", _]) => "TagResource",
            ("DELETE", ["tags", _]) => "UntagResource",
            _ => return Operation { name: "UnknownOperation", function: None },
        };
        let function = match segments.as_slice() {
            ["functions" | "tags", text, ..] => named(text, uri.query().unwrap_or_default()),
            _ => None,
        };
        Operation { name, function }
    }
}

/// The function that a segment names, with the qualifier of the query where the segment has none.
fn named(segment: &str, query: &str) -> Option<FunctionRef> {
    let text = percent_decode_str(segment).decode_utf8().ok()?;
    let mut function: FunctionRef = text.parse().ok()?;
    let given: Vec<String> = (query.split('&').filter_map(|pair| pair.strip_prefix("Qualifier=")))
        .map(|value| percent_decode_str(value).decode_utf8_lossy().into_owned())
        .collect();
    match (&function.qualifier, given.as_slice()) {
        (_, []) => {}
        (None, [given]) => function.qualifier = Some(given.clone()),
        (Some(derived), [given]) if derived == given => {}
        // Which one the operation would take is not for anybody to choose.
        _ => return None,
    }
    Some(function)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_named_as_policies_name_them() {
        for (method, target, name, function) in [
            ("GET", "/2015-03-31/functions/", "ListFunctions", None),
            ("GET", "/2015-03-31/functions/f", "GetFunction", Some(("f", None))),
            ("GET", "/2015-03-31/functions/f?Qualifier=live", "GetFunction", Some(("f", Some("live")))),
            ("GET", "/2015-03-31/functions/f%3A7/policy", "GetPolicy", Some(("f", Some("7")))),
            ("PUT", "/2015-03-31/functions/f/aliases/live", "UpdateAlias", Some(("f", None))),
            ("GET", "/2015-03-31/functions/f:1?Qualifier=1", "GetFunction", Some(("f", Some("1")))),
            ("GET", "/2015-03-31/functions/f:1?Qualifier=2", "GetFunction", None),
            ("GET", "/2015-03-31/functions/f?Qualifier=1&Qualifier=2", "GetFunction", None),
            (
                "PUT",
                "/2019-09-25/functions/f/event-invoke-config",
                "PutFunctionEventInvokeConfig",
                Some(("f", None)),
            ),
            ("POST", "/2015-03-31/functions/f/x", "UnknownOperation", None),
            ("DELETE", "/2015-03-31/functions", "UnknownOperation", None),
        ] {
            let operation = Operation::of(&method.parse().unwrap(), &target.parse().unwrap());
            let found = operation.function.as_ref();
            let found = found.map(|function| (function.name.as_str(), function.qualifier.as_deref()));
            assert_eq!((operation.name, found), (name, function), "{method} {target}");
        }
    }

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
