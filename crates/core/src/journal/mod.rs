//! What happened: the entries of the append-only journal, and how aliases are rebuilt from them.
//!
//! Every change of state is one entry, made in the same transaction as the change, naming who and why. An entry that
//! changes an alias carries the whole alias as it became, so it is a snapshot too: the last such entry of an alias
//! rebuilds it alone, and everything older may be pruned.

pub mod narrate;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::lambda::alias::{Alias, AliasId, Routing};
use crate::lambda::function::Revision;
use crate::model::actor::Actor;
use crate::model::arn::{AliasName, FunctionName, VersionNumber};
use crate::model::time::Timestamp;
use crate::rollout::watching::WatchEvent;
use crate::rollout::{Event, RolloutId};

/// What an entry says happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Happening {
    /// A function came to be.
    FunctionCreated,
    /// A function and all its versions are gone.
    FunctionDeleted,
    /// A version was published.
    VersionPublished {
        /// Its number.
        version: VersionNumber,
        /// What it runs as, in words.
        target: String,
        /// The commit it was built from, as its publisher said.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        commit: Option<String>,
    },
    /// A version is gone.
    VersionDeleted {
        /// Its number.
        version: VersionNumber,
    },
    /// `$LATEST`, or what is kept beside the versions, changed.
    FunctionChanged {
        /// What became how, in words.
        change: String,
    },
    /// A mapping of an event source to the function was made, changed or deleted.
    EventSourceChanged {
        /// The mapping.
        id: Uuid,
        /// What became of it, in words.
        change: String,
    },
    /// An alias came to be.
    AliasCreated,
    /// Somebody changed an alias.
    AliasUpdated {
        /// Where its traffic went.
        from: Routing,
        /// Where it goes.
        to: Routing,
    },
    /// An alias is gone.
    AliasDeleted,
    /// Somebody was allowed something.
    PermissionAdded {
        /// The version or alias; empty for the function.
        qualifier: String,
        /// The statement.
        sid: String,
    },
    /// Somebody is no longer allowed something.
    PermissionRemoved {
        /// The version or alias; empty for the function.
        qualifier: String,
        /// The statement.
        sid: String,
    },
    /// A rollout was made.
    #[serde(rename_all = "camelCase")]
    RolloutStarted {
        /// Its plan's name.
        plan: String,
        /// The plan's digest.
        plan_digest: String,
        /// Where it goes.
        canary: VersionNumber,
        /// The rollout it repeats.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        retry_of: Option<RolloutId>,
    },
    /// A rollout took an event.
    Rollout {
        /// The event.
        event: Event,
        /// The phase after it.
        phase: String,
        /// The step after it.
        step: usize,
        /// Why it stands there, in a sentence.
        #[serde(skip_serializing_if = "String::is_empty", default)]
        outcome: String,
    },
    /// Another process of serin's took over while a rollout was under way.
    TakenOver {
        /// The version of serin before.
        from: String,
        /// The version that goes on.
        to: String,
    },
    /// Something became of the watch after a promotion.
    Watch {
        /// What.
        #[serde(flatten)]
        event: WatchEvent,
    },
    /// The version before a succeeded rollout was restored.
    PreviousRestored {
        /// Where traffic went.
        from: Routing,
        /// Where it goes.
        to: Routing,
    },
    /// Somebody put an alias that no rollout moved on a version they named.
    RolledBackTo {
        /// Where traffic went.
        from: Routing,
        /// Where it goes.
        to: Routing,
    },
}

/// One entry of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place: gapless in one store, and the revision of whatever it changed.
    pub seq: Revision,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// Why, in their words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// On which function.
    pub function: FunctionName,
    /// On which alias of it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub alias: Option<AliasName>,
    /// For which rollout.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rollout: Option<RolloutId>,
    /// What.
    pub what: Happening,
    /// The alias as it became, where the entry changed it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub alias_after: Option<Alias>,
}

impl Entry {
    /// Its alias, if it is about one.
    pub fn alias_id(&self) -> Option<AliasId> {
        let alias = self.alias.clone()?;
        Some(AliasId { function: self.function.clone(), alias })
    }
}

/// Rebuilds every alias from entries in their order.
pub fn fold<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> BTreeMap<AliasId, Alias> {
    let mut aliases = BTreeMap::new();
    for entry in entries {
        match (&entry.alias_after, &entry.what, entry.alias_id()) {
            (Some(alias), _, _) => {
                aliases.insert(alias.id.clone(), alias.clone());
            }
            (None, Happening::AliasDeleted, Some(id)) => {
                aliases.remove(&id);
            }
            _ => {}
        }
    }
    aliases
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::weight::Weight;
    use crate::rollout::{Base, DriftResolution, Harm, HookAnswer, Reading};

    /// Entries are read back for years; a field that shadows another would only show then.
    #[test]
    fn every_kind_of_entry_is_read_back_as_it_was_written() {
        let (one, two) = (VersionNumber(1), VersionNumber(2));
        let split = Routing::split(one, two, Weight::from_ppm(30_000).unwrap());
        let id: AliasId = "checkout:live".parse().unwrap();
        let rollout = RolloutId(uuid::Uuid::from_u128(7));
        let base = Base { stable: one, revision: Revision(3) };
        let evidence = Harm::Evidence {
            ln_harm: 5.0,
            ln_harm_limit: 4.6,
            requests: 9,
            failures: 2,
            copies: Default::default(),
            slowness: None,
        };
        let events = vec![
            Event::Began { base: base.clone() },
            Event::Unstartable { why: "gone".into() },
            Event::Passed { step: 1, held: vec!["bake".into()] },
            Event::RoutingServed { revision: Revision(4) },
            Event::Touched { revision: Revision(4) },
            Event::Drifted { by: Actor::daemon(), found: split, revision: Revision(5) },
            Event::HarmFound { harm: evidence },
            Event::HarmFound { harm: Harm::Exposure { failures: 1, limit: 1 } },
            Event::ExposureReached { requests: 1, limit: 1 },
            Event::StepLate { step: 1 },
            Event::ApprovalTimedOut { step: 1 },
            Event::Promoted { step: 1, full: true, base: Some(base), skipped: vec!["proof".into()] },
            Event::PauseAsked,
            Event::Resumed { drift: Some(DriftResolution::Adopt) },
            Event::Approved,
            Event::AbortAsked,
            Event::RollbackAsked { to: None },
            Event::RollbackAsked { to: Some(one) },
            Event::SupersededBy { rollout: Some(rollout) },
            Event::Measured { metric: "queue-age".into(), weight_step: 2, reading: Reading::Value(12.5) },
            Event::Measured {
                metric: "queue-age".into(),
                weight_step: 2,
                reading: Reading::Nothing("two series".into()),
            },
            Event::HookAnswered { step: 1, round: 0, attempt: 1, answer: HookAnswer::Silent("hang".into()) },
            Event::HarmFound {
                harm: Harm::Metric { metric: "m".into(), value: 2.5, bounds: "at most 2".into(), bad: 1 },
            },
            Event::HarmFound { harm: Harm::Webhook { said: "answered 500".into(), tried: 4 } },
        ];
        let rollouts = events.into_iter().map(|event| Happening::Rollout {
            event,
            phase: "Paused".into(),
            step: 2,
            outcome: "because".into(),
        });
        let others = [
            Happening::FunctionCreated,
            Happening::FunctionDeleted,
            Happening::VersionPublished { version: one, target: "http://a".into(), commit: Some("c".into()) },
            Happening::VersionDeleted { version: one },
            Happening::FunctionChanged { change: "tags".into() },
            Happening::EventSourceChanged { id: Uuid::nil(), change: "deleted".into() },
            Happening::AliasCreated,
            Happening::AliasUpdated { from: split, to: Routing::only(two) },
            Happening::AliasDeleted,
            Happening::PermissionAdded { qualifier: "live".into(), sid: "s".into() },
            Happening::PermissionRemoved { qualifier: "live".into(), sid: "s".into() },
            Happening::RolloutStarted {
                plan: "p".into(),
                plan_digest: "d".into(),
                canary: two,
                retry_of: Some(rollout),
            },
            Happening::TakenOver { from: "0.1.0".into(), to: "0.2.0".into() },
            Happening::PreviousRestored { from: split, to: Routing::only(one) },
            Happening::Watch { event: WatchEvent::Began { version: two, limit: 0.01, span_ms: 3_600_000 } },
            Happening::Watch {
                event: WatchEvent::Alarm { version: two, limit: 0.01, seen: Default::default() },
            },
            Happening::Watch { event: WatchEvent::Ended { seen: Default::default(), why: "over".into() } },
            Happening::RolledBackTo { from: split, to: Routing::only(one) },
        ];
        for what in rollouts.chain(others) {
            let alias = Alias {
                id: id.clone(),
                routing: split,
                description: "d".into(),
                revision: Revision(9),
                updated_at: Timestamp(8),
            };
            let entry = Entry {
                seq: Revision(9),
                at: Timestamp(8),
                actor: Actor::daemon(),
                reason: Some("r".into()),
                function: id.function.clone(),
                alias: Some(id.alias.clone()),
                rollout: Some(rollout),
                what,
                alias_after: Some(alias),
            };
            let text = serde_json::to_string(&entry).unwrap();
            assert_eq!(serde_json::from_str::<Entry>(&text).unwrap(), entry, "{text}");
        }
    }
}
