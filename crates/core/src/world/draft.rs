//! A tentative world: decisions are made on it, and it becomes the world only after its changes are committed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use rpds::RedBlackTreeSetSync;
use uuid::Uuid;

use crate::journal::{Entry, Happening};
use crate::lambda::alias::{Alias, AliasId, Routing};
use crate::lambda::function::Revision;
use crate::lambda::policy::PolicyScope;
use crate::model::actor::Actor;
use crate::model::arn::{FunctionName, VersionNumber};
use crate::model::time::Moment;
use crate::ports::{Commit, IdempotentReply, PinnedPlan, Write};
use crate::rollout::{Rollout, RolloutId};
use crate::world::judge::Judge;
use crate::world::notice::Notice;
use crate::world::plans::PlanBook;
use crate::world::watched::Watched;
use crate::world::watcher::Watcher;
use crate::world::{AliasState, FunctionState, World};

/// What decisions look at besides the world.
pub struct DecisionContext<'a> {
    /// Evidence of the active rollouts.
    pub judges: &'a HashMap<RolloutId, Judge>,
    /// What is known of aliases that no rollout moves.
    pub watchers: &'a HashMap<AliasId, Watcher>,
    /// What is known of aliases under plans that watch.
    pub watched: &'a HashMap<AliasId, Watched>,
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
}

/// What an entry is about.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The function.
    pub function: &'a FunctionName,
    /// Its alias, if it is about one.
    pub alias: Option<&'a AliasId>,
    /// The rollout, if it is about one.
    pub rollout: Option<RolloutId>,
}

/// Who changes something, and what they say.
#[derive(Clone, Copy, Debug)]
pub struct By<'a> {
    /// Who.
    pub actor: &'a Actor,
    /// Why, in their words.
    pub reason: Option<&'a str>,
}

/// A tentative world and the changes that lead to it.
pub struct Draft<'a> {
    /// The world as it would be.
    pub world: World,
    /// When all of this is decided.
    pub at: Moment,
    /// What decisions look at besides.
    pub context: &'a DecisionContext<'a>,
    writes: Vec<Write>,
    entries: Vec<Entry>,
    replies: Vec<IdempotentReply>,
    judges: BTreeMap<RolloutId, Judge>,
    undone_judges: Vec<(RolloutId, Option<Judge>)>,
    touched: RedBlackTreeSetSync<Touched>,
    rollouts: RedBlackTreeSetSync<RolloutId>,
    notices: Vec<Notice>,
    urgent: bool,
}

/// Something the router must hear of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Touched {
    /// A function, or its `$LATEST`.
    Function(FunctionName),
    /// A version.
    Version(FunctionName, VersionNumber),
    /// An alias.
    Alias(AliasId),
    /// A policy.
    Policy(FunctionName, PolicyScope),
}

/// A place to return to when a decision is not made after all.
pub struct Mark {
    world: World,
    writes: usize,
    entries: usize,
    replies: usize,
    undone_judges: usize,
    touched: RedBlackTreeSetSync<Touched>,
    rollouts: RedBlackTreeSetSync<RolloutId>,
    notices: usize,
    urgent: bool,
}

/// A draft's changes, ready to be committed.
pub struct Finished {
    /// For the store.
    pub commit: Commit,
    /// The world after it.
    pub world: World,
    /// Evidence that changed with it.
    pub judges: BTreeMap<RolloutId, Judge>,
    /// What the router must hear of.
    pub touched: BTreeSet<Touched>,
    /// Rollouts that changed.
    pub rollouts: BTreeSet<RolloutId>,
    /// What whoever looks after the daemon should know, and no entry tells.
    pub notices: Vec<Notice>,
}

impl<'a> Draft<'a> {
    /// A draft that changes nothing yet.
    pub fn new(world: World, at: Moment, context: &'a DecisionContext<'a>) -> Draft<'a> {
        Draft {
            world,
            at,
            context,
            writes: Vec::new(),
            entries: Vec::new(),
            replies: Vec::new(),
            judges: BTreeMap::new(),
            undone_judges: Vec::new(),
            touched: RedBlackTreeSetSync::new_sync(),
            rollouts: RedBlackTreeSetSync::new_sync(),
            notices: Vec::new(),
            urgent: false,
        }
    }

    /// Marks the present state.
    pub fn mark(&self) -> Mark {
        Mark {
            world: self.world.clone(),
            writes: self.writes.len(),
            entries: self.entries.len(),
            replies: self.replies.len(),
            undone_judges: self.undone_judges.len(),
            touched: self.touched.clone(),
            rollouts: self.rollouts.clone(),
            notices: self.notices.len(),
            urgent: self.urgent,
        }
    }

    /// Returns to a mark: nothing decided since then was.
    pub fn return_to(&mut self, mark: Mark) {
        self.world = mark.world;
        self.writes.truncate(mark.writes);
        self.entries.truncate(mark.entries);
        self.replies.truncate(mark.replies);
        for (id, judge) in self.undone_judges.drain(mark.undone_judges..).rev() {
            match judge {
                Some(judge) => self.judges.insert(id, judge),
                None => self.judges.remove(&id),
            };
        }
        self.touched = mark.touched;
        self.rollouts = mark.rollouts;
        self.notices.truncate(mark.notices);
        self.urgent = mark.urgent;
    }

    /// Whether there is anything to commit at once.
    pub fn has_changes(&self) -> bool {
        !self.entries.is_empty() || !self.replies.is_empty()
    }

    /// The changes, for the commit.
    pub fn finish(self) -> Finished {
        let commit = Commit {
            writes: self.writes,
            entries: self.entries,
            replies: self.replies,
            uptime: self.at.up,
            urgent: self.urgent,
        };
        let Draft { world, judges, notices, .. } = self;
        let touched = self.touched.iter().cloned().collect();
        let rollouts = self.rollouts.iter().copied().collect();
        Finished { commit, world, judges, touched, rollouts, notices }
    }

    /// The sequence number that the next entry will have.
    pub fn next_seq(&self) -> Revision {
        Revision(self.world.seq.0 + 1)
    }

    /// A name for a new rollout: a fresh one that sorts behind every other, so that names keep the journal's order even
    /// where the clock was set back.
    pub fn name_rollout(&mut self, fresh: Uuid) -> RolloutId {
        let id = RolloutId(fresh).behind(self.world.last_id);
        self.world.last_id = Some(id);
        id
    }

    /// Tells whoever looks after the daemon of something that no entry is made of.
    pub fn notice(&mut self, notice: Notice) {
        self.notices.push(notice);
    }

    /// Writes an entry into the journal.
    pub fn journal(
        &mut self,
        by: By<'_>,
        about: About<'_>,
        what: Happening,
        alias_after: Option<Alias>,
    ) -> Revision {
        let seq = self.next_seq();
        self.world.seq = seq;
        self.entries.push(Entry {
            seq,
            at: self.at.wall,
            actor: by.actor.clone(),
            reason: by.reason.map(str::to_owned),
            function: about.function.clone(),
            alias: about.alias.map(|id| id.alias.clone()),
            rollout: about.rollout,
            what,
            alias_after,
        });
        seq
    }

    /// The entries written since a mark was taken.
    pub fn entries_since(&self, mark: &Mark) -> &[Entry] {
        &self.entries[mark.entries..]
    }

    /// Keeps a reply for its idempotency key.
    pub fn keep_reply(&mut self, reply: IdempotentReply) {
        self.replies.push(reply);
    }

    /// A reply kept in this very draft.
    pub fn kept_reply(&self, key: &str) -> Option<&IdempotentReply> {
        self.replies.iter().find(|reply| reply.key == key)
    }

    /// Adds a row to be written.
    pub fn write(&mut self, write: Write) {
        self.writes.push(write);
    }

    /// Says that the commit takes a canary out.
    pub fn mark_urgent(&mut self) {
        self.urgent = true;
    }

    /// Says that the router must hear of something.
    pub fn touch(&mut self, touched: Touched) {
        self.touched.insert_mut(touched);
    }

    /// A function's state, to be changed.
    pub fn function_mut(&mut self, name: &FunctionName) -> Option<&mut FunctionState> {
        self.world.functions.get_mut(name).map(Arc::make_mut)
    }

    /// An alias's state, to be changed.
    pub fn alias_mut(&mut self, id: &AliasId) -> Option<&mut AliasState> {
        self.world.aliases.get_mut(id).map(Arc::make_mut)
    }

    /// Commits a routing to an existing alias with the entry that comes next, and gives the alias as it becomes.
    pub fn route(&mut self, id: &AliasId, routing: Routing) -> Option<Alias> {
        let (seq, at) = (self.next_seq(), self.at.wall);
        let state = self.alias_mut(id)?;
        let expected = state.alias.revision;
        state.alias = Alias { routing, revision: seq, updated_at: at, ..state.alias.clone() };
        let (alias, previous_stable) = (state.alias.clone(), state.previous_stable);
        self.write(Write::PutAlias { alias: alias.clone(), previous_stable, expected: Some(expected) });
        self.touch(Touched::Alias(id.clone()));
        Some(alias)
    }

    /// Keeps a rollout as it becomes, with its evidence.
    pub fn put_rollout(&mut self, rollout: Rollout) {
        let (id, alias, phase) =
            (rollout.record.id, rollout.record.alias.clone(), rollout.record.phase.clone());
        let evidence = self.judge(id).map(Judge::stored);
        let rows = self.judge(id).map(Judge::counts).unwrap_or_default();
        self.write(Write::PutRollout { record: Box::new(rollout.record.clone()), evidence });
        for row in rows {
            self.write(Write::PutCounts { rollout: id, row });
        }
        self.world.rollouts.insert_mut(id, Arc::new(rollout));
        if phase.is_final() {
            self.world.live.remove_mut(&id);
        } else {
            self.world.live.insert_mut(id);
        }
        let (begun, mut forgotten) = (self.has_begun(id), None);
        let last_begun =
            self.world.alias(&alias).and_then(|state| state.last).is_some_and(|last| self.has_begun(last));
        if let Some(state) = self.alias_mut(&alias) {
            state.pending.retain(|pending| *pending != id);
            if state.active == Some(id) {
                state.active = None;
            }
            if phase.is_active() {
                state.active = Some(id);
            } else if !phase.is_final() {
                state.pending.push(id);
                state.pending.sort();
            }
            let is_last = phase.is_active() || (phase.is_final() && !begun && !last_begun);
            if is_last && state.last != Some(id) {
                forgotten = state.last.replace(id);
            } else if state.last != Some(id) && phase.is_final() {
                forgotten = Some(id);
            }
        }
        // Of ended rollouts only the last that began on an alias stays in memory.
        let ended =
            |id: &RolloutId| self.world.rollouts.get(id).is_some_and(|old| old.record.phase.is_final());
        if let Some(old) = forgotten.filter(ended) {
            self.world.rollouts.remove_mut(&old);
        }
        self.rollouts.insert_mut(id);
        self.touch(Touched::Alias(alias));
    }

    fn has_begun(&self, id: RolloutId) -> bool {
        self.world.rollout(id).is_some_and(|rollout| rollout.record.has_begun())
    }

    /// The evidence of a rollout, with what this draft changed.
    pub fn judge(&self, id: RolloutId) -> Option<&Judge> {
        self.judges.get(&id).or_else(|| self.context.judges.get(&id))
    }

    /// The evidence of a rollout, to be changed.
    pub fn set_judge(&mut self, id: RolloutId, judge: Judge) {
        let before = self.judges.insert(id, judge);
        self.undone_judges.push((id, before));
    }
}
