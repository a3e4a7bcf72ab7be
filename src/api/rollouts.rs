//! Rollouts: started, operated, looked at.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;

use super::Api;
use super::error::ApiError;
use super::extract::{Asker, Body, Path, Query, Required};
use super::functions::unexpected;
use super::status::{counts_view, event_view, explanation, failure_view, routing_view, status as status_of};
use super::tunnels;
use super::wire::{
    CountsView, DriftChoice, ErrorBody, EventList, Explanation, PromoteRequest, ResumeRequest,
    RollbackRequest, RolloutList, RolloutStatus, StartReply, StartRequest, VerbReply, VerbRequest,
    WouldStart,
};
use crate::clock;
use crate::control::handle::QueryContext;
use crate::control::watch;
use crate::metrics::recorder::RecentFailure;
use crate::metrics::tunnels::Tunnels;
use crate::store::{Reader, StoreError};
use serin_core::analysis::ledger;
use serin_core::commands::target;
use serin_core::commands::{Action, Refusal, Reply, RolloutRef, Trigger, Verb};
use serin_core::lambda::alias::AliasId;
use serin_core::model::arn::{VersionId, VersionNumber};
use serin_core::model::time::Timestamp;
use serin_core::plan::{Fault, Source};
use serin_core::ports::{EntryFilter, RolloutFilter};
use serin_core::rollout::{DriftResolution, Rollout, RolloutId, RolloutRecord};
use serin_core::world::plans::{PlanFile, ReadPlan, read_plan};

/// How long a start waits until the plan's file has been read as it is.
const READ_MAX: Duration = Duration::from_secs(5);
const READ_LOOK_EVERY: Duration = Duration::from_millis(50);

/// Entries shown with an explanation.
const HISTORY_SHOWN: u32 = 12;

/// Runs a question to the store where waiting does no harm.
pub(super) async fn blocking<T: Send + 'static>(
    question: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(question).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(ApiError::unavailable("the question to the store was cut off by a shutdown")),
    }
}

fn closing() -> ApiError {
    ApiError::unavailable("serin is shutting down")
}

/// What a path's TARGET names: an alias, or a rollout by its id or the id's end.
async fn find(api: &Api, target: &str) -> Result<RolloutRef, ApiError> {
    if target.contains(':') {
        return target.parse().map(RolloutRef::OfAlias).map_err(|why| {
            ApiError::invalid(format!("{target:?} is neither function:alias nor a rollout's id: {why}"))
        });
    }
    if let Ok(id) = target.parse() {
        return Ok(RolloutRef::Id(RolloutId(id)));
    }
    let is_tail = target.len() >= 4 && target.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    if !is_tail {
        return Err(ApiError::invalid(format!(
            "{target:?} is neither function:alias nor a rollout's id (whole, or at least its last four characters)"
        )));
    }
    let (reader, tail) = (api.reader.clone(), target.to_ascii_lowercase());
    let found = blocking(move || reader.rollouts_named(&tail)).await?;
    match found.as_slice() {
        [one] => Ok(RolloutRef::Id(one.id)),
        [] => {
            Err(ApiError::not_found(format!("there is no rollout {target}; `serin status` lists the latest")))
        }
        _ => {
            Err(ApiError::invalid(format!("more than one rollout's id ends with {target}; give more of it")))
        }
    }
}

/// Looks at the rollout that a target means, by the rule that verbs go by.
async fn look<T: Send + 'static>(
    api: &Api,
    target: &str,
    see: impl Fn(&QueryContext<'_>, &Rollout) -> T + Send + Clone + 'static,
) -> Result<T, ApiError> {
    let target = find(api, target).await?;
    let found = api.control.ask(move |context| {
        let found = target::find(&context.core.world, context.outside.past, &target);
        found.map(|rollout| see(context, &rollout))
    });
    Ok(found.await.ok_or_else(closing)??)
}

/// A rollout's status.
#[utoipa::path(get, path = "/v1/rollouts/{target}", tag = "rollouts",
    params(("target" = String, Path, description = "function:alias, or a rollout's id or its last characters")),
    responses((status = 200, body = RolloutStatus), (status = 404, body = ErrorBody)))]
pub async fn status(
    State(api): State<Api>,
    Path(target): Path<String>,
) -> Result<Json<RolloutStatus>, ApiError> {
    let tunnels = Arc::clone(&api.tunnels);
    look(&api, &target, move |context, rollout| status_of(context, rollout, &*tunnels)).await.map(Json)
}

/// Why a rollout is where it is, what happens next and when.
#[utoipa::path(get, path = "/v1/rollouts/{target}/explain", tag = "rollouts",
    params(("target" = String, Path, description = "function:alias, or a rollout's id or its last characters")),
    responses((status = 200, body = Explanation), (status = 404, body = ErrorBody)))]
pub async fn explain(
    State(api): State<Api>,
    Path(target): Path<String>,
) -> Result<Json<Explanation>, ApiError> {
    let (recorder, tunnels) = (Arc::clone(&api.recorder), Arc::clone(&api.tunnels));
    let seen = look(&api, &target, move |context, rollout| {
        (explanation(context, rollout, &recorder, &*tunnels), rollout.record.clone())
    });
    let (mut explanation, record) = seen.await?;
    let id = record.id;
    let reader = api.reader.clone();
    let filter =
        EntryFilter { rollout: Some(id), newest: true, limit: HISTORY_SHOWN, ..EntryFilter::default() };
    let entries = blocking(move || reader.entries(&filter)).await?;
    explanation.history = entries.iter().rev().map(event_view).collect();
    let recent = api.recorder.recent_failures(&record.alias);
    let of_rollout = recent.iter().filter(|failure| is_of(&record, failure));
    explanation.recent_failures = of_rollout.map(failure_view).collect();
    Ok(Json(explanation))
}

/// Whether a failure of the alias belongs to the story of this rollout: of one of its versions, in its time.
fn is_of(record: &RolloutRecord, failure: &RecentFailure) -> bool {
    let versions = [record.stable, record.canary].map(VersionId::Number);
    let until = if record.phase.is_final() { record.updated_at } else { Timestamp(i64::MAX) };
    versions.contains(&failure.version) && (record.started_at..=until).contains(&failure.at)
}

/// What a rollout's versions were counted to have got, in blocks; at most five seconds old.
#[utoipa::path(get, path = "/v1/rollouts/{target}/counts", tag = "rollouts",
    params(("target" = String, Path, description = "function:alias, or a rollout's id or its last characters")),
    responses((status = 200, body = CountsView), (status = 404, body = ErrorBody)))]
pub async fn counts(
    State(api): State<Api>,
    Path(target): Path<String>,
) -> Result<Json<CountsView>, ApiError> {
    let id = look(&api, &target, |_, rollout| rollout.record.id).await?;
    let reader = api.reader.clone();
    let rows = blocking(move || reader.counts(id)).await?;
    let Some(record) = ledger::read(&rows) else {
        return Err(ApiError::not_found(format!("no counts are kept of rollout {id}")));
    };
    Ok(Json(counts_view(&record)))
}

/// Which rollouts to list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    target: Option<String>,
    phase: Option<String>,
    before: Option<String>,
    limit: Option<u32>,
    live: Option<bool>,
}

/// Rollouts, newest first; `live=true` lists those that have not ended.
#[utoipa::path(get, path = "/v1/rollouts", tag = "rollouts",
    params(("target" = Option<String>, Query, description = "only of this function:alias"),
           ("phase" = Option<String>, Query, description = "only in this phase"),
           ("before" = Option<String>, Query, description = "only older than this rollout"),
           ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "at most so many, 1 to 200; 50 unless given"),
           ("live" = Option<bool>, Query, description = "only those that have not ended")),
    responses((status = 200, body = RolloutList), (status = 400, body = ErrorBody)))]
pub async fn list(
    State(api): State<Api>,
    Query(query): Query<ListQuery>,
) -> Result<Json<RolloutList>, ApiError> {
    let limit = query.limit.unwrap_or(50);
    if !(1..=200).contains(&limit) {
        return Err(ApiError::invalid("limit is 1 to 200"));
    }
    let alias: Option<AliasId> = query
        .target
        .as_deref()
        .map(|target| target.parse().map_err(|why| ApiError::invalid(format!("target {target:?}: {why}"))))
        .transpose()?;
    let before = query
        .before
        .as_deref()
        .map(|id| {
            id.parse().map(RolloutId).map_err(|_| ApiError::invalid(format!("{id:?} is not a rollout's id")))
        })
        .transpose()?;
    let plan_faults = plan_faults(&api);
    if query.live == Some(true) {
        let tunnels = Arc::clone(&api.tunnels);
        let rollouts = api.control.ask(move |context| live(context, &*tunnels)).await.ok_or_else(closing)?;
        let wanted = |status: &RolloutStatus| {
            let of_alias = alias.as_ref().is_none_or(|alias| {
                status.function == alias.function.as_str() && status.alias == alias.alias.as_str()
            });
            of_alias && query.phase.as_ref().is_none_or(|phase| *phase == status.phase)
        };
        let rollouts = rollouts.into_iter().filter(wanted).collect();
        return Ok(Json(RolloutList { rollouts, next: None, plan_faults }));
    }
    let reader: Reader = api.reader.clone();
    let filter = RolloutFilter { alias, phase: query.phase, before, limit };
    let records = blocking(move || reader.rollouts(&filter)).await?;
    let next = (records.len() == limit as usize)
        .then(|| records.last().map(|record| record.id.to_string()))
        .flatten();
    let mut rollouts = Vec::with_capacity(records.len());
    for record in records {
        let (id, tunnels) = (record.id, Arc::clone(&api.tunnels));
        let status = api.control.ask(move |context| match context.core.world.rollout(id) {
            Some(rollout) => Some(status_of(context, rollout, &*tunnels)),
            None => (context.outside.past)(id).map(|rollout| status_of(context, &rollout, &*tunnels)),
        });
        rollouts.extend(status.await.ok_or_else(closing)?);
    }
    Ok(Json(RolloutList { rollouts, next, plan_faults }))
}

fn live(context: &QueryContext<'_>, tunnels: &dyn Tunnels) -> Vec<RolloutStatus> {
    let world = &context.core.world;
    let rollouts = world.live.iter().filter_map(|id| world.rollout(*id));
    let mut found: Vec<RolloutStatus> =
        rollouts.map(|rollout| status_of(context, rollout, tunnels)).collect();
    found.reverse();
    found
}

/// A fault in one line, with what to write instead.
pub(super) fn fault_line(fault: &Fault) -> String {
    match &fault.help {
        Some(help) => format!("{fault}; {help}"),
        None => fault.to_string(),
    }
}

fn plan_faults(api: &Api) -> Vec<String> {
    let book = api.control.book();
    let files = book.files.values().filter(|file| !file.is_sound());
    let line = |file: &serin_core::world::plans::PlanFile| match (&file.problem, file.faults.first()) {
        (Some(problem), _) => problem.clone(),
        (None, Some(fault)) if file.faults.len() > 1 => {
            format!("{fault} (and {} more)", file.faults.len() - 1)
        }
        (None, Some(fault)) => fault.to_string(),
        (None, None) => String::new(),
    };
    book.problem.iter().cloned().chain(files.map(line)).collect()
}

/// What happened in a rollout, or on an alias.
#[utoipa::path(get, path = "/v1/rollouts/{target}/events", tag = "rollouts",
    params(("target" = String, Path, description = "function:alias for all of the alias's, or a rollout's id"),
           ("after" = Option<u64>, Query, description = "only later than this sequence number"),
           ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000,
            description = "at most so many, 1 to 1000; the newest 100 unless given")),
    responses((status = 200, body = EventList), (status = 404, body = ErrorBody)))]
pub async fn history(
    State(api): State<Api>,
    Path(target): Path<String>,
    Query(query): Query<HistoryQuery>,
) -> Result<Json<EventList>, ApiError> {
    let mut filter = query.filter()?;
    match find(&api, &target).await? {
        RolloutRef::Id(id) => filter.rollout = Some(id),
        RolloutRef::OfAlias(alias) => {
            if api.control.world().alias(&alias).is_none() {
                return Err(Refusal::AliasNotFound(alias).into());
            }
            filter.alias = Some(alias);
        }
    }
    let reader = api.reader.clone();
    let entries = blocking(move || reader.entries(&filter)).await?;
    Ok(Json(EventList { events: entries.iter().map(event_view).collect() }))
}

/// Which part of a history.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistoryQuery {
    after: Option<u64>,
    limit: Option<u32>,
}

impl HistoryQuery {
    /// The entries it asks for, of everything.
    pub(super) fn filter(&self) -> Result<EntryFilter, ApiError> {
        let limit = self.limit.unwrap_or(100);
        if !(1..=1000).contains(&limit) {
            return Err(ApiError::invalid("limit is 1 to 1000"));
        }
        if self.after.is_some_and(|after| i64::try_from(after).is_err()) {
            return Err(ApiError::invalid(format!("after is a sequence number, at most {}", i64::MAX)));
        }
        let (after, newest) = (self.after.unwrap_or(0), self.after.is_none());
        Ok(EntryFilter { limit, after, newest, ..EntryFilter::default() })
    }
}

fn version(text: &str) -> Result<VersionNumber, ApiError> {
    text.parse().map_err(|why| ApiError::invalid(format!("version {text:?}: {why}")))
}

/// The plan that is asked for, and what is to be said about it.
fn plan_of(api: &Api, request: &StartRequest) -> Result<(Arc<ReadPlan>, Option<String>), ApiError> {
    if let Some(text) = &request.plan_text {
        let source = Source::new(format!("{}.yaml", request.plan), text.as_bytes());
        let defaults =
            request.defaults_text.as_ref().map(|text| Source::new("defaults.yaml", text.as_bytes()));
        let read = read_plan(&request.plan, &source, defaults.as_ref());
        return read.map(|read| (Arc::new(read), None)).map_err(|faults| {
            let lines: Vec<String> = faults.iter().map(fault_line).collect();
            ApiError::invalid(format!("the plan is not in order:\n{}", lines.join("\n")))
        });
    }
    let book = api.control.book();
    let Some(file) = book.files.get(&request.plan) else {
        let place = book.directory.as_ref().map_or_else(
            || "this serin has no plans directory (--plans)".to_owned(),
            |directory| format!("there is none of that name in {directory}"),
        );
        return Err(ApiError::not_found(format!(
            "no plan {:?}: {place}; `serin plan list` lists them",
            request.plan
        )));
    };
    let fault = fault_of(file);
    if let Some(read) = &file.read {
        // A file that broke leaves what was read before in force.
        let note = fault.as_ref().map(|fault| {
            format!(
                "by plan {} as it was read before, because its file is not in order now: {fault}",
                request.plan
            )
        });
        return Ok((Arc::clone(read), note));
    }
    if let Some(fault) = fault {
        return Err(ApiError::invalid(format!(
            "plan {name} is not in order: {fault}; `serin plan show {name}` shows it all",
            name = request.plan
        )));
    }
    Err(ApiError::invalid(format!(
        "{} holds defaults that other plans use; it cannot be started",
        request.plan
    )))
}

/// What is wrong with a plan file, in a line.
fn fault_of(file: &PlanFile) -> Option<String> {
    file.problem.clone().or_else(|| file.faults.first().map(fault_line))
}

/// Waits until what is known of a plan's file is what the file is: nobody starts by an old one unawares.
async fn as_it_is_now(api: &Api, name: &str) -> Result<(), ApiError> {
    let begun = clock::instant_now();
    loop {
        let (book, plan) = (api.control.book(), name.to_owned());
        let look = tokio::task::spawn_blocking(move || watch::is_current(&book, &plan)).await;
        if look.unwrap_or(true) {
            return Ok(());
        }
        if clock::instant_now().duration_since(begun) > READ_MAX {
            return Err(Refusal::Conflict(format!(
                "the file of plan {name} has changed and has not been read since; try again, and look at `serin plan list`"
            ))
            .into());
        }
        tokio::time::sleep(READ_LOOK_EVERY).await;
    }
}

/// Starts a rollout.
#[utoipa::path(post, path = "/v1/rollouts", tag = "rollouts", request_body = StartRequest,
    responses((status = 200, body = StartReply, description = "started; with dryRun a WouldStart"),
              (status = 400, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn start(
    State(api): State<Api>,
    asker: Asker,
    Required(request): Required<StartRequest>,
) -> Result<Json<StartReply>, ApiError> {
    if request.plan_text.is_none() {
        as_it_is_now(&api, &request.plan).await?;
    }
    let (plan, note) = plan_of(&api, &request)?;
    let to = request.to.as_deref().map(version).transpose()?;
    let action =
        Action::Start { plan, to, again: request.again, dry_run: request.dry_run, trigger: Trigger::Person };
    let reply = asker.ask(&api, action, request.reason.clone(), &request).await?;
    if let Reply::WouldStart { alias, stable, canary, steps, message } = reply {
        let would_start = WouldStart {
            function: alias.function.to_string(),
            alias: alias.alias.to_string(),
            stable_version: stable.to_string(),
            canary_version: canary.to_string(),
            steps,
            message: with_note(message, note),
        };
        return Ok(Json(StartReply::WouldStart(would_start)));
    }
    let reply = verb_reply(&api, reply)?;
    Ok(Json(StartReply::Started(VerbReply { message: with_note(reply.message, note), ..reply })))
}

fn with_note(message: String, note: Option<String>) -> String {
    match note {
        Some(note) => format!("{message}; {note}"),
        None => message,
    }
}

fn verb_reply(api: &Api, reply: Reply) -> Result<VerbReply, ApiError> {
    let Reply::Rollout { id, alias, phase, step, changed, message, routing } = reply else {
        return Err(unexpected(&reply));
    };
    Ok(VerbReply {
        id: id.map(|id| id.to_string()),
        function: alias.function.to_string(),
        alias: alias.alias.to_string(),
        phase,
        step,
        changed,
        message: match routing {
            // Read when the router has it: what is still open there stays open, whatever the alias is now.
            Some(routing) => [format!("{message}; {alias} is {routing} now")]
                .into_iter()
                .chain(tunnels::sentences(&*api.tunnels, &alias))
                .collect::<Vec<_>>()
                .join("; "),
            None => message,
        },
        routing: routing.map(routing_view),
    })
}

async fn operate(
    api: &Api,
    asker: Asker,
    target: &str,
    verb: Verb,
    reason: Option<String>,
    body: &impl serde::Serialize,
) -> Result<Json<VerbReply>, ApiError> {
    let target = find(api, target).await?;
    let reply = asker.ask(api, Action::Operate { target, verb }, reason, body).await?;
    verb_reply(api, reply).map(Json)
}

/// Passes what the current step waits for, once, or goes to the end.
#[utoipa::path(post, path = "/v1/rollouts/{target}/promote", tag = "rollouts", request_body = PromoteRequest,
    params(("target" = String, Path, description = "function:alias, or a rollout's id")),
    responses((status = 200, body = VerbReply), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn promote(
    State(api): State<Api>,
    asker: Asker,
    Path(target): Path<String>,
    Required(request): Required<PromoteRequest>,
) -> Result<Json<VerbReply>, ApiError> {
    let verb = Verb::Promote { step: request.step, full: request.full };
    operate(&api, asker, &target, verb, request.reason.clone(), &request).await
}

/// Ends a pause by operator, plan or drift.
#[utoipa::path(post, path = "/v1/rollouts/{target}/resume", tag = "rollouts", request_body = Option<ResumeRequest>,
    params(("target" = String, Path, description = "function:alias, or a rollout's id")),
    responses((status = 200, body = VerbReply), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn resume(
    State(api): State<Api>,
    asker: Asker,
    Path(target): Path<String>,
    Body(request): Body<ResumeRequest>,
) -> Result<Json<VerbReply>, ApiError> {
    let drift = request.drift.map(|choice| match choice {
        DriftChoice::Restore => DriftResolution::Restore,
        DriftChoice::Adopt => DriftResolution::Adopt,
    });
    operate(&api, asker, &target, Verb::Resume(drift), request.reason.clone(), &request).await
}

macro_rules! plain_verb {
    ($(#[$doc:meta])* $name:ident, $path:literal, $verb:expr) => {
        $(#[$doc])*
        #[utoipa::path(post, path = $path, tag = "rollouts", request_body = Option<VerbRequest>,
            params(("target" = String, Path, description = "function:alias, or a rollout's id")),
            responses((status = 200, body = VerbReply), (status = 404, body = ErrorBody),
                      (status = 409, body = ErrorBody)))]
        pub async fn $name(
            State(api): State<Api>,
            asker: Asker,
            Path(target): Path<String>,
            Body(request): Body<VerbRequest>,
        ) -> Result<Json<VerbReply>, ApiError> {
            operate(&api, asker, &target, $verb, request.reason.clone(), &request).await
        }
    };
}

plain_verb!(
    /// Keeps the weight, and waits; the canary is still judged.
    pause, "/v1/rollouts/{target}/pause", Verb::Pause);
plain_verb!(
    /// Approves the current approval step.
    approve, "/v1/rollouts/{target}/approve", Verb::Approve);
plain_verb!(
    /// Ends the rollout: canary weight 0, phase Aborted.
    abort, "/v1/rollouts/{target}/abort", Verb::Abort);
/// Goes back: in flight to stable, after success to the version before; with `to`, from any state to that version.
///
/// A second one changes nothing and names what goes further; where there is nothing to go back to it fails.
#[utoipa::path(post, path = "/v1/rollouts/{target}/rollback", tag = "rollouts", request_body = Option<RollbackRequest>,
    params(("target" = String, Path, description = "function:alias, or a rollout's id")),
    responses((status = 200, body = VerbReply), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn rollback(
    State(api): State<Api>,
    asker: Asker,
    Path(target): Path<String>,
    Body(request): Body<RollbackRequest>,
) -> Result<Json<VerbReply>, ApiError> {
    let to = request.to.as_deref().map(version).transpose()?;
    operate(&api, asker, &target, Verb::Rollback { to }, request.reason.clone(), &request).await
}

plain_verb!(
    /// Starts a new rollout of the same plan and version.
    retry, "/v1/rollouts/{target}/retry", Verb::Retry);
