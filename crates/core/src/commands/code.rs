//! Functions that run from a zip: made, changed and published as Lambda clients do it.
//!
//! The zip itself was kept before the command came; here it is only named.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::functions::{append_version, counted, start_published};
use super::{Refusal, Reply};
use crate::journal::Happening;
use crate::lambda::configure::ConfigurationChange;
use crate::lambda::function::{Configuration, Function, Target};
use crate::lambda::process::{Architecture, CodeSha256};
use crate::model::arn::{FunctionName, VersionNumber};
use crate::ports::Write;
use crate::world::draft::{About, By, Draft, Touched};
use crate::world::{FunctionState, RevisionOf};

/// What of `$LATEST` is to change.
#[derive(Clone, Debug)]
pub enum Change {
    /// Its code.
    Code {
        /// The zip.
        code_sha256: CodeSha256,
        /// The zip's length.
        code_bytes: u64,
        /// The processor it is made for; `None` stays.
        architecture: Option<Architecture>,
        /// Publish a version in the same breath.
        publish: bool,
        /// Check everything, and change nothing.
        dry_run: bool,
    },
    /// Anything else.
    Configuration(Box<ConfigurationChange>),
}

/// What a client believes of `$LATEST`; a belief that is wrong refuses the command.
#[derive(Clone, Debug, Default)]
pub struct Precondition {
    /// Its RevisionId.
    pub revision_id: Option<String>,
    /// Its code, in base64.
    pub code_sha256: Option<String>,
}

fn known<'a>(draft: &'a Draft<'_>, name: &FunctionName) -> Result<&'a Arc<FunctionState>, Refusal> {
    draft.world.function(name).ok_or_else(|| Refusal::FunctionNotFound(name.clone(), None))
}

fn check_precondition(
    draft: &Draft<'_>,
    state: &FunctionState,
    precondition: &Precondition,
) -> Result<(), Refusal> {
    let latest = draft.world.revision_id(RevisionOf::Latest, state.function.revision);
    if precondition.revision_id.as_ref().is_some_and(|asked| *asked != latest) {
        return Err(Refusal::RevisionMismatch { what: format!("function {}", state.function.name), latest });
    }
    let code = state.function.latest.code_sha256();
    match &precondition.code_sha256 {
        Some(asked) if *asked != code => Err(Refusal::CodeMismatch { asked: asked.clone(), latest: code }),
        _ => Ok(()),
    }
}

/// Makes a function; with `publish`, its first version too.
pub(super) fn create(
    draft: &mut Draft<'_>,
    by: By<'_>,
    name: &FunctionName,
    configuration: &Configuration,
    tags: &BTreeMap<String, String>,
    publish: bool,
    fresh: Uuid,
) -> Result<Reply, Refusal> {
    if draft.world.function(name).is_some() {
        return Err(Refusal::FunctionExists(name.clone()));
    }
    let about = About { function: name, alias: None, rollout: None };
    let revision = draft.journal(by, about, Happening::FunctionCreated, None);
    let mut function = Function::new(name.clone(), configuration.clone(), revision, draft.at.wall);
    function.tags = tags.clone();
    function.last_version = counted(draft, name);
    draft.write(Write::PutFunction(function.clone()));
    draft.touch(Touched::Function(name.clone()));
    let state = FunctionState { function, versions: BTreeMap::new(), policies: BTreeMap::new() };
    draft.world.functions.insert_mut(name.clone(), Arc::new(state));
    if publish {
        return published(draft, by, name, configuration, fresh);
    }
    latest(draft, name)
}

/// What `$LATEST` became, as a reply.
fn latest(draft: &Draft<'_>, name: &FunctionName) -> Result<Reply, Refusal> {
    let function = &known(draft, name)?.function;
    Ok(Reply::Configured {
        function: name.clone(),
        version: None,
        configuration: Box::new(function.latest.clone()),
        revision: function.revision,
        at: function.modified_at,
    })
}

/// Changes `$LATEST`.
pub(super) fn update(
    draft: &mut Draft<'_>,
    by: By<'_>,
    name: &FunctionName,
    change: &Change,
    precondition: &Precondition,
    fresh: Uuid,
) -> Result<Reply, Refusal> {
    let state = Arc::clone(known(draft, name)?);
    check_precondition(draft, &state, precondition)?;
    let before = &state.function.latest;
    let (next, words) = match change {
        Change::Configuration(change) => (
            change.applied(name.as_str(), before).map_err(Refusal::Configuration)?,
            "changed the configuration".to_owned(),
        ),
        Change::Code { code_sha256, code_bytes, architecture, .. } => {
            let mut next = before.clone();
            let Target::Process(process) = &mut next.target else {
                return Err(Refusal::Invalid(format!(
                    "function {name} is an HTTP service at {}; publish its next version with `serin function publish \
                     {name} --url URL`",
                    before.target
                )));
            };
            let process = Arc::make_mut(process);
            (process.code_sha256, process.code_bytes) = (*code_sha256, *code_bytes);
            process.architecture = architecture.unwrap_or(process.architecture);
            let words = format!("changed the code to {}", &code_sha256.hex()[..12]);
            (next, words)
        }
    };
    if let Change::Code { dry_run: true, .. } = change {
        return Ok(Reply::Configured {
            function: name.clone(),
            version: None,
            configuration: Box::new(next),
            revision: state.function.revision,
            at: state.function.modified_at,
        });
    }
    let is_changed = next != *before;
    let about = About { function: name, alias: None, rollout: None };
    let revision = draft.journal(by, about, Happening::FunctionChanged { change: words }, None);
    let at = draft.at.wall;
    if let Some(state) = draft.function_mut(name) {
        state.function.latest = next.clone();
        state.function.revision = revision;
        state.function.modified_at = at;
        if is_changed {
            state.function.published_as = None;
        }
        let function = state.function.clone();
        draft.write(Write::PutFunction(function));
    }
    super::functions::touch_latest(draft, name);
    match change {
        Change::Code { publish: true, .. } => publish(draft, by, name, None, &Precondition::default(), fresh),
        Change::Code { .. } | Change::Configuration(_) => latest(draft, name),
    }
}

/// Publishes `$LATEST`; the version it was published as before, if it has not changed since.
pub(super) fn publish(
    draft: &mut Draft<'_>,
    by: By<'_>,
    name: &FunctionName,
    description: Option<&str>,
    precondition: &Precondition,
    fresh: Uuid,
) -> Result<Reply, Refusal> {
    let state = Arc::clone(known(draft, name)?);
    check_precondition(draft, &state, precondition)?;
    let before = state.function.published_as.and_then(|number| state.versions.get(&number));
    if let Some(version) = before {
        return Ok(Reply::Configured {
            function: name.clone(),
            version: Some(version.number),
            configuration: Box::new(version.configuration.clone()),
            revision: version.revision,
            at: version.published_at,
        });
    }
    let mut configuration = state.function.latest.clone();
    if let Some(description) = description {
        configuration.description = description.to_owned();
    }
    published(draft, by, name, &configuration, fresh)
}

fn published(
    draft: &mut Draft<'_>,
    by: By<'_>,
    name: &FunctionName,
    configuration: &Configuration,
    fresh: Uuid,
) -> Result<Reply, Refusal> {
    let latest = known(draft, name)?.function.latest.clone();
    let number: VersionNumber = append_version(draft, by, name, configuration, latest)?;
    start_published(draft, name, number, fresh);
    let version = known(draft, name)?.versions.get(&number).cloned();
    let version = version.ok_or_else(|| Refusal::FunctionNotFound(name.clone(), Some(number.into())))?;
    Ok(Reply::Configured {
        function: name.clone(),
        version: Some(number),
        configuration: Box::new(version.configuration.clone()),
        revision: version.revision,
        at: version.published_at,
    })
}
