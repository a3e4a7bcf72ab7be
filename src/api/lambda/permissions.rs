//! AddPermission, RemovePermission, GetPolicy. `auth` and the router hold callers to what is stored here.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::error::LambdaError;
use super::request::{Asked, Body, Payload};
use super::validate::{Violations, is_word};
use super::{Naming, Scope, ask, unexpected};
use crate::api::Api;
use serin_core::commands::{Action, Reply};
use serin_core::lambda::alias::AliasId;
use serin_core::lambda::policy::{PolicyScope, Statement, is_grantee};
use serin_core::model::arn::{Qualifier, VersionId};
use serin_core::world::RevisionOf;

const SID_PATTERN: &str = "([a-zA-Z0-9-_]+)";
const ACTION_PATTERN: &str = r"(lambda:[*]|lambda:[a-zA-Z]+|[*])";
const PRINCIPAL_PATTERN: &str = r"[^\s]+";

/// Reads and checks a body, for fuzzers.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn fuzzed(bytes: &[u8], violations: &mut Violations) -> Result<(), LambdaError> {
    PermissionBody::read(bytes).map(|body| body.check(violations))
}

struct PermissionBody {
    statement_id: Option<String>,
    action: Option<String>,
    principal: Option<String>,
    source_arn: Option<String>,
    source_account: Option<String>,
    event_source_token: Option<String>,
    revision_id: Option<String>,
    principal_org_id: Option<String>,
    function_url_auth_type: Option<String>,
    invoked_via_function_url: Option<bool>,
}

impl PermissionBody {
    fn read(bytes: &[u8]) -> Result<PermissionBody, LambdaError> {
        let body = Body::read(bytes)?;
        Ok(PermissionBody {
            statement_id: body.text("StatementId")?,
            action: body.text("Action")?,
            principal: body.text("Principal")?,
            source_arn: body.text("SourceArn")?,
            source_account: body.text("SourceAccount")?,
            event_source_token: body.text("EventSourceToken")?,
            revision_id: body.text("RevisionId")?,
            principal_org_id: body.text("PrincipalOrgID")?,
            function_url_auth_type: body.text("FunctionUrlAuthType")?,
            invoked_via_function_url: body.flag("InvokedViaFunctionUrl")?,
        })
    }

    fn check(&self, violations: &mut Violations) {
        match &self.statement_id {
            None => violations.missing("statementId"),
            Some(sid) => {
                violations.length("statementId", sid, 1, 100);
                if !is_word(sid) {
                    violations.pattern("statementId", sid, SID_PATTERN);
                }
            }
        }
        match &self.action {
            None => violations.missing("action"),
            Some(action) => {
                let verb = action.strip_prefix("lambda:");
                let is_verb = |verb: &str| {
                    verb == "*" || (!verb.is_empty() && verb.bytes().all(|byte| byte.is_ascii_alphabetic()))
                };
                if action != "*" && !verb.is_some_and(is_verb) {
                    violations.pattern("action", action, ACTION_PATTERN);
                }
            }
        }
        match &self.principal {
            None => violations.missing("principal"),
            Some(principal) => {
                if principal.is_empty() || principal.chars().any(char::is_whitespace) {
                    violations.pattern("principal", principal, PRINCIPAL_PATTERN);
                }
            }
        }
        if let Some(account) = &self.source_account
            && !(account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit()))
        {
            violations.pattern("sourceAccount", account, r"\d{12}");
        }
        if let Some(arn) = &self.source_arn
            && !(arn.starts_with("arn:") && arn.split(':').count() >= 6)
        {
            let pattern =
                r"arn:(aws[a-zA-Z0-9-]*):([a-zA-Z0-9\-])+:([a-z]{2}(-gov)?-[a-z]+-\d{1})?:(\d{12})?:(.*)";
            violations.pattern("sourceArn", arn, pattern);
        }
    }

    fn statement(self) -> Statement {
        Statement {
            sid: self.statement_id.unwrap_or_default(),
            principal: self.principal.unwrap_or_default(),
            action: self.action.unwrap_or_default(),
            source_arn: self.source_arn,
            source_account: self.source_account,
            principal_org_id: self.principal_org_id,
            event_source_token: self.event_source_token,
            function_url_auth_type: self.function_url_auth_type,
            invoked_via_function_url: self.invoked_via_function_url,
        }
    }
}

/// What a policy operation is about: the version or alias that the request names, or the function.
fn policy_scope(scope: &Scope) -> Result<PolicyScope, LambdaError> {
    let Some(text) = scope.qualifier.as_deref() else { return Ok(PolicyScope::Function) };
    match text.parse::<Qualifier>() {
        Ok(Qualifier::Alias(alias)) => Ok(PolicyScope::Alias(alias)),
        Ok(Qualifier::Version(VersionId::Number(number))) => Ok(PolicyScope::Version(number)),
        Ok(Qualifier::Version(VersionId::Latest)) => {
            Err(LambdaError::invalid("We currently do not support adding policies for $LATEST."))
        }
        Err(_) => Err(LambdaError::not_found(format!("Function not found: {}", scope.arn(Some(text))))),
    }
}

/// Policy operations word an absent alias as GetAlias does.
fn reword(error: LambdaError, scope: &Scope, policy: &PolicyScope) -> LambdaError {
    match policy {
        PolicyScope::Alias(alias) => error.with_alias_wording(&scope.arn(Some(alias.as_str()))),
        PolicyScope::Function | PolicyScope::Version(_) => error,
    }
}

/// A statement as AWS writes it, keys in AWS's order.
fn shape(scope: &Scope, policy: &PolicyScope, statement: &Statement) -> Value {
    let qualifier = policy.to_string();
    let resource = scope.arn((!qualifier.is_empty()).then_some(qualifier.as_str()));
    let mut shape = Map::new();
    shape.insert("Sid".into(), json!(statement.sid));
    shape.insert("Effect".into(), json!("Allow"));
    shape.insert("Principal".into(), principal(scope, &statement.principal));
    shape.insert("Action".into(), json!(statement.action));
    shape.insert("Resource".into(), json!(resource));
    let mut equals = Map::new();
    let mut condition = Map::new();
    let pairs = [
        ("AWS:SourceAccount", &statement.source_account),
        ("aws:PrincipalOrgID", &statement.principal_org_id),
        ("lambda:EventSourceToken", &statement.event_source_token),
        ("lambda:FunctionUrlAuthType", &statement.function_url_auth_type),
    ];
    for (key, value) in pairs {
        if let Some(value) = value {
            equals.insert(key.into(), json!(value));
        }
    }
    if !equals.is_empty() {
        condition.insert("StringEquals".into(), Value::Object(equals));
    }
    if let Some(arn) = &statement.source_arn {
        condition.insert("ArnLike".into(), json!({ "AWS:SourceArn": arn }));
    }
    if let Some(via_url) = statement.invoked_via_function_url {
        condition.insert("Bool".into(), json!({ "lambda:InvokedViaFunctionUrl": via_url.to_string() }));
    }
    if !condition.is_empty() {
        shape.insert("Condition".into(), Value::Object(condition));
    }
    Value::Object(shape)
}

fn principal(scope: &Scope, text: &str) -> Value {
    let is_account = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    if text == "*" {
        json!("*")
    } else if is_account {
        json!({ "AWS": format!("arn:{}:iam::{text}:root", scope.place.partition()) })
    } else if text.starts_with("arn:") {
        json!({ "AWS": text })
    } else {
        json!({ "Service": text })
    }
}

/// AddPermission.
pub async fn add(
    State(api): State<Api>,
    asked: Asked,
    Payload(bytes): Payload,
) -> Result<Response, LambdaError> {
    let body = PermissionBody::read(&bytes)?;
    let mut violations = Violations::default();
    let scope = asked.scope(&api, "function", Naming::Namespaced, &mut violations);
    asked.check_qualifier(&mut violations);
    body.check(&mut violations);
    violations.refuse()?;
    let Some(scope) = scope else { return Err(LambdaError::invalid("no such function")) };
    let policy = policy_scope(&scope)?;
    if !body.principal.as_deref().is_some_and(is_grantee) {
        return Err(LambdaError::invalid(
            "The provided principal was invalid. Please check the principal and try again.",
        ));
    }
    let revision_id = body.revision_id.clone();
    let action = Action::AddPermission {
        function: scope.function.clone(),
        scope: policy.clone(),
        statement: body.statement(),
        revision_id,
    };
    let reply = ask(&api, &asked.caller, &scope, action)
        .await
        .map_err(|error| reword_stale(reword(error, &scope, &policy)))?;
    let Reply::Permission { statement } = reply else { return Err(unexpected(&reply)) };
    let text = shape(&scope, &policy, &statement).to_string();
    Ok((StatusCode::CREATED, Json(json!({ "Statement": text }))).into_response())
}

fn reword_stale(error: LambdaError) -> LambdaError {
    error.reworded(
        "PreconditionFailedException",
        "The Revision Id provided does not match the latest Revision Id. Call the GetPolicy API to retrieve the latest \
         Revision Id",
    )
}

/// RemovePermission.
pub async fn remove(State(api): State<Api>, asked: Asked) -> Result<Response, LambdaError> {
    let mut violations = Violations::default();
    let scope = asked.scope(&api, "function", Naming::Namespaced, &mut violations);
    asked.check_qualifier(&mut violations);
    let sid = asked.path("sid").to_owned();
    violations.length("statementId", &sid, 1, 100);
    violations.refuse()?;
    let Some(scope) = scope else { return Err(LambdaError::invalid("no such function")) };
    let policy = policy_scope(&scope)?;
    if api.control.world().function(&scope.function).is_none() {
        return Err(LambdaError::not_found(format!("No policy found for: {}", scope.arn(None))));
    }
    let action = Action::RemovePermission {
        function: scope.function.clone(),
        scope: policy.clone(),
        sid,
        revision_id: asked.query("RevisionId").map(str::to_owned),
    };
    ask(&api, &asked.caller, &scope, action)
        .await
        .map_err(|error| reword_stale(reword(error, &scope, &policy)))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// GetPolicy.
pub async fn get(State(api): State<Api>, asked: Asked) -> Result<Response, LambdaError> {
    let mut violations = Violations::default();
    let scope = asked.scope(&api, "function", Naming::Namespaced, &mut violations);
    asked.check_qualifier(&mut violations);
    violations.refuse()?;
    let Some(scope) = scope else { return Err(LambdaError::invalid("no such function")) };
    let policy_scope = policy_scope(&scope)?;
    let world = api.control.world();
    let Some(state) = world.function(&scope.function) else {
        return Err(LambdaError::not_found("The resource you requested does not exist."));
    };
    if let PolicyScope::Alias(alias) = &policy_scope {
        let id = AliasId { function: scope.function.clone(), alias: alias.clone() };
        if world.alias(&id).is_none() {
            return Err(LambdaError::not_found(format!(
                "Cannot find alias arn: {}",
                scope.arn(Some(alias.as_str()))
            )));
        }
    }
    let Some(policy) = state.policies.get(&policy_scope) else {
        return Err(LambdaError::not_found("The resource you requested does not exist."));
    };
    let statements: Vec<Value> =
        policy.statements.iter().map(|statement| shape(&scope, &policy_scope, statement)).collect();
    let text = json!({ "Version": "2012-10-17", "Id": "default", "Statement": statements }).to_string();
    let revision_id = match policy_scope {
        PolicyScope::Function => world.revision_id(RevisionOf::Latest, state.function.revision),
        PolicyScope::Version(_) | PolicyScope::Alias(_) => {
            world.revision_id(RevisionOf::Policy, policy.revision)
        }
    };
    Ok(Json(json!({ "Policy": text, "RevisionId": revision_id })).into_response())
}
