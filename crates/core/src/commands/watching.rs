//! The watch after a promotion: how it begins, what it says, and what ends it.

use crate::analysis::Counts;
use crate::analysis::watch::Watch;
use crate::journal::Happening;
use crate::lambda::alias::AliasId;
use crate::model::actor::Actor;
use crate::plan::OnAlarm;
use crate::ports::Write;
use crate::rollout::watching::{AliasWatch, WatchEvent};
use crate::rollout::{Phase, Rollout, RolloutId};
use crate::world::draft::{About, By, Draft, Touched};
use crate::world::notice::Notice;

/// Begins to watch what a rollout has just promoted, where its plan asks for that.
pub(super) fn begin(draft: &mut Draft<'_>, rollout: &Rollout) {
    let (Some(asked), Phase::Succeeded) = (rollout.plan.watch, &rollout.record.phase) else { return };
    let (id, at) = (rollout.record.alias.clone(), draft.at);
    let watched = draft.context.watched.get(&id);
    let past = draft.judge(rollout.record.id).map(|judge| &judge.evidence.past);
    let (known, phi) =
        past.map(|past| (past.failures.counts(), past.dispersion.phi())).unwrap_or(((0.0, 0.0), 1.0));
    let mut reference: Vec<Counts> =
        watched.map(|watched| watched.days.reference(at.wall).collect()).unwrap_or_default();
    if reference.is_empty() {
        // What the rollout compared with is all that is known.
        let (failures, requests) = known;
        reference.push(Counts { requests: requests as u64, failures: failures.ceil() as u64 });
    }
    let evidence = Watch::begin(reference.into_iter(), phi);
    let limit = evidence.limit;
    let watch = AliasWatch {
        rollout: rollout.record.id,
        version: rollout.record.canary,
        before: rollout.record.stable,
        since: at.up,
        until: at.up.plus(asked.span),
        on_alarm: asked.on_alarm,
        alarmed_at: None,
        evidence,
    };
    let span_ms = asked.span.as_millis() as u64;
    tell(draft, &daemon(), &id, watch.rollout, WatchEvent::Began { version: watch.version, limit, span_ms });
    keep(draft, &id, Some(watch));
}

/// Ends a watch, if there is one, because of what somebody does with the alias.
pub(super) fn end(draft: &mut Draft<'_>, by: By<'_>, id: &AliasId, why: &str) {
    let Some(watch) = draft.world.alias(id).and_then(|state| state.watch.clone()) else { return };
    let evidence = now(draft, id, &watch);
    let event = WatchEvent::Ended { seen: evidence.seen, why: why.to_owned() };
    tell(draft, by.actor, id, watch.rollout, event);
    keep(draft, id, None);
}

/// Says an alarm, and ends the watch when its time is over.
pub(super) fn settle(draft: &mut Draft<'_>, id: &AliasId) {
    let Some(watch) = draft.world.alias(id).and_then(|state| state.watch.clone()) else { return };
    let Some(watched) = draft.context.watched.get(id) else { return };
    if watched.is_alarming(&watch) {
        let evidence = now(draft, id, &watch);
        let (version, limit, seen) = (watch.version, evidence.limit, evidence.seen);
        if watch.on_alarm == OnAlarm::Notify {
            draft.notice(Notice::PromotedFails { alias: id.clone(), version, seen, limit });
        }
        tell(draft, &daemon(), id, watch.rollout, WatchEvent::Alarm { version, limit, seen });
        let alarmed_at = Some(draft.at.wall);
        keep(draft, id, Some(AliasWatch { alarmed_at, evidence, ..(*watch).clone() }));
    }
    if draft.at.up >= watch.until {
        let actor = daemon();
        end(draft, By { actor: &actor, reason: None }, id, "its time is over");
    }
}

fn daemon() -> Actor {
    Actor::daemon()
}

/// What is known of a watch at this moment.
fn now(draft: &Draft<'_>, id: &AliasId, watch: &AliasWatch) -> Watch {
    let live = draft.context.watched.get(id).and_then(|watched| watched.evidence.clone());
    live.unwrap_or_else(|| watch.evidence.clone())
}

fn tell(draft: &mut Draft<'_>, actor: &Actor, id: &AliasId, rollout: RolloutId, event: WatchEvent) {
    let about = About { function: &id.function, alias: Some(id), rollout: Some(rollout) };
    draft.journal(By { actor, reason: None }, about, Happening::Watch { event }, None);
}

fn keep(draft: &mut Draft<'_>, id: &AliasId, watch: Option<AliasWatch>) {
    draft.write(Write::PutWatch { alias: id.clone(), watch: watch.clone().map(Box::new) });
    if let Some(state) = draft.alias_mut(id) {
        state.watch = watch.map(std::sync::Arc::new);
    }
    draft.touch(Touched::Alias(id.clone()));
}
