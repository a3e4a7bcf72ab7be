//! The control core: rounds of decisions over a world, with evidence and deadlines, and no IO at all.
//!
//! The daemon drives it with commands, counters and a clock; simulation drives the very same code with made-up ones. A
//! round looks at the counters that moved, decides the commands and whatever has become due, and answers with the
//! changes. They take effect when they are absorbed, which the daemon does after they are committed.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::analysis::watch::Days;
use crate::commands::{self, Command, Refusal, Reply, settle};
use crate::lambda::alias::AliasId;
use crate::lambda::function::Revision;
use crate::model::arn::VersionNumber;
use crate::model::time::{Moment, Timestamp, Uptime};
use crate::ports::{IdempotentReply, PinnedPlan, Write};
use crate::rollout::watching::AliasWatch;
use crate::rollout::{Facts, Rollout, RolloutId};
use crate::world::World;
use crate::world::draft::{DecisionContext, Draft, Finished, Touched};
use crate::world::judge::Judge;
use crate::world::plans::PlanBook;
use crate::world::tally::{EpochTally, Tallies};
use crate::world::watched::Watched;
use crate::world::watcher::Watcher;

/// What the core looks at and does not own.
pub struct Outside<'a> {
    /// The plans as they are in their directory.
    pub book: &'a PlanBook,
    /// Which revision of an alias live routers serve.
    pub serving: &'a dyn Fn(&AliasId) -> Option<Revision>,
    /// Finds a pinned plan by its digest.
    pub pinned: &'a dyn Fn(&str) -> Option<PinnedPlan>,
    /// Finds a rollout that has ended and is no longer in memory.
    pub past: &'a dyn Fn(RolloutId) -> Option<Rollout>,
    /// Finds the version that an alias was on before a rollout put it on this one, if one did.
    pub before: &'a dyn Fn(&AliasId, VersionNumber) -> Option<VersionNumber>,
    /// Finds how often harm was sought in a version on an alias, by the rollouts that are still known.
    pub tried: &'a dyn Fn(&AliasId, VersionNumber) -> u32,
    /// Finds the reply given to an idempotency key before.
    pub replied: &'a dyn Fn(&str) -> Result<Option<IdempotentReply>, String>,
}

/// What one command got.
pub type Answer = Result<Reply, Refusal>;

/// What a round decided.
pub struct Round {
    /// The changes; empty if nothing changed.
    pub finished: Finished,
    /// The answers, in the order of the commands; to be given once the changes are committed.
    pub answers: Vec<Answer>,
    /// Whether there is anything that must be on disk before it is true.
    pub must_commit: bool,
}

/// A world, its evidence and its deadlines.
pub struct Core {
    /// The world as committed.
    pub world: World,
    /// Evidence of the active rollouts.
    pub judges: HashMap<RolloutId, Judge>,
    /// What is known of aliases that no rollout moves.
    watchers: HashMap<AliasId, Watcher>,
    /// What is known of aliases under plans that watch.
    pub watched: HashMap<AliasId, Watched>,
    deadlines: Deadlines,
}

#[derive(Default)]
struct Deadlines {
    up: BTreeSet<(Uptime, RolloutId)>,
    wall: BTreeSet<(Timestamp, RolloutId)>,
    of: HashMap<RolloutId, (Option<Uptime>, Option<Timestamp>)>,
}

impl Deadlines {
    fn set(&mut self, id: RolloutId, deadline: (Option<Uptime>, Option<Timestamp>)) {
        self.clear(id);
        if let Some(up) = deadline.0 {
            self.up.insert((up, id));
        }
        if let Some(wall) = deadline.1 {
            self.wall.insert((wall, id));
        }
        self.of.insert(id, deadline);
    }

    fn clear(&mut self, id: RolloutId) {
        if let Some((up, wall)) = self.of.remove(&id) {
            up.map(|up| self.up.remove(&(up, id)));
            wall.map(|wall| self.wall.remove(&(wall, id)));
        }
    }

    fn due(&self, at: Moment) -> Vec<RolloutId> {
        let by_up = self.up.iter().take_while(|(up, _)| *up <= at.up).map(|(_, id)| *id);
        let by_wall = self.wall.iter().take_while(|(wall, _)| *wall <= at.wall).map(|(_, id)| *id);
        by_up.chain(by_wall).collect()
    }
}

impl Core {
    /// A core over a world, with the evidence stored for its active rollouts.
    pub fn new(world: World, judges: HashMap<RolloutId, Judge>) -> Core {
        let watched = HashMap::new();
        Core { world, judges, watchers: HashMap::new(), watched, deadlines: Deadlines::default() }
    }

    /// The same with what was stored of days.
    pub fn with_days(mut self, days: Vec<(AliasId, Days)>) -> Core {
        self.watched = days.into_iter().map(|(id, days)| (id, Watched::with_days(days))).collect();
        self
    }

    /// Feeds what is kept of an alias under a plan that watches, after its counters were observed.
    pub fn watch_over(&mut self, id: &AliasId, at: Moment, tallies: &[EpochTally]) {
        // Hardly any alias is watched, and this is asked at each look.
        let Some(watched) = self.watched.get_mut(id) else { return };
        let watch = self.world.alias(id).and_then(|state| state.watch.clone());
        watched.observe(at, tallies, watch.as_deref());
    }

    /// Keeps days for these aliases, for those under a watch, and for no others.
    pub fn keep_watched(&mut self, wanted: &BTreeSet<AliasId>) {
        let is_kept = |id: &&AliasId| wanted.contains(*id) || self.is_watched(id);
        let kept: BTreeSet<AliasId> = self.world.aliases.keys().filter(is_kept).cloned().collect();
        self.watched.retain(|id, _| kept.contains(id));
        for id in kept {
            self.watched.entry(id).or_default();
        }
    }

    /// Whether an alias is under a watch, or will be when its rollout has succeeded.
    fn is_watched(&self, id: &AliasId) -> bool {
        let Some(state) = self.world.alias(id) else { return false };
        let active = state.active.and_then(|active| self.world.rollout(active));
        state.watch.is_some() || active.is_some_and(|rollout| rollout.plan.watch.is_some())
    }

    /// What has changed of watches and days since it was stored last: watches as they are, days by the block.
    pub fn stored_watches(&mut self, at: Moment, all: bool) -> Vec<Write> {
        let mut writes = Vec::new();
        for (id, watched) in &mut self.watched {
            let watch = self.world.alias(id).and_then(|state| state.watch.as_ref());
            if let (Some(watch), Some(evidence)) = (watch, watched.changed_evidence()) {
                let watch = AliasWatch { evidence, ..(**watch).clone() };
                writes.push(Write::PutWatch { alias: id.clone(), watch: Some(Box::new(watch)) });
            }
            for (day, blocks) in watched.changed_days(at.wall, all) {
                writes.push(Write::PutDay { alias: id.clone(), day, blocks });
            }
        }
        writes
    }

    /// Aliases on whose watch something is due.
    pub fn due_watches(&self, up: Uptime) -> Vec<AliasId> {
        let is_due = |(id, watched): &(&AliasId, &Watched)| {
            let watch = self.world.alias(id).and_then(|state| state.watch.as_ref());
            watch.is_some_and(|watch| watched.is_due(watch, up))
        };
        self.watched.iter().filter(is_due).map(|(id, _)| id.clone()).collect()
    }

    /// Judges what the counters of an alias say; true if a canary failure was among it.
    ///
    /// Counts are cumulative, oldest epoch first. Without a rollout to judge, what they say is remembered for the next.
    pub fn observe(&mut self, id: &AliasId, at: Uptime, tallies: &Tallies) -> bool {
        if let Some(judge) = self.judge_of_mut(id) {
            return judge.observe(at, tallies);
        }
        let tallies = &tallies.epochs;
        match self.watchers.get_mut(id) {
            Some(watcher) => watcher.observe(at, tallies),
            None => {
                let mut watcher = Watcher::begin(at);
                watcher.observe(at, tallies);
                self.watchers.insert(id.clone(), watcher);
            }
        }
        false
    }

    /// The judge of an alias's active rollout.
    pub fn judge_of(&self, id: &AliasId) -> Option<&Judge> {
        self.judges.get(&self.world.alias(id)?.active?)
    }

    /// The same, to be told something.
    pub fn judge_of_mut(&mut self, id: &AliasId) -> Option<&mut Judge> {
        let active = self.world.alias(id)?.active?;
        self.judges.get_mut(&active)
    }

    /// Aliases with a rollout that time alone may now move.
    pub fn due_by_time(&self, at: Moment) -> BTreeSet<AliasId> {
        let due = self.deadlines.due(at);
        due.into_iter()
            .filter_map(|id| self.world.rollout(id))
            .map(|rollout| rollout.record.alias.clone())
            .collect()
    }

    /// The least deadlines: on the daemon's clock, and on the wall.
    pub fn next_deadline(&self) -> (Option<Uptime>, Option<Timestamp>) {
        (self.deadlines.up.first().map(|(up, _)| *up), self.deadlines.wall.first().map(|(wall, _)| *wall))
    }

    /// Decides commands, then whatever is due on the aliases named.
    pub fn round(
        &self,
        at: Moment,
        commands: &[Command],
        settle_aliases: &BTreeSet<AliasId>,
        outside: &Outside<'_>,
    ) -> Round {
        let around = DecisionContext {
            judges: &self.judges,
            watchers: &self.watchers,
            watched: &self.watched,
            book: outside.book,
            serving: outside.serving,
            pinned: outside.pinned,
            past: outside.past,
            before: outside.before,
            tried: outside.tried,
        };
        let mut draft = Draft::new(self.world.clone(), at, &around);
        let answers = commands.iter().map(|command| answer(&mut draft, command, outside)).collect();
        for id in settle_aliases {
            settle(&mut draft, id);
        }
        let must_commit = draft.has_changes();
        Round { finished: draft.finish(), answers, must_commit }
    }

    /// Makes a round's changes true and resets the deadlines of what it changed.
    pub fn absorb(&mut self, finished: Finished, at: Moment, outside: &Outside<'_>) {
        self.world = finished.world;
        for (id, judge) in finished.judges {
            self.watchers.remove(&judge.alias);
            self.judges.insert(id, judge);
        }
        for id in finished.rollouts {
            if !self.world.rollout(id).is_some_and(|rollout| rollout.record.phase.is_active())
                && let Some(judge) = self.judges.remove(&id)
            {
                self.watchers.insert(judge.alias.clone(), judge.into_watcher());
            }
            if !self.world.live.contains(&id) {
                self.deadlines.clear(id);
            }
        }
        for touched in &finished.touched {
            if let Touched::Alias(id) = touched {
                match self.world.alias(id) {
                    None => {
                        self.watchers.remove(id);
                        self.watched.remove(id);
                    }
                    Some(_) if self.is_watched(id) => {
                        self.watched.entry(id.clone()).or_default();
                    }
                    Some(_) => {}
                }
                self.reset_deadlines([id], at, outside);
            }
        }
    }

    /// Computes anew when the rollouts of aliases must be looked at; also after a look that led to nothing.
    pub fn reset_deadlines<'a>(
        &mut self,
        ids: impl IntoIterator<Item = &'a AliasId>,
        at: Moment,
        outside: &Outside<'_>,
    ) {
        let live: Vec<Arc<Rollout>> =
            ids.into_iter().flat_map(|id| self.world.live_rollouts_of(id)).collect();
        // All by one draft: its world is not for nothing.
        let deadlines: Vec<_> = self.with_draft(at, outside, |draft| {
            live.iter()
                .map(|rollout| commands::with_facts(draft, rollout, |facts| rollout.deadline(facts)))
                .collect()
        });
        for (rollout, deadline) in live.iter().zip(deadlines) {
            self.deadlines.set(rollout.record.id, deadline);
        }
    }

    /// Puts together what a rollout's next step may depend on, and asks.
    pub fn with_facts<T>(
        &self,
        rollout: &Rollout,
        at: Moment,
        outside: &Outside<'_>,
        ask: impl FnOnce(&Facts<'_>) -> T,
    ) -> T {
        self.with_draft(at, outside, |draft| commands::with_facts(draft, rollout, ask))
    }

    fn with_draft<T>(&self, at: Moment, outside: &Outside<'_>, ask: impl FnOnce(&Draft<'_>) -> T) -> T {
        let around = DecisionContext {
            judges: &self.judges,
            watchers: &self.watchers,
            watched: &self.watched,
            book: outside.book,
            serving: outside.serving,
            pinned: outside.pinned,
            past: outside.past,
            before: outside.before,
            tried: outside.tried,
        };
        ask(&Draft::new(self.world.clone(), at, &around))
    }
}

/// Decides one command; one that came before with the same key gets the same reply.
fn answer(draft: &mut Draft<'_>, command: &Command, outside: &Outside<'_>) -> Answer {
    let Some(key) = &command.key else { return commands::decide(draft, command) };
    let before = match draft.kept_reply(&key.key) {
        Some(kept) => Some(kept.clone()),
        None => (outside.replied)(&key.key).map_err(Refusal::Unavailable)?,
    };
    if let Some(before) = before {
        if before.fingerprint != key.fingerprint {
            return Err(Refusal::KeyReused);
        }
        let reply = serde_json::from_str(&before.reply).map_err(|why| {
            Refusal::Conflict(format!("the reply kept for this idempotency key cannot be read: {why}"))
        })?;
        return commands::repeat(draft, command, reply, before.at);
    }
    let reply = commands::decide(draft, command)?;
    if !matches!(reply, Reply::WouldStart { .. }) {
        draft.keep_reply(IdempotentReply {
            key: key.key.clone(),
            fingerprint: key.fingerprint.clone(),
            reply: serde_json::to_string(&reply)
                .expect("replies have string keys and no failing serializers"),
            at: draft.at.wall,
        });
    }
    Ok(reply)
}
