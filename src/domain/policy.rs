//! Resource policies: who may invoke a function, a version or an alias.
//!
//! AWS keeps three separate policies per function name: its own, one per version, one per alias. A statement on an
//! alias opens neither the function nor the version behind it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::arn::{AliasName, FunctionName, VersionNumber};
use super::function::Revision;

/// What a policy is attached to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyScope {
    /// The unqualified function.
    Function,
    /// One published version.
    Version(VersionNumber),
    /// One alias.
    Alias(AliasName),
}

/// Writes the qualifier, empty for the function itself.
impl fmt::Display for PolicyScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PolicyScope::Function => Ok(()),
            PolicyScope::Version(number) => fmt::Display::fmt(number, f),
            PolicyScope::Alias(alias) => fmt::Display::fmt(alias, f),
        }
    }
}

/// One permission, as AddPermission words it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    /// Its name within the policy.
    pub sid: String,
    /// A service (`s3.amazonaws.com`), an account, an IAM ARN, or `*`.
    pub principal: String,
    /// `lambda:InvokeFunction` and the like.
    pub action: String,
    /// Only for events of this resource.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source_arn: Option<String>,
    /// Only for resources of this account.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source_account: Option<String>,
    /// Only for principals of this organization.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub principal_org_id: Option<String>,
    /// Only with this token (Alexa skills).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub event_source_token: Option<String>,
    /// Only for function URLs of this kind of authorization.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub function_url_auth_type: Option<String>,
}

/// The statements attached to one scope, in the order they were added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// The function it belongs to.
    pub function: FunctionName,
    /// What was allowed.
    pub statements: Vec<Statement>,
    /// Its last change.
    pub revision: Revision,
}
