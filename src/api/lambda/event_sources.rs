//! Event source mappings: create, get, list, update, delete. SQS queues are accepted, other sources refused by name.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::error::LambdaError;
use super::functions::{listed, page};
use super::request::{Asked, Body, Payload};
use super::validate::{Violations, is_arn};
use super::{Naming, Scope, tags, unexpected};
use crate::api::Api;
use crate::queues::progress::Course;
use serin_core::commands::{Action, EventSourceChange, Reply};
use serin_core::lambda::event_filter::Filter;
use serin_core::lambda::event_source::{EventSource, QueueArn};
use serin_core::model::arn::Place;
use serin_core::model::time::Timestamp;

const ARN_PATTERN: &str = r"arn:(aws[a-zA-Z0-9-]*):([a-zA-Z0-9\-])+:((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1})?:(\d{12})?:(.*)";
const PAGE_ITEMS_MAX: usize = 100;

/// Members for sources that serin does not poll, or that it would not heed.
const REFUSED: [&str; 18] = [
    "AmazonManagedKafkaEventSourceConfig",
    "BisectBatchOnFunctionError",
    "DocumentDBEventSourceConfig",
    "KMSKeyArn",
    "LoggingConfig",
    "MaximumRecordAgeInSeconds",
    "MaximumRetryAttempts",
    "MetricsConfig",
    "ParallelizationFactor",
    "ProvisionedPollerConfig",
    "Queues",
    "SelfManagedEventSource",
    "SelfManagedKafkaEventSourceConfig",
    "SourceAccessConfigurations",
    "StartingPosition",
    "StartingPositionTimestamp",
    "Topics",
    "TumblingWindowInSeconds",
];

fn absent() -> LambdaError {
    LambdaError::not_found("The resource you requested does not exist.")
}

/// The members that create and update share.
fn read(body: &Body, violations: &mut Violations) -> Result<EventSourceChange, LambdaError> {
    let mut change = EventSourceChange { is_enabled: body.flag("Enabled")?, ..EventSourceChange::default() };
    let mut number = |body: &Body, name: &str, member: &str, min: i64, max: i64| {
        let number = body.integer(name)?;
        number.into_iter().for_each(|number| violations.range(member, number, min, max));
        Ok::<_, LambdaError>(number.and_then(|number| u32::try_from(number).ok()))
    };
    change.batch_size = number(body, "BatchSize", "batchSize", 1, 10_000)?;
    let window = "maximumBatchingWindowInSeconds";
    change.batching_window_s = number(body, "MaximumBatchingWindowInSeconds", window, 0, 300)?;
    if let Some(scaling) = body.object("ScalingConfig")? {
        let member = "scalingConfig.maximumConcurrency";
        change.concurrency_max = Some(number(&scaling, "MaximumConcurrency", member, 2, 1000)?);
    }
    if let Some(types) = body.texts("FunctionResponseTypes")? {
        let is_known = |text: &String| text == "ReportBatchItemFailures";
        if types.len() > 1 || !types.iter().all(is_known) {
            let constraint = "Member must satisfy constraint: [Member must satisfy enum value set: \
                              [ReportBatchItemFailures], Member must not be null]";
            violations.add("functionResponseTypes", &format!("[{}]", types.join(", ")), constraint);
        }
        change.reports_item_failures = Some(!types.is_empty());
    }
    if let Some(criteria) = body.object("FilterCriteria")? {
        let mut filters = Vec::new();
        for filter in criteria.objects("Filters")?.unwrap_or_default() {
            filters.push(filter.text("Pattern")?.unwrap_or_default());
        }
        change.filters = Some(filters);
    }
    Ok(change)
}

/// Reads and checks a body, for fuzzers.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn fuzzed(body: &Body, violations: &mut Violations) -> Result<(), LambdaError> {
    read(body, violations).and_then(|change| check(body, &change))
}

/// What breaks no constraint and still cannot be.
fn check(body: &Body, change: &EventSourceChange) -> Result<(), LambdaError> {
    if body.has("DestinationConfig") {
        return Err(LambdaError::invalid(
            "Unsupported DestinationConfig parameter for given event source mapping type.",
        ));
    }
    if let Some(member) = REFUSED.iter().find(|member| body.has(member)) {
        return Err(LambdaError::invalid(format!("{member} is not supported for SQS queues by serin.")));
    }
    if change.filters.as_ref().is_some_and(|filters| filters.len() > 10) {
        return Err(LambdaError::invalid("The number of filters exceeds the limit of 10."));
    }
    for text in change.filters.iter().flatten() {
        Filter::parse(text).map_err(|error| LambdaError::invalid(error.to_string()))?;
    }
    Ok(())
}

/// Refuses a queue of which SQS says that there is none; one that cannot be asked for now may be there.
async fn check_queue(api: &Api, queue: &QueueArn) -> Result<(), LambdaError> {
    let (sqs, queue) = (Arc::clone(&api.sqs), queue.clone());
    let found = tokio::task::spawn_blocking(move || sqs.queue(&queue)).await;
    match found {
        Ok(Err(why)) if why.is_no_such_queue() => Err(LambdaError::invalid(
            "Error occurred while ReceiveMessage. SQS Error Code: AWS.SimpleQueueService.NonExistentQueue. SQS Error \
             Message: The specified queue does not exist.",
        )),
        // Its poller goes on asking, and says what is wrong.
        _ => Ok(()),
    }
}

fn shape(place: &Place, source: &EventSource, state: &str, course: Course) -> Value {
    let function = source.function.as_str();
    let arn = match &source.qualifier {
        None => place.function_arn(function),
        Some(qualifier) => place.qualified_arn(function, qualifier),
    };
    let mut shape = Map::new();
    let mut put = |key: &str, value: Value| _ = shape.insert(key.to_owned(), value);
    put("UUID", json!(source.id));
    put("BatchSize", json!(source.batch_size));
    put("MaximumBatchingWindowInSeconds", json!(source.batching_window_s));
    put("EventSourceArn", json!(source.source));
    if !source.filters.is_empty() {
        let filters: Vec<Value> =
            source.filters.iter().map(|pattern| json!({ "Pattern": pattern })).collect();
        put("FilterCriteria", json!({ "Filters": filters }));
    }
    if let Some(concurrency) = source.concurrency_max {
        put("ScalingConfig", json!({ "MaximumConcurrency": concurrency }));
    }
    put("FunctionArn", json!(arn));
    put("LastModified", json!(source.modified_at.0 as f64 / 1000.0));
    // As on AWS, a queue's mapping tells of nothing while all is well.
    if let Some(result) = course.last_result.filter(|result| result != "OK") {
        put("LastProcessingResult", json!(result));
    }
    put("State", json!(state));
    put("StateTransitionReason", json!("USER_INITIATED"));
    let types = if source.reports_item_failures { vec!["ReportBatchItemFailures"] } else { Vec::new() };
    put("FunctionResponseTypes", json!(types));
    let mapping = place.event_source_arn(source.id);
    put("EventSourceMappingArn", json!(mapping));
    Value::Object(shape)
}

fn settled(source: &EventSource) -> &'static str {
    if source.is_enabled { "Enabled" } else { "Disabled" }
}

async fn answered(
    api: &Api,
    asked: &Asked,
    action: Action,
    state: impl FnOnce(&EventSource) -> &'static str,
) -> Result<Response, LambdaError> {
    let place = asked.place(api);
    match super::submit(api, &asked.caller, action).await? {
        Ok(Reply::EventSource(source)) => {
            let state = state(&source);
            Ok((StatusCode::ACCEPTED, Json(shape(&place, &source, state, api.event_sources.of(source.id))))
                .into_response())
        }
        Ok(other) => Err(unexpected(&other)),
        Err(refusal) => Err(LambdaError::bare(refusal)),
    }
}

/// CreateEventSourceMapping.
pub async fn create(
    State(api): State<Api>,
    asked: Asked,
    Payload(bytes): Payload,
) -> Result<Response, LambdaError> {
    let body = Body::read(&bytes)?;
    let mut violations = Violations::default();
    let name = body.text("FunctionName")?;
    if name.is_none() {
        violations.missing("functionName");
    }
    let scope =
        name.and_then(|name| Scope::named(&api, &asked.caller, &name, Naming::Namespaced, &mut violations));
    let arn = body.text("EventSourceArn")?;
    if let Some(arn) = arn.as_deref().filter(|arn| !is_arn(arn)) {
        violations.pattern("eventSourceArn", arn, ARN_PATTERN);
    }
    let change = read(&body, &mut violations)?;
    let tags = body.map("Tags")?.unwrap_or_default();
    tags::check(&tags, &mut violations);
    violations.refuse()?;
    tags::check_count(&tags)?;
    let (Some(scope), Some(arn)) = (scope, arn) else {
        return Err(LambdaError::invalid("Unrecognized event source."));
    };
    let source: QueueArn = arn.parse().map_err(|_| {
        LambdaError::invalid(format!(
            "Unrecognized event source. {arn} is not supported: serin polls SQS queues alone."
        ))
    })?;
    check(&body, &change)?;
    check_queue(&api, &source).await?;
    let source = EventSource {
        id: Uuid::nil(),
        source,
        function: scope.function.clone(),
        qualifier: scope.qualifier.clone(),
        is_enabled: change.is_enabled.unwrap_or(true),
        batch_size: change.batch_size.unwrap_or(10),
        batching_window_s: change.batching_window_s.unwrap_or(0),
        reports_item_failures: change.reports_item_failures.unwrap_or(false),
        concurrency_max: change.concurrency_max.flatten(),
        filters: change.filters.unwrap_or_default(),
        tags,
        modified_at: Timestamp(0),
    };
    answered(&api, &asked, Action::CreateEventSource(Box::new(source)), |source| {
        if source.is_enabled { "Creating" } else { "Disabled" }
    })
    .await
}

/// The mapping that a path names.
fn id(asked: &Asked) -> Result<Uuid, LambdaError> {
    let text = asked.path("uuid");
    let mut violations = Violations::default();
    violations.length("uUID", text, 36, 36);
    violations.refuse()?;
    text.parse().map_err(|_| absent())
}

/// GetEventSourceMapping.
pub async fn get(State(api): State<Api>, asked: Asked) -> Result<Response, LambdaError> {
    let id = id(&asked)?;
    let world = api.control.world();
    let source = world.event_sources.get(&id).ok_or_else(absent)?;
    Ok(Json(shape(&asked.place(&api), source, settled(source), api.event_sources.of(id))).into_response())
}

/// UpdateEventSourceMapping.
pub async fn update(
    State(api): State<Api>,
    asked: Asked,
    Payload(bytes): Payload,
) -> Result<Response, LambdaError> {
    let body = Body::read(&bytes)?;
    let id = id(&asked)?;
    let mut violations = Violations::default();
    let name = body.text("FunctionName")?;
    let scope =
        name.and_then(|name| Scope::named(&api, &asked.caller, &name, Naming::Namespaced, &mut violations));
    let mut change = read(&body, &mut violations)?;
    violations.refuse()?;
    let before = api.control.world().event_sources.get(&id).map(|source| source.is_enabled);
    let was_enabled = before.ok_or_else(absent)?;
    check(&body, &change)?;
    change.function = scope.map(|scope| (scope.function, scope.qualifier));
    answered(&api, &asked, Action::UpdateEventSource(id, Box::new(change)), |source| {
        match (was_enabled, source.is_enabled) {
            (false, true) => "Enabling",
            (true, false) => "Disabling",
            (true, true) => "Updating",
            (false, false) => "Disabled",
        }
    })
    .await
}

/// DeleteEventSourceMapping.
pub async fn delete(State(api): State<Api>, asked: Asked) -> Result<Response, LambdaError> {
    answered(&api, &asked, Action::DeleteEventSource(id(&asked)?), |_| "Deleting").await
}

/// ListEventSourceMappings.
pub async fn list(State(api): State<Api>, asked: Asked) -> Result<Response, LambdaError> {
    let mut violations = Violations::default();
    let count = asked.page_items(10_000, PAGE_ITEMS_MAX, &mut violations);
    let scope = asked
        .query("FunctionName")
        .and_then(|name| Scope::named(&api, &asked.caller, name, Naming::Namespaced, &mut violations));
    if let Some(arn) = asked.query("EventSourceArn").filter(|arn| !is_arn(arn)) {
        violations.pattern("eventSourceArn", arn, ARN_PATTERN);
    }
    violations.refuse()?;
    let world = api.control.world();
    let place = asked.place(&api);
    let is_wanted = |source: &EventSource| {
        let is_of_function = scope.as_ref().is_none_or(|scope| {
            scope.function == source.function
                && (scope.qualifier.is_none() || scope.qualifier == source.qualifier)
        });
        is_of_function && asked.query("EventSourceArn").is_none_or(|arn| *arn == source.source.to_string())
    };
    let items = world.event_sources.values().filter(|source| is_wanted(source)).map(|source| {
        let shape = shape(&place, source, settled(source), api.event_sources.of(source.id));
        (source.id.to_string(), shape)
    });
    let (items, next) = page(items, asked.query("Marker"), count);
    Ok(listed("EventSourceMappings", items, next))
}
