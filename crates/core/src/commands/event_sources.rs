//! Event source mappings: made, changed and deleted.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::function_settings::TAGS_MAX;
use super::{Refusal, Reply};
use crate::journal::Happening;
use crate::lambda::event_source::EventSource;
use crate::model::arn::FunctionName;
use crate::ports::Write;
use crate::world::draft::{About, By, Draft};

/// What of a mapping is to change; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct EventSourceChange {
    /// The function and the alias or version of it.
    pub function: Option<(FunctionName, Option<String>)>,
    /// Whether it polls.
    pub is_enabled: Option<bool>,
    /// How many messages an invocation gets.
    pub batch_size: Option<u32>,
    /// How long messages are gathered, in seconds.
    pub batching_window_s: Option<u32>,
    /// Whether the function says which messages failed.
    pub reports_item_failures: Option<bool>,
    /// How many batches may be under way; `Some(None)` takes the limit away.
    pub concurrency_max: Option<Option<u32>>,
    /// Patterns that messages must match.
    pub filters: Option<Vec<String>>,
}

/// What of a mapping's tags is to change.
#[derive(Clone, Debug)]
pub enum TagChange {
    /// Add tags, over those of the same name.
    Tag(BTreeMap<String, String>),
    /// Take tags away; one that is not there is no error.
    Untag(Vec<String>),
}

fn check_function(draft: &Draft<'_>, source: &EventSource) -> Result<(), Refusal> {
    if draft.world.has_invoked(&source.function, source.qualifier.as_deref()) {
        Ok(())
    } else {
        Err(Refusal::Invalid("Function does not exist".to_owned()))
    }
}

/// The batch rules that hang on more than one value. The texts are AWS's.
fn check_batches(source: &EventSource) -> Result<(), Refusal> {
    if source.batch_size > 10 && source.batching_window_s == 0 {
        let text =
            "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10";
        return Err(Refusal::Invalid(text.to_owned()));
    }
    if source.source.is_fifo() && source.batching_window_s > 0 {
        let text = "Batching window is not supported for FIFO queues";
        return Err(Refusal::Invalid(text.to_owned()));
    }
    if source.source.is_fifo() && source.batch_size > 10 {
        return Err(Refusal::Invalid("Batch size for FIFO queues cannot exceed 10".to_owned()));
    }
    Ok(())
}

pub(super) fn create(
    draft: &mut Draft<'_>,
    by: By<'_>,
    source: &EventSource,
    fresh: Uuid,
) -> Result<Reply, Refusal> {
    check_function(draft, source)?;
    check_batches(source)?;
    let same = draft.world.event_sources.values().find(|known| {
        (&known.source, &known.function, &known.qualifier)
            == (&source.source, &source.function, &source.qualifier)
    });
    if let Some(same) = same {
        return Err(Refusal::Conflict(format!(
            "An event source mapping with SQS arn (\" {} \") and function (\" {} \") already exists. Please update or \
             delete the existing mapping with UUID {}",
            source.source, source.function, same.id
        )));
    }
    let source = EventSource { id: fresh, modified_at: draft.at.wall, ..source.clone() };
    Ok(put(draft, by, source, "made"))
}

pub(super) fn update(
    draft: &mut Draft<'_>,
    by: By<'_>,
    id: Uuid,
    change: &EventSourceChange,
) -> Result<Reply, Refusal> {
    let known = draft.world.event_sources.get(&id).cloned().ok_or_else(|| absent(id))?;
    let (function, qualifier) =
        change.function.clone().unwrap_or_else(|| (known.function.clone(), known.qualifier.clone()));
    let next = EventSource {
        id,
        source: known.source.clone(),
        function,
        qualifier,
        is_enabled: change.is_enabled.unwrap_or(known.is_enabled),
        batch_size: change.batch_size.unwrap_or(known.batch_size),
        batching_window_s: change.batching_window_s.unwrap_or(known.batching_window_s),
        reports_item_failures: change.reports_item_failures.unwrap_or(known.reports_item_failures),
        concurrency_max: change.concurrency_max.unwrap_or(known.concurrency_max),
        filters: change.filters.clone().unwrap_or_else(|| known.filters.clone()),
        tags: known.tags.clone(),
        modified_at: draft.at.wall,
    };
    check_function(draft, &next)?;
    check_batches(&next)?;
    Ok(put(draft, by, next, "changed"))
}

pub(super) fn tag(draft: &mut Draft<'_>, by: By<'_>, id: Uuid, change: &TagChange) -> Result<Reply, Refusal> {
    let known = draft.world.event_sources.get(&id).cloned().ok_or_else(|| absent(id))?;
    let mut next = EventSource::clone(&known);
    match change {
        TagChange::Tag(tags) => next.tags.extend(tags.clone()),
        TagChange::Untag(keys) => keys.iter().for_each(|key| _ = next.tags.remove(key)),
    }
    if next.tags.len() > TAGS_MAX {
        return Err(Refusal::Invalid("Number of tags exceeds resource tag limit.".to_owned()));
    }
    Ok(put(draft, by, next, "tagged"))
}

fn put(draft: &mut Draft<'_>, by: By<'_>, source: EventSource, what: &str) -> Reply {
    journal(draft, by, &source, what);
    draft.write(Write::PutEventSource(source.clone()));
    draft.world.event_sources.insert_mut(source.id, Arc::new(source.clone()));
    Reply::EventSource(source)
}

pub(super) fn delete(draft: &mut Draft<'_>, by: By<'_>, id: Uuid) -> Result<Reply, Refusal> {
    let known = draft.world.event_sources.get(&id).cloned().ok_or_else(|| absent(id))?;
    journal(draft, by, &known, "deleted");
    draft.write(Write::DeleteEventSource(id));
    draft.world.event_sources.remove_mut(&id);
    Ok(Reply::EventSource(EventSource::clone(&known)))
}

fn journal(draft: &mut Draft<'_>, by: By<'_>, source: &EventSource, what: &str) {
    let about = About { function: &source.function, alias: None, rollout: None };
    let what = Happening::EventSourceChanged { id: source.id, change: what.to_owned() };
    draft.journal(by, about, what, None);
}

fn absent(id: Uuid) -> Refusal {
    Refusal::Absent(format!("there is no event source mapping {id}"))
}
