//! Resource policies: who may do what with a function, a version or an alias.
//!
//! AWS keeps three separate policies per function name: its own, one per version, one per alias. A statement on an
//! alias opens neither the function nor the version behind it. Whoever is not the owner may do what a statement on
//! exactly the qualifier they ask for allows, and nothing else.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::lambda::function::Revision;
use crate::model::arn::{AliasName, FunctionName, NameError, Qualifier, VersionId, VersionNumber};

/// What a policy is attached to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PolicyScope {
    /// The unqualified function.
    Function,
    /// One published version.
    Version(VersionNumber),
    /// One alias.
    Alias(AliasName),
}

impl PolicyScope {
    /// The scope of what a request asks for; `None` for `$LATEST` said aloud, which no policy can be attached to.
    pub fn of(qualifier: Option<&Qualifier>) -> Option<PolicyScope> {
        match qualifier {
            None => Some(PolicyScope::Function),
            Some(Qualifier::Alias(alias)) => Some(PolicyScope::Alias(alias.clone())),
            Some(Qualifier::Version(VersionId::Number(number))) => Some(PolicyScope::Version(*number)),
            Some(Qualifier::Version(VersionId::Latest)) => None,
        }
    }
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
    /// Only for requests that come through a function URL, or only for those that do not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub invoked_via_function_url: Option<bool>,
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

/// Who asks, as policies name them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// An account's root, a user, a role or a session of one; the ARN, and the account in it.
    Identity {
        /// `arn:aws:iam::123456789012:user/ana`.
        arn: String,
        /// Twelve digits.
        account: String,
    },
    /// A service that calls for somebody's resource: `s3.amazonaws.com`.
    Service(String),
}

/// Reads an IAM or STS ARN, or a service's name.
impl FromStr for Principal {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Principal, NameError> {
        let is_account = |text: &str| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
        let is_visible = text.len() <= 256 && text.bytes().all(|byte| byte.is_ascii_graphic());
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        match parts.as_slice() {
            ["arn", partition, "iam" | "sts", "", account, name]
                if is_visible && partition.starts_with("aws") && is_account(account) && !name.is_empty() =>
            {
                Ok(Principal::Identity { arn: text.to_owned(), account: (*account).to_owned() })
            }
            [name] if is_visible && name.ends_with(".amazonaws.com") && !name.starts_with('.') => {
                Ok(Principal::Service(text.to_owned()))
            }
            _ => Err(NameError(
                "a principal is an ARN such as arn:aws:iam::123456789012:user/ana, or a service such as \
                 s3.amazonaws.com",
            )),
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Principal::Identity { arn, .. } => f.pad(arn),
            Principal::Service(name) => f.pad(name),
        }
    }
}

impl Principal {
    /// Whether this is a service, which alone may say for which resource it calls.
    pub fn is_service(&self) -> bool {
        matches!(self, Principal::Service(_))
    }

    /// Whether a statement's principal means this one.
    ///
    /// An account, by its number or its root, means everybody in it; a role means its sessions.
    fn is_meant_by(&self, named: &str) -> bool {
        if named == "*" {
            return true;
        }
        match self {
            Principal::Service(name) => name == named,
            Principal::Identity { arn, account } => {
                named == arn
                    || named == account
                    || root_account(named) == Some(account)
                    || role_of_session(arn).is_some_and(|role| role == named)
            }
        }
    }
}

/// Whether a text is a principal that AddPermission takes: everybody, an account, an IAM or STS ARN, or a service of AWS's.
pub fn is_grantee(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    match parts.as_slice() {
        ["*"] => true,
        [account] if account.bytes().all(|byte| byte.is_ascii_digit()) => account.len() == 12,
        [service] => SERVICE_DOMAINS
            .iter()
            .any(|domain| service.strip_suffix(domain).is_some_and(|name| !name.is_empty())),
        _ => matches!(text.parse(), Ok(Principal::Identity { .. })),
    }
}

/// What the names of AWS's services end with.
const SERVICE_DOMAINS: [&str; 4] = [".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu", ".amazon.com"];

/// The account of `arn:aws:iam::123456789012:root`.
fn root_account(arn: &str) -> Option<&str> {
    match arn.split(':').collect::<Vec<_>>().as_slice() {
        ["arn", _, "iam", "", account, "root"] => Some(account),
        _ => None,
    }
}

/// The role's ARN behind `arn:aws:sts::123456789012:assumed-role/NAME/SESSION`.
fn role_of_session(arn: &str) -> Option<String> {
    match arn.splitn(6, ':').collect::<Vec<_>>().as_slice() {
        ["arn", partition, "sts", "", account, name] => {
            let role = name.strip_prefix("assumed-role/")?.split('/').next()?;
            Some(format!("arn:{partition}:iam::{account}:role/{role}"))
        }
        _ => None,
    }
}

/// What somebody wants to do, with what a policy's conditions may look at.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// Who.
    pub principal: &'a Principal,
    /// What: `lambda:InvokeFunction` and the like.
    pub action: &'a str,
    /// The resource a service calls for.
    pub source_arn: Option<&'a str>,
    /// The account of that resource.
    pub source_account: Option<&'a str>,
}

/// Whether the statements of one scope allow it; without one that does, it is denied.
///
/// Every condition of a statement must hold, and one whose value the request does not have does not: nobody who asks
/// serin belongs to an organization, carries an event source token or comes through a function URL.
pub fn allows(statements: &[Statement], asking: &Asking<'_>) -> bool {
    statements.iter().any(|statement| {
        asking.principal.is_meant_by(&statement.principal)
            && is_action(&statement.action, asking.action)
            && statement.source_arn.as_deref().is_none_or(|pattern| is_arn_like(pattern, asking.source_arn))
            && (statement.source_account.as_deref())
                .is_none_or(|account| asking.source_account == Some(account))
            && statement.principal_org_id.is_none()
            && statement.event_source_token.is_none()
            && statement.function_url_auth_type.is_none()
            && statement.invoked_via_function_url != Some(true)
    })
}

/// Actions have no case, as in IAM.
fn is_action(allowed: &str, wanted: &str) -> bool {
    allowed == "*" || allowed.eq_ignore_ascii_case("lambda:*") || allowed.eq_ignore_ascii_case(wanted)
}

/// IAM's ArnLike: `*` and `?` in each of the six parts, which are compared one by one.
fn is_arn_like(pattern: &str, arn: Option<&str>) -> bool {
    let Some(arn) = arn else { return false };
    let (patterns, parts): (Vec<_>, Vec<_>) =
        (pattern.splitn(6, ':').collect(), arn.splitn(6, ':').collect());
    patterns.len() == parts.len()
        && patterns.iter().zip(parts).all(|(pattern, part)| is_like(pattern.as_bytes(), part.as_bytes()))
}

/// Matches `*` against anything and `?` against one byte, in time that grows with the product of both lengths.
fn is_like(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut seen, mut retry) = (0, 0, None);
    while seen < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                retry = Some((at, seen));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[seen] => (at, seen) = (at + 1, seen + 1),
            _ => match retry {
                // The last star takes one byte more.
                Some((star, taken)) => {
                    retry = Some((star, taken + 1));
                    (at, seen) = (star + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANA: &str = "arn:aws:iam::123456789012:user/ana";
    const SESSION: &str = "arn:aws:sts::123456789012:assumed-role/deployer/s1";
    const S3: &str = "s3.amazonaws.com";
    const BUCKET: &str = "arn:aws:s3:::examplebucket";

    fn statement(principal: &str, action: &str) -> Statement {
        Statement {
            sid: "s".to_owned(),
            principal: principal.to_owned(),
            action: action.to_owned(),
            source_arn: None,
            source_account: None,
            principal_org_id: None,
            event_source_token: None,
            function_url_auth_type: None,
            invoked_via_function_url: None,
        }
    }

    fn is_allowed(
        statement: &Statement,
        who: &str,
        action: &str,
        source: (Option<&str>, Option<&str>),
    ) -> bool {
        let principal: Principal = who.parse().unwrap();
        let (source_arn, source_account) = source;
        let asking = Asking { principal: &principal, action, source_arn, source_account };
        assert!(!allows(&[], &asking), "nothing is allowed without a statement");
        allows(std::slice::from_ref(statement), &asking)
    }

    #[test]
    fn statements_mean_the_principals_they_name() {
        for (named, who, expected) in [
            (ANA, ANA, true),
            (ANA, "arn:aws:iam::123456789012:user/anabel", false),
            (ANA, "arn:aws:iam::123456789012:root", false),
            (ANA, "arn:aws:iam::999999999999:user/ana", false),
            ("*", ANA, true),
            ("*", S3, true),
            ("123456789012", ANA, true),
            ("123456789012", SESSION, true),
            ("123456789012", "arn:aws:iam::999999999999:user/ana", false),
            ("arn:aws:iam::123456789012:root", ANA, true),
            ("arn:aws:iam::123456789012:root", "arn:aws:iam::123456789012:root", true),
            ("arn:aws:iam::999999999999:root", ANA, false),
            ("arn:aws:iam::123456789012:role/deployer", SESSION, true),
            ("arn:aws:iam::123456789012:role/deploy", SESSION, false),
            ("arn:aws:iam::123456789012:role/deployer", ANA, false),
            (SESSION, SESSION, true),
            (S3, S3, true),
            (S3, "sns.amazonaws.com", false),
            (S3, ANA, false),
            ("123456789012", S3, false),
            ("arn:aws:iam::123456789012:user/*", ANA, false),
        ] {
            let statement = statement(named, "lambda:InvokeFunction");
            let found = is_allowed(&statement, who, "lambda:InvokeFunction", (None, None));
            assert_eq!(found, expected, "{named} for {who}");
        }
    }

    #[test]
    fn statements_allow_the_actions_they_name() {
        for (allowed, wanted, expected) in [
            ("lambda:InvokeFunction", "lambda:InvokeFunction", true),
            ("lambda:invokefunction", "lambda:InvokeFunction", true),
            ("lambda:*", "lambda:InvokeFunction", true),
            ("*", "lambda:GetAlias", true),
            ("lambda:InvokeFunction", "lambda:InvokeFunctionUrl", false),
            ("lambda:Invoke", "lambda:InvokeFunction", false),
            ("lambda:GetAlias", "lambda:InvokeFunction", false),
        ] {
            let found = is_allowed(&statement(ANA, allowed), ANA, wanted, (None, None));
            assert_eq!(found, expected, "{allowed} for {wanted}");
        }
    }

    #[test]
    fn every_condition_must_hold() {
        let bucket = |account: Option<&str>| Statement {
            source_arn: Some(BUCKET.to_owned()),
            source_account: account.map(str::to_owned),
            ..statement(S3, "lambda:InvokeFunction")
        };
        for (account, source, expected) in [
            (None, (Some(BUCKET), None), true),
            (None, (None, None), false),
            (None, (Some("arn:aws:s3:::examplebucket2"), None), false),
            (Some("123456789012"), (Some(BUCKET), Some("123456789012")), true),
            (Some("123456789012"), (Some(BUCKET), None), false),
            (Some("123456789012"), (Some(BUCKET), Some("999999999999")), false),
            (Some("123456789012"), (None, Some("123456789012")), false),
        ] {
            let found = is_allowed(&bucket(account), S3, "lambda:InvokeFunction", source);
            assert_eq!(found, expected, "{account:?} {source:?}");
        }
        type Change = fn(&mut Statement);
        let never: [Change; 4] = [
            |statement| statement.principal_org_id = Some("o-1".to_owned()),
            |statement| statement.event_source_token = Some("t".to_owned()),
            |statement| statement.function_url_auth_type = Some("NONE".to_owned()),
            |statement| statement.invoked_via_function_url = Some(true),
        ];
        for change in never {
            let mut statement = statement("*", "*");
            assert!(is_allowed(&statement, ANA, "lambda:InvokeFunction", (None, None)));
            change(&mut statement);
            assert!(!is_allowed(&statement, ANA, "lambda:InvokeFunction", (None, None)), "{statement:?}");
        }
    }

    #[test]
    fn source_arns_are_patterns_part_by_part() {
        for (pattern, arn, expected) in [
            ("arn:aws:s3:::*", BUCKET, true),
            ("arn:aws:s3:::example*", BUCKET, true),
            ("arn:aws:s3:::*bucket", BUCKET, true),
            ("arn:aws:s3:::ex?mplebucket", BUCKET, true),
            ("arn:aws:s3:::ex?plebucket", BUCKET, false),
            ("arn:aws:s3:*", BUCKET, false),
            ("arn:*:s3:::examplebucket", BUCKET, true),
            (
                "arn:aws:events:us-east-1:123456789012:rule/*",
                "arn:aws:events:us-east-1:123456789012:rule/a",
                true,
            ),
            ("arn:aws:events:us-east-1:*:rule/a", "arn:aws:events:us-east-1:123456789012:rule/a", true),
            ("arn:aws:events:us-east-1:*:rule/a", "arn:aws:events:us-east-1:1:2:rule/a", false),
            ("arn:aws:sqs:::a*b*c", "arn:aws:sqs:::aXbYbZc", true),
            ("arn:aws:sqs:::a*b*c", "arn:aws:sqs:::aXbYbZ", false),
            ("arn:aws:sqs:::", "arn:aws:sqs:::", true),
        ] {
            assert_eq!(is_arn_like(pattern, Some(arn)), expected, "{pattern} for {arn}");
        }
    }

    #[test]
    fn grantees_are_everybody_accounts_identities_and_services() {
        for good in [
            ANA,
            SESSION,
            S3,
            "*",
            "123456789012",
            "alexa-appkit.amazon.com",
            "arn:aws-cn:iam::123456789012:root",
        ] {
            assert!(is_grantee(good), "{good}");
        }
        for bad in [
            "",
            "ana",
            "invalid.nonaws.com",
            "1234",
            ".amazonaws.com",
            "arn:aws:s3:::b",
            "arn:aws:iam::1:root",
        ] {
            assert!(!is_grantee(bad), "{bad}");
        }
    }

    #[test]
    fn principals_are_arns_or_services() {
        for good in [ANA, SESSION, S3, "arn:aws-cn:iam::123456789012:root", "events.amazonaws.com"] {
            assert_eq!(good.parse::<Principal>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "ana",
            "*",
            "123456789012",
            "arn:aws:iam::1:user/ana",
            "arn:aws:s3:::b",
            ".amazonaws.com",
            "arn:aws:iam::123456789012:",
            "arn:aws:iam::123456789012:user/a b",
            "amazonaws.com",
        ] {
            assert!(bad.parse::<Principal>().is_err(), "{bad}");
        }
    }

    #[test]
    fn scopes_are_kept_apart() {
        let scope = |text: &str| PolicyScope::of(Some(&text.parse().unwrap()));
        assert_eq!(PolicyScope::of(None), Some(PolicyScope::Function));
        assert_eq!(scope("7"), Some(PolicyScope::Version(VersionNumber(7))));
        assert_eq!(scope("live"), Some(PolicyScope::Alias("live".parse().unwrap())));
        assert_eq!(scope("$LATEST"), None);
    }
}
