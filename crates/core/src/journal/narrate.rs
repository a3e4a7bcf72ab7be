//! The journal in sentences, for people who read it at night.

use std::time::Duration;

use crate::journal::{Entry, Happening};
use crate::lambda::alias::Routing;
use crate::model::arn::VersionId;
use crate::model::time::human;
use crate::model::weight::Weight;
use crate::rollout::watching::WatchEvent;
use crate::rollout::{DriftResolution, Event};

/// What an entry says, in one line without time and actor.
pub fn sentence(entry: &Entry) -> String {
    match &entry.what {
        Happening::FunctionCreated => format!("created function {}", entry.function),
        Happening::FunctionDeleted => format!("deleted function {}", entry.function),
        Happening::VersionPublished { version, target, commit } => {
            let commit = commit.as_ref().map_or(String::new(), |commit| format!(" from {commit}"));
            format!("published v{version}{commit} at {target}")
        }
        Happening::VersionDeleted { version } => format!("deleted v{version}"),
        Happening::FunctionChanged { change } => change.clone(),
        Happening::EventSourceChanged { id, change } => format!("{change} event source mapping {id}"),
        Happening::AliasCreated => match &entry.alias_after {
            Some(alias) => format!("created alias {} on {}", alias.id, alias.routing),
            None => "created an alias".to_owned(),
        },
        Happening::AliasUpdated { from, to } if from == to => {
            "touched the alias; its routing stayed".to_owned()
        }
        Happening::AliasUpdated { from, to } => format!("changed the alias from {from} to {to}"),
        Happening::AliasDeleted => "deleted the alias".to_owned(),
        Happening::PermissionAdded { qualifier, sid } => format!("allowed {sid} on {}", scope(qualifier)),
        Happening::PermissionRemoved { qualifier, sid } => {
            format!("no longer allows {sid} on {}", scope(qualifier))
        }
        Happening::RolloutStarted { plan, canary, retry_of, .. } => {
            let again = if retry_of.is_some() { " again" } else { "" };
            format!("started v{canary}{again} by plan {plan}")
        }
        Happening::TakenOver { from, to } if from == to => {
            format!("serin {to} was started anew without a pause; the rollout goes on")
        }
        Happening::TakenOver { from, to } => {
            format!("serin {from} was upgraded to {to}; the rollout goes on")
        }
        Happening::PreviousRestored { from, to } => format!("restored {to} (was {from})"),
        Happening::Watch { event } => watch(event),
        Happening::RolledBackTo { from, to } => format!("rolled back to {to} (was {from})"),
        Happening::Rollout { event, phase, outcome, .. } => rollout(entry, event, phase, outcome),
    }
}

fn watch(event: &WatchEvent) -> String {
    match event {
        WatchEvent::Began { version, limit, span_ms } => format!(
            "watches v{version} for {}: at most {:.2}% of its requests may fail",
            human(Duration::from_millis(*span_ms)),
            limit * 100.0
        ),
        WatchEvent::Alarm { version, limit, seen } => format!(
            "alarm: v{version} fails more often than {:.2}%, {} of {} requests since its promotion",
            limit * 100.0,
            seen.failures,
            seen.requests
        ),
        WatchEvent::Ended { seen, why } => {
            format!("the watch ended, {why}: {} of {} requests had failed", seen.failures, seen.requests)
        }
    }
}

fn scope(qualifier: &str) -> String {
    if qualifier.is_empty() { "the function".to_owned() } else { qualifier.to_owned() }
}

fn rollout(entry: &Entry, event: &Event, phase: &str, outcome: &str) -> String {
    let went = went_to(entry);
    let because =
        |text: &str| if outcome.is_empty() { text.to_owned() } else { format!("{text}: {outcome}") };
    match event {
        Event::Began { .. } => format!("began{went}"),
        Event::Unstartable { why } => format!("cannot begin: {why}"),
        Event::Passed { held, .. } => {
            let how = if phase == "Promoting" { "promoting" } else { "went on" };
            let held = if held.is_empty() { String::new() } else { format!("; {}", holding(held)) };
            format!("{how}{went}{held}")
        }
        Event::RoutingServed { .. } => match phase {
            "Succeeded" => because("succeeded"),
            "RolledBack" => "rolled back; the canary gets no traffic".to_owned(),
            "Aborted" => "aborted; the canary gets no traffic".to_owned(),
            "Superseded" => "superseded; the canary gets no traffic".to_owned(),
            _ => "is served".to_owned(),
        },
        Event::Touched { .. } => "the alias was touched".to_owned(),
        Event::Drifted { by, found, .. } => match phase {
            "Paused" => format!("paused: {by} changed the alias to {found}"),
            _ => format!("{by} changed the alias to {found}{went}"),
        },
        Event::HarmFound { harm } => match phase {
            "RollingBack" => format!("rolling back: {harm}"),
            "Paused" => format!("paused: {harm}"),
            _ => format!("harm found: {harm}"),
        },
        Event::ExposureReached { requests, limit } => {
            format!("paused: {requests} canary requests, maxExposure.requests is {limit}")
        }
        Event::StepLate { .. } | Event::ApprovalTimedOut { .. } => because(match phase {
            "Paused" => "paused",
            _ => "rolling back",
        }),
        Event::Measured { metric, reading, .. } => {
            let text = format!("metric {metric}: {reading}");
            match phase {
                "RollingBack" | "RolledBack" => format!("rolling back: {outcome}"),
                "Paused" if !outcome.is_empty() => format!("paused: {outcome}"),
                _ => text,
            }
        }
        Event::HookAnswered { answer, .. } => match phase {
            "RollingBack" | "RolledBack" => format!("rolling back: {outcome}"),
            "Paused" if !outcome.is_empty() => format!("paused: {outcome}"),
            _ => format!("the web hook {answer}"),
        },
        Event::Promoted { full, skipped, .. } => {
            let how = if *full { "promoted to the end" } else { "promoted" };
            let skipped = match skipped.as_slice() {
                [] => String::new(),
                skipped => format!(", skipping {}", skipped.join("; ")),
            };
            format!("{how}{went}{skipped}")
        }
        Event::PauseAsked => "paused".to_owned(),
        Event::Resumed { drift: None } => "resumed".to_owned(),
        Event::Resumed { drift: Some(DriftResolution::Restore) } => format!("resumed and restored{went}"),
        Event::Resumed { drift: Some(DriftResolution::Adopt) } => {
            "resumed from the foreign weight".to_owned()
        }
        Event::Approved => "approved".to_owned(),
        Event::AbortAsked => format!("aborted{went}"),
        Event::RollbackAsked { .. } if phase == "Aborted" && went.is_empty() => "aborted".to_owned(),
        Event::RollbackAsked { to } => {
            let to = to.map_or_else(String::new, |to| format!(" to v{to}"));
            format!("rolled back{to} by hand{went}")
        }
        Event::SupersededBy { rollout } => {
            let by = rollout.map_or(String::new(), |id| format!(" by rollout {}", id.short()));
            format!("superseded{by}{went}")
        }
    }
}

fn went_to(entry: &Entry) -> String {
    match entry.alias_after.as_ref().map(|alias| alias.routing) {
        None => String::new(),
        Some(Routing { additional: Some(additional), .. }) if additional.weight == Weight::ZERO => {
            format!(" → copies to v{}", additional.version)
        }
        Some(Routing { additional: Some(additional), .. }) => {
            format!(" → v{} {}", additional.version, additional.weight)
        }
        Some(Routing { function_version: VersionId::Number(number), additional: None }) => {
            format!(" → v{number} 100%")
        }
        Some(Routing { function_version: VersionId::Latest, additional: None }) => " → $LATEST".to_owned(),
    }
}

fn holding(held: &[String]) -> String {
    let words: Vec<&str> = held
        .iter()
        .map(|gate| match gate.as_str() {
            "bake" => "bake served",
            "proof" => "proven",
            "window" => "window open",
            "approval" => "approved",
            "pause" => "resumed",
            other => other,
        })
        .collect();
    words.join(", ")
}
