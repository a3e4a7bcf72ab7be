//! CreateFunction, UpdateFunctionCode and UpdateFunctionConfiguration, and the way a zip goes in and comes out again.

use std::sync::Arc;

use axum::body::Body as AxumBody;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::actions::check_targets;
use super::error::LambdaError;
use super::functions::configured;
use super::request::{Asked, Body, Payload};
use super::shape::Stage;
use super::validate::Violations;
use super::{Naming, Scope, ask, configuration, tags};
use crate::access::parameters::Parameters;
use crate::api::Api;
use crate::clock;
use crate::code::{CodeError, Held, ZIP_BYTES_MAX};
use serin_core::commands::{Action, Change, Precondition};
use serin_core::lambda::configure::ConfigurationChange;
use serin_core::lambda::function::{Configuration, Target};
use serin_core::lambda::process::{Architecture, CodeSha256, ProcessTarget, Runtime};
use serin_core::lambda::settings::Settings;

/// The longest name of a new function.
const NEW_NAME_CHARS_MAX: usize = 64;

/// CreateFunction.
pub async fn create(
    State(api): State<Api>,
    asked: Asked,
    payload: Result<Payload, LambdaError>,
) -> Result<Response, LambdaError> {
    let Payload(bytes) = payload.map_err(|error| error.of_operation("CreateFunction"))?;
    let body = Body::read(&bytes)?;
    drop(bytes);
    let mut violations = Violations::default();
    let scope = function_of(&api, &asked, &body, &mut violations)?;
    let mut change = configuration::read(&body, &mut violations)?;
    change.keeps_empty_environment = true;
    if change.role.is_none() {
        violations.missing("role");
    }
    let source = body.object("Code")?;
    if source.is_none() {
        violations.missing("code");
    }
    let architecture = architecture(&body, &mut violations)?;
    let package_type = body.text("PackageType")?;
    if let Some(package_type) = &package_type {
        violations.one_of("packageType", package_type, &["Image", "Zip"]);
    }
    let runtime = body.text("Runtime")?;
    let tags = body.map("Tags")?.unwrap_or_default();
    tags::check(&tags, &mut violations);
    violations.refuse()?;
    let (Some(scope), Some(source)) = (scope, source) else { return Err(LambdaError::invalid("no code")) };
    configuration::refuse_foreign(&body)?;
    if package_type.as_deref() == Some("Image") {
        return Err(images_refused());
    }
    tags::check_count(&tags)?;
    let runtime = runtime.as_deref().map(configuration::runtime).transpose()?;
    let (Some(runtime), Some(_)) = (runtime, &change.handler) else {
        let text =
            "Runtime and Handler are mandatory parameters for functions created with deployment packages.";
        return Err(LambdaError::invalid(text));
    };
    if api.control.world().function(&scope.function).is_some() {
        return Err(LambdaError::conflict(format!("Function already exist: {}", scope.function)));
    }
    check_dead_letter(&change)?;
    check_targets(&api, &asked.caller, change.dead_letter.iter().flatten().map(String::as_str))?;
    let (held, code_bytes) = take(&api, &source).await?;
    let made = made(&scope, &change, runtime, architecture, held.digest(), code_bytes)?;
    let publish = body.flag("Publish")?.unwrap_or_default();
    let function = scope.function.clone();
    let action = Action::CreateFunction { function, configuration: Box::new(made), tags, publish };
    let reply = ask(&api, &asked.caller, &scope, action).await;
    release(&api, held);
    let reply = reply?;
    configured(&api, &scope, reply, StatusCode::CREATED, Stage::Creating, false)
}

fn images_refused() -> LambdaError {
    LambdaError::invalid(
        "PackageType Image is not supported: serin runs functions from zips; an HTTP service in a container is published \
         with `serin function publish FUNCTION --url URL`.",
    )
}

/// The configuration of a new function.
fn made(
    scope: &Scope,
    change: &ConfigurationChange,
    runtime: Runtime,
    architecture: Option<Architecture>,
    code_sha256: CodeSha256,
    code_bytes: u64,
) -> Result<Configuration, LambdaError> {
    let bare = Configuration {
        target: Target::Process(Arc::new(ProcessTarget {
            code_sha256,
            code_bytes,
            runtime,
            handler: String::new(),
            timeout_s: ProcessTarget::TIMEOUT_S,
            memory_mb: ProcessTarget::MEMORY_MB,
            architecture: architecture.unwrap_or_default(),
            environment: Default::default(),
        })),
        role: String::new(),
        dead_letter: None,
        description: String::new(),
        commit: None,
        settings: Settings::default(),
    };
    change.applied(scope.function.as_str(), &bare).map_err(|fault| LambdaError::invalid(fault.to_string()))
}

/// The new function's name: bare, or in an ARN, without a qualifier.
fn function_of(
    api: &Api,
    asked: &Asked,
    body: &Body,
    violations: &mut Violations,
) -> Result<Option<Scope>, LambdaError> {
    let Some(name) = body.text("FunctionName")? else {
        violations.missing("functionName");
        return Ok(None);
    };
    let scope = Scope::named(api, &asked.caller, &name, Naming::Plain, violations);
    if scope.as_ref().is_some_and(|scope| scope.qualifier.is_some()) {
        violations.pattern("functionName", &name, Naming::Unqualified.pattern());
        return Ok(None);
    }
    // Among the constraints AWS has forgotten this one, and says so in their words.
    if Naming::Plain.read(&name).is_some_and(|called| called.name.len() > NEW_NAME_CHARS_MAX) {
        violations.instead(LambdaError::invalid(format!(
            "1 validation error detected: Value '{name}' at 'functionName' failed to satisfy constraint: Member must have \
             length less than or equal to {NEW_NAME_CHARS_MAX}"
        )));
    }
    Ok(scope)
}

fn architecture(body: &Body, violations: &mut Violations) -> Result<Option<Architecture>, LambdaError> {
    let Some(names) = body.texts("Architectures")? else { return Ok(None) };
    let shown = format!("[{}]", names.join(", "));
    match names.as_slice() {
        [one] if one == "x86_64" => Ok(Some(Architecture::X86_64)),
        [one] if one == "arm64" => Ok(Some(Architecture::Arm64)),
        [] => {
            let constraint = "Member must have length greater than or equal to 1";
            violations.add("architectures", &shown, constraint);
            Ok(None)
        }
        [_] => {
            let constraint = "Member must satisfy constraint: [Member must satisfy enum value set: [x86_64, arm64], Member \
                              must not be null]";
            violations.add("architectures", &shown, constraint);
            Ok(None)
        }
        _ => {
            let constraint = "Member must have length less than or equal to 1";
            violations.add("architectures", &shown, constraint);
            Ok(None)
        }
    }
}

/// Failed events go where serin can bring them.
fn check_dead_letter(change: &ConfigurationChange) -> Result<(), LambdaError> {
    match change.dead_letter.iter().flatten().find(|target| !target.contains(":sqs:")) {
        None => Ok(()),
        Some(target) => Err(LambdaError::invalid(format!(
            "The dead-letter target {target} is not supported: serin brings failed events to SQS queues."
        ))),
    }
}

/// Keeps the zip that a request brings, and holds it until the commit names it.
async fn take(api: &Api, source: &Body) -> Result<(Held, u64), LambdaError> {
    for member in ["S3Bucket", "S3Key", "S3ObjectVersion"] {
        if source.has(member) {
            return Err(LambdaError::invalid(format!(
                "{member} is not supported: serin reads code from ZipFile alone; send the zip itself, as with --zip-file \
                 fileb://function.zip."
            )));
        }
    }
    if source.has("ImageUri") {
        return Err(images_refused());
    }
    configuration::refuse_foreign(source)?;
    let Some(text) = source.text("ZipFile")? else {
        return Err(LambdaError::invalid("Please provide a source for function code."));
    };
    let (code, runtimes) = (api.code.clone(), api.runtimes.clone());
    let kept = tokio::task::spawn_blocking(move || {
        // What runs already goes on; what comes anew wants walls around it.
        if let Some(refusal) = runtimes.refusal() {
            return Err(LambdaError::invalid(refusal));
        }
        let zip = BASE64
            .decode(text.as_bytes())
            .map_err(|why| LambdaError::serialization(format!("ZipFile is not base64: {why}")))?;
        if zip.is_empty() {
            return Err(LambdaError::invalid("Uploaded file must be a non-empty zip"));
        }
        if zip.len() > ZIP_BYTES_MAX {
            return Err(LambdaError::zip_too_large(ZIP_BYTES_MAX));
        }
        let held = code.put(&zip).map_err(unkept)?;
        Ok((held, zip.len() as u64))
    });
    kept.await.unwrap_or_else(|_| Err(LambdaError::unavailable("reading the zip broke off".to_owned())))
}

/// Lets go of a zip; if no commit came to name it, it goes.
fn release(api: &Api, held: Held) {
    drop(held);
    api.sweep_code();
}

fn unkept(error: CodeError) -> LambdaError {
    match error {
        CodeError::Zip(fault) => LambdaError::invalid(fault.to_string()),
        error @ (CodeError::Absent(_) | CodeError::Damaged(_) | CodeError::File { .. }) => {
            match error.is_full() {
                true => LambdaError::full(error.to_string()),
                false => LambdaError::unavailable(format!("nothing was changed: {error}")),
            }
        }
    }
}

/// UpdateFunctionCode.
pub async fn update(
    State(api): State<Api>,
    asked: Asked,
    payload: Result<Payload, LambdaError>,
) -> Result<Response, LambdaError> {
    let Payload(bytes) = payload.map_err(|error| error.of_operation("UpdateFunctionCode"))?;
    let body = Body::read(&bytes)?;
    drop(bytes);
    let mut read = Ok(None);
    let scope = asked.function(&api, Naming::Plain, |violations| read = architecture(&body, violations))?;
    let architecture = read?;
    let (publish, dry_run) =
        (body.flag("Publish")?.unwrap_or_default(), body.flag("DryRun")?.unwrap_or_default());
    let precondition = Precondition { revision_id: body.text("RevisionId")?, code_sha256: None };
    match api.control.world().function(&scope.function) {
        None => {
            return Err(LambdaError::not_found(format!("Function not found: {}", scope.arn(None))));
        }
        Some(state) if body.has("ImageUri") && state.function.latest.target.process().is_some() => {
            let text = "Please don't provide ImageUri when updating a function with packageType Zip.";
            return Err(LambdaError::invalid(text));
        }
        Some(_) => {}
    }
    let update = api.updates.begin(&scope)?;
    let (held, code_bytes) = take(&api, &body).await?;
    let change = Change::Code { code_sha256: held.digest(), code_bytes, architecture, publish, dry_run };
    let action = Action::UpdateFunction { function: scope.function.clone(), change, precondition };
    let reply = ask(&api, &asked.caller, &scope, action).await;
    drop(update);
    release(&api, held);
    let reply = reply?;
    let stage = match (dry_run, publish) {
        (true, _) => Stage::Settled,
        // A version is made, and `$LATEST` is changed.
        (false, true) => Stage::Creating,
        (false, false) => Stage::Updating,
    };
    configured(&api, &scope, reply, StatusCode::OK, stage, publish && !dry_run)
}

/// UpdateFunctionConfiguration.
pub async fn update_configuration(
    State(api): State<Api>,
    asked: Asked,
    Payload(bytes): Payload,
) -> Result<Response, LambdaError> {
    let body = Body::read(&bytes)?;
    let mut read = Ok(ConfigurationChange::default());
    let scope =
        asked.function(&api, Naming::Plain, |violations| read = configuration::read(&body, violations))?;
    let mut change = read?;
    configuration::refuse_foreign(&body)?;
    check_dead_letter(&change)?;
    check_targets(&api, &asked.caller, change.dead_letter.iter().flatten().map(String::as_str))?;
    change.runtime = body.text("Runtime")?.as_deref().map(configuration::runtime).transpose()?;
    api.updates.check(&scope)?;
    let precondition = Precondition { revision_id: body.text("RevisionId")?, code_sha256: None };
    let change = Change::Configuration(Box::new(change));
    let action = Action::UpdateFunction { function: scope.function.clone(), change, precondition };
    let reply = ask(&api, &asked.caller, &scope, action).await?;
    configured(&api, &scope, reply, StatusCode::OK, Stage::Updating, false)
}

/// The zip behind a URL that GetFunction gave.
pub async fn download(
    State(api): State<Api>,
    Path(file): Path<String>,
    uri: Uri,
) -> Result<Response, LambdaError> {
    let refused =
        || LambdaError::plain(StatusCode::FORBIDDEN, "this URL is not, or no longer, good".to_owned());
    let query = Parameters::read(uri.query()).and_then(|read| read.without_repeats(&[]));
    let query = query.map_err(|_| refused())?;
    let (expires, signature) =
        (query.get("Expires").unwrap_or_default(), query.get("Signature").unwrap_or_default());
    let digest = file.strip_suffix(".zip").and_then(CodeSha256::from_hex).ok_or_else(refused)?;
    let is_sealed = api.seal.holds(&format!("code {} {expires}", digest.hex()), signature);
    // A time that is no number was sealed by nobody.
    let is_late = expires.parse::<i64>().is_ok_and(|expires| expires < clock::wall_now().0);
    if !is_sealed || is_late {
        return Err(refused());
    }
    let code = api.code.clone();
    let zip = tokio::task::spawn_blocking(move || code.read(digest)).await;
    match zip {
        Ok(Ok(zip)) => Ok(([(header::CONTENT_TYPE, "application/zip")], AxumBody::from(zip)).into_response()),
        Ok(Err(why)) => Err(LambdaError::not_found(why.to_string())),
        Err(_) => Err(LambdaError::unavailable("reading the code broke off".to_owned())),
    }
}
