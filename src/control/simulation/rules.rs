//! What holds after every turn, whatever happened: the invariants, checked on memory, journal, store and router.

use std::collections::BTreeMap;
use std::time::Duration;

use super::ground::{Ground, Outside};
use crate::control::scheduler::Scheduler;
use crate::control::simulation::script::Fault;
use crate::router::table::RoutingTable;
use serin_core::journal::{Entry, Happening};
use serin_core::lambda::alias::{Alias, AliasId, Routing};
use serin_core::model::arn::{VersionId, VersionNumber};
use serin_core::model::weight::Weight;
use serin_core::plan::{OnDrift, Step};
use serin_core::ports::EntryFilter;
use serin_core::rollout::{Event, Phase, Rollout, RolloutId, RolloutRecord};
use serin_core::world::World;

/// Who set the routing of an alias last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Setter {
    Rollout(RolloutId),
    Person,
}

/// What is remembered between turns.
#[derive(Default)]
pub(super) struct Rules {
    /// The last entry that was looked at.
    seen: u64,
    /// Every alias as the journal tells of it.
    folded: BTreeMap<AliasId, Alias>,
    setters: BTreeMap<AliasId, Setter>,
    /// For how long a process had run when an alias's routing changed last.
    routed: BTreeMap<AliasId, Duration>,
    /// For how long each share of a rollout's canary was served, before its alias's routing changed last.
    served: BTreeMap<(RolloutId, Weight), Duration>,
    finals: BTreeMap<RolloutId, RolloutRecord>,
    digests: BTreeMap<RolloutId, String>,
    before: BTreeMap<RolloutId, RolloutRecord>,
    /// How many entries name each command.
    tags: BTreeMap<String, u64>,
    /// Requests to each version of an alias.
    requests: BTreeMap<(AliasId, VersionId), u64>,
    /// What the canary of a rollout had been asked when it began.
    began_with: BTreeMap<RolloutId, u64>,
}

impl Rules {
    /// How many entries name a command.
    pub(super) fn noted(&self, tag: &str) -> u64 {
        self.tags.get(tag).copied().unwrap_or(0)
    }

    pub(super) fn requested(&mut self, id: &AliasId, version: VersionId) {
        *self.requests.entry((id.clone(), version)).or_default() += 1;
    }

    /// I10: a process that begins knows what the one before had made true.
    pub(super) fn is_what_was(&self, before: &World, now: &World) -> Result<(), Fault> {
        if now.seq < before.seq {
            return Err(format!("I9: the journal was at {} and is at {}", before.seq.0, now.seq.0));
        }
        if now.seq > before.seq {
            // The rest is what the journal says of it, which is looked at next.
            return Ok(());
        }
        for (id, state) in &before.aliases {
            let Some(found) = now.alias(id) else { return Err(format!("I10: alias {id} is gone")) };
            if (&found.alias, found.active, &found.pending) != (&state.alias, state.active, &state.pending) {
                return Err(format!("I10: alias {id} was {:?}, and is {:?}", state.alias, found.alias));
            }
        }
        for id in &before.live {
            let (Some(was), Some(is)) = (before.rollout(*id), now.rollout(*id)) else {
                return Err(format!("I10: rollout {id} is gone"));
            };
            let of = |rollout: &Rollout| {
                let record = &rollout.record;
                let committed =
                    record.committed.as_ref().map(|committed| (committed.routing, committed.revision));
                let place = (record.phase.name(), record.step, record.weight_step, record.planned);
                (place, committed, record.drift.clone(), record.approvals.len(), record.stable, record.canary)
            };
            if of(was) != of(is) {
                return Err(format!("I10: rollout {id} was {:?}, and is {:?}", of(was), of(is)));
            }
        }
        Ok(())
    }

    pub(super) fn check(
        &mut self,
        scheduler: &Scheduler,
        table: &RoutingTable,
        ground: &Ground,
        outside: &Outside,
    ) -> Result<(), Fault> {
        let world = &scheduler.core.world;
        while self.seen < world.seq.0 {
            let filter = EntryFilter { after: self.seen, limit: 1000, ..EntryFilter::default() };
            let entries = scheduler.reader.entries(&filter).map_err(|why| why.to_string())?;
            if entries.is_empty() {
                return Err(format!(
                    "I7: memory is at entry {}, the journal ends at {}",
                    world.seq.0, self.seen
                ));
            }
            for entry in &entries {
                if entry.seq.0 != self.seen + 1 {
                    return Err(format!("I7: entry {} follows entry {}", entry.seq.0, self.seen));
                }
                self.seen = entry.seq.0;
                self.take(entry, world, ground, outside)?;
            }
        }
        self.aliases(scheduler, table)?;
        self.rollouts(world)
    }

    /// One entry of the journal.
    fn take(
        &mut self,
        entry: &Entry,
        world: &World,
        ground: &Ground,
        outside: &Outside,
    ) -> Result<(), Fault> {
        if let Some(tag) = &entry.reason {
            *self.tags.entry(tag.clone()).or_default() += 1;
        }
        let Some(id) = entry.alias_id() else { return Ok(()) };
        let rollout = entry.rollout.and_then(|rollout| world.rollout(rollout));
        let before = self.folded.get(&id).map(|alias| alias.routing);
        let after = entry.alias_after.as_ref().map(|alias| alias.routing);
        if let (Some(before), Some(after), Some(rollout)) = (before, after, rollout) {
            self.is_reason_to_move(entry, rollout, (before, after))?;
        }
        if let (Happening::Rollout { event: Event::Passed { step, held }, .. }, Some(rollout)) =
            (&entry.what, rollout)
        {
            self.passed(&id, rollout, (*step, held), before, ground, outside)?;
        }
        match (&entry.alias_after, &entry.what) {
            (Some(alias), what) => {
                if alias.revision != entry.seq {
                    return Err(format!(
                        "I7: entry {} makes {id} revision {}",
                        entry.seq.0, alias.revision.0
                    ));
                }
                if before != Some(alias.routing) {
                    let since = self.routed.insert(id.clone(), ground.ran()).unwrap_or_default();
                    let active =
                        self.before.values().find(|record| record.alias == id && record.phase.is_active());
                    if let (Some(record), Some(before)) = (active, before) {
                        let served =
                            self.served.entry((record.id, before.share_of(record.canary))).or_default();
                        *served += ground.ran().saturating_sub(since);
                    }
                    let of_rollout = matches!(what, Happening::Rollout { .. });
                    let setter = entry.rollout.filter(|_| of_rollout).map_or(Setter::Person, Setter::Rollout);
                    self.setters.insert(id.clone(), setter);
                }
                self.folded.insert(id.clone(), alias.clone());
            }
            (None, Happening::AliasDeleted) => {
                self.folded.remove(&id);
            }
            (None, _) => {}
        }
        if let (Some(rollout), Happening::Rollout { phase, .. }) = (rollout, &entry.what)
            && ["RolledBack", "Aborted"].contains(&phase.as_str())
        {
            self.is_off(&id, rollout)?;
        }
        Ok(())
    }

    /// I4: a canary gets more only by a step that was passed, by a person, or as the plan settles another hand's change.
    fn is_reason_to_move(
        &self,
        entry: &Entry,
        rollout: &Rollout,
        (before, after): (Routing, Routing),
    ) -> Result<(), Fault> {
        let canary = rollout.record.canary;
        let Happening::Rollout { event, .. } = &entry.what else { return Ok(()) };
        let takes_back = match event {
            Event::HarmFound { .. } | Event::AbortAsked | Event::SupersededBy { .. } => true,
            Event::RollbackAsked { to } => *to != Some(canary),
            Event::Began { .. }
            | Event::Unstartable { .. }
            | Event::Passed { .. }
            | Event::RoutingServed { .. }
            | Event::Touched { .. }
            | Event::Drifted { .. }
            | Event::ExposureReached { .. }
            | Event::StepLate { .. }
            | Event::ApprovalTimedOut { .. }
            | Event::Measured { .. }
            | Event::HookAnswered { .. }
            | Event::Promoted { .. }
            | Event::PauseAsked
            | Event::Resumed { .. }
            | Event::Approved => false,
        };
        if takes_back && after.share_of(canary) > Weight::ZERO {
            return Err(format!("I6: {event:?} leaves the canary of {} at {after}", rollout.record.alias));
        }
        if after.share_of(canary) <= before.share_of(canary) {
            return Ok(());
        }
        let may = match event {
            Event::Passed { .. } | Event::Promoted { .. } | Event::Resumed { .. } | Event::Began { .. } => {
                true
            }
            Event::Drifted { .. } => rollout.plan.on_drift == OnDrift::Restore,
            Event::RollbackAsked { to } => *to == Some(canary),
            Event::Unstartable { .. }
            | Event::RoutingServed { .. }
            | Event::Touched { .. }
            | Event::HarmFound { .. }
            | Event::ExposureReached { .. }
            | Event::StepLate { .. }
            | Event::ApprovalTimedOut { .. }
            | Event::Measured { .. }
            | Event::HookAnswered { .. }
            | Event::PauseAsked
            | Event::Approved
            | Event::AbortAsked
            | Event::SupersededBy { .. } => false,
        };
        if may {
            return Ok(());
        }
        Err(format!("I4: {} went from {before} to {after} by {event:?}", rollout.record.alias))
    }

    /// I11 and I12: what a step that gave more traffic stood on.
    fn passed(
        &self,
        id: &AliasId,
        rollout: &Rollout,
        (step, held): (usize, &[String]),
        before: Option<Routing>,
        ground: &Ground,
        outside: &Outside,
    ) -> Result<(), Fault> {
        let record = &rollout.record;
        let share = before.map_or(Weight::ZERO, |before| before.share_of(record.canary));
        let holds = |kind: &str| held.iter().any(|held| held == kind);
        let was = self.before.get(&record.id);
        let Some(was) = was.filter(|was| was.step == step) else { return Ok(()) };
        if matches!(rollout.plan.step(step), Some(Step::Webhook(_)))
            && outside.told(&record.id.to_string(), None) != Some(true)
        {
            return Err(format!("I12: {id} passed step {step} without its web hook's consent"));
        }
        if holds("metrics") {
            for metric in rollout.plan.analysis.iter().flat_map(|analysis| &analysis.metrics) {
                if outside.told(&record.id.to_string(), Some(&metric.name)) != Some(true) {
                    return Err(format!("I12: {id} passed step {step} on a metric that gave no good number"));
                }
            }
        }
        let gives_more = matches!(rollout.plan.step(step + 1), Some(Step::SetWeight(_)));
        if share == Weight::ZERO || !gives_more {
            return Ok(());
        }
        // Another hand may have changed the weight meanwhile, and what was served before counts as well.
        let before = self.served.get(&(record.id, share)).copied().unwrap_or_default();
        let since = self.routed.get(id).copied().unwrap_or_default();
        let served = before + ground.ran().saturating_sub(since);
        let bake = rollout.plan.default_bake_after(was.weight_step);
        if served < bake {
            return Err(format!("I11: {id} passed step {step} after {served:?} of {bake:?}"));
        }
        if holds("proof") {
            let canary = VersionId::Number(record.canary);
            let requests = self.requests.get(&(id.clone(), canary)).copied().unwrap_or(0);
            let began = self.began_with.get(&record.id).copied().unwrap_or(0);
            if requests <= began {
                return Err(format!("I12: {id} passed step {step} on proof without a request"));
            }
        }
        Ok(())
    }

    /// I6: what was taken back has no traffic, unless another hand gave it some.
    fn is_off(&self, id: &AliasId, rollout: &Rollout) -> Result<(), Fault> {
        let record = &rollout.record;
        let Some(alias) = self.folded.get(id) else { return Ok(()) };
        let is_ours = self.setters.get(id) == Some(&Setter::Rollout(record.id));
        let is_meant = record.ended_on == Some(record.canary);
        if is_ours && !is_meant && alias.routing.share_of(record.canary) > Weight::ZERO {
            return Err(format!("I6: {id} is {} after {}", alias.routing, record.phase.name()));
        }
        Ok(())
    }

    fn aliases(&self, scheduler: &Scheduler, table: &RoutingTable) -> Result<(), Fault> {
        let world = &scheduler.core.world;
        for (id, state) in &world.aliases {
            let alias = &state.alias;
            if self.folded.get(id) != Some(alias) {
                return Err(format!("I7: {id} is {alias:?}, the journal says {:?}", self.folded.get(id)));
            }
            if let Some(why) = &state.quarantine {
                return Err(format!("{id} is quarantined: {why}"));
            }
            let function = world.function(&id.function);
            let exists = |version| function.is_some_and(|function| function.configuration(version).is_some());
            let additional = alias.routing.additional;
            let named = std::iter::once(alias.routing.function_version)
                .chain(additional.map(|additional| VersionId::Number(additional.version)));
            if let Some(version) = named.into_iter().find(|version| !exists(*version)) {
                return Err(format!("I1: {id} names version {version}, which is not there"));
            }
            if additional
                .is_some_and(|beside| VersionId::Number(beside.version) == alias.routing.function_version)
                || (additional.is_some() && alias.routing.function_version == VersionId::Latest)
            {
                return Err(format!("I1: {id} is {}", alias.routing));
            }
            let serves = table.serving(id);
            let is_served = |routing: Routing| serves == Some((alias.revision, routing));
            let overlay = state
                .active
                .and_then(|active| world.rollout(active))
                .map(|rollout| alias.routing.without(rollout.record.canary, rollout.record.stable));
            let is_overlaid = scheduler.overlaid.contains(id);
            if !(is_served(alias.routing) || (is_overlaid && overlay.is_some_and(is_served))) {
                return Err(format!(
                    "I8: {id} is {} at {}, the router serves {serves:?}",
                    alias.routing, alias.revision.0
                ));
            }
            if let Some(version) =
                state.previous_stable.filter(|version| !exists(VersionId::Number(*version)))
            {
                return Err(format!("I17: {id} would go back to version {version}, which is not there"));
            }
        }
        Ok(())
    }

    /// I19: where nothing is due at once and the disk takes what comes, nobody waits for what is so already, no canary is
    /// out unseen, and no answer is waited for that nobody was asked for.
    pub(super) fn rests(
        &self,
        scheduler: &Scheduler,
        table: &RoutingTable,
        outside: &Outside,
    ) -> Result<(), Fault> {
        let world = &scheduler.core.world;
        if let Some(id) = scheduler.overlaid.first() {
            return Err(format!("I19: the canary of {id} is out, and nothing is against it"));
        }
        if !scheduler.asked.is_empty() && !outside.is_asked() {
            return Err(format!("I19: nobody is asked, and answers are awaited: {:?}", scheduler.asked));
        }
        let active = world.aliases.values().filter_map(|state| Some((state, world.rollout(state.active?)?)));
        for (state, rollout) in active {
            let committed = rollout.record.committed.as_ref();
            let is_served =
                table.serving(&state.alias.id) == Some((state.alias.revision, state.alias.routing));
            if is_served && committed.is_some_and(|committed| !committed.served) {
                return Err(format!(
                    "I19: {} is served as {}, and its rollout does not know",
                    state.alias.id, state.alias.routing
                ));
            }
        }
        Ok(())
    }

    fn rollouts(&mut self, world: &World) -> Result<(), Fault> {
        let mut active: BTreeMap<&AliasId, RolloutId> = BTreeMap::new();
        for (id, rollout) in &world.rollouts {
            let record = &rollout.record;
            let digest = self.digests.entry(*id).or_insert_with(|| record.plan_digest.clone());
            if *digest != record.plan_digest {
                return Err(format!("I16: rollout {id} has another plan"));
            }
            if record.phase.is_final() {
                let first = self.finals.entry(*id).or_insert_with(|| record.clone());
                if first.phase != record.phase
                    || first.step != record.step
                    || first.updated_at != record.updated_at
                {
                    return Err(format!("I5: rollout {id} was {:?} and is {:?}", first.phase, record.phase));
                }
                continue;
            }
            if let Some(was) = self.finals.get(id) {
                return Err(format!("I5: rollout {id} was {:?} and is {:?}", was.phase, record.phase));
            }
            if record.phase.is_active() && active.insert(&record.alias, *id).is_some() {
                return Err(format!("I14: two rollouts move {}", record.alias));
            }
            let state = world.alias(&record.alias);
            if record.phase.is_active() != (state.and_then(|state| state.active) == Some(*id)) {
                return Err(format!(
                    "I14: rollout {id} is {:?}, {} does not know",
                    record.phase, record.alias
                ));
            }
            if let Some(before) = self.before.get(id)
                && before.step > record.step
            {
                return Err(format!(
                    "I3: rollout {id} went from step {} back to {}",
                    before.step, record.step
                ));
            }
            if record.phase.is_active() {
                self.moves_only_as_planned(world, rollout)?;
                let canary = (record.alias.clone(), VersionId::Number(record.canary));
                let requests = self.requests.get(&canary).copied().unwrap_or(0);
                self.began_with.entry(*id).or_insert(requests);
            }
        }
        self.before = world.rollouts.iter().map(|(id, rollout)| (*id, rollout.record.clone())).collect();
        Ok(())
    }

    /// I2 and I15: an active rollout's alias has the weight it planned, or what another hand made of it.
    fn moves_only_as_planned(&self, world: &World, rollout: &Rollout) -> Result<(), Fault> {
        let record = &rollout.record;
        let Some(state) = world.alias(&record.alias) else {
            return Err(format!("rollout {} moves {}, which is gone", record.id, record.alias));
        };
        let routing = state.alias.routing;
        let exists = |version: VersionNumber| {
            world
                .function(&record.alias.function)
                .is_some_and(|function| function.versions.contains_key(&version))
        };
        if !(exists(record.stable) && exists(record.canary)) {
            return Err(format!("I17: a version of rollout {} is gone", record.id));
        }
        if record.known_routing() != Some(routing) {
            return Err(format!(
                "I15: rollout {} counts on {:?}, {} is {routing}",
                record.id,
                record.known_routing(),
                record.alias
            ));
        }
        let share = routing.share_of(record.canary);
        let is_as_planned = match record.phase {
            Phase::Progressing | Phase::Paused(_) => share == record.planned || share == Weight::ZERO,
            Phase::Pending
            | Phase::Promoting
            | Phase::RollingBack(_)
            | Phase::Succeeded
            | Phase::RolledBack
            | Phase::Aborted
            | Phase::Superseded => true,
        };
        let is_settled = self.setters.get(&record.alias) == Some(&Setter::Rollout(record.id));
        if record.drift.is_none() && is_settled && !is_as_planned {
            return Err(format!("I2: {} is {routing}, and {} is planned", record.alias, record.planned));
        }
        Ok(())
    }
}
