//! The thread that decides: it sleeps to the least deadline and wakes on whatever happens.
//!
//! One turn takes everything that came in, looks at the counters that moved, decides it all in one round of the core,
//! and hands the round to `commit`. It also keeps time: uptime is credited in ticks and stored, with the evidence, at
//! least every five seconds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, mpsc};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::data_plane::DataPlane;
use super::handle::{CommandError, Control, Input, Parts, QueryContext, Question};
use super::{notices, publish};
use crate::chance;
use crate::clock::{self, Clock};
use crate::metrics::outside::{Asker, Pool, Settings as OutsideSettings};
use crate::metrics::recorder::{EpochCounts, Recorder};
use crate::router::table::Edit;
use crate::store::{self, Pruned, Reader, Spill, StoreError, Writer};
use serin_core::analysis::Counts;
use serin_core::commands::{Action, Command, IdempotencyKey, Reply, Trigger};
use serin_core::engine::core::{Core, Outside};
use serin_core::engine::triggers::Schedules;
use serin_core::lambda::alias::AliasId;
use serin_core::model::actor::Actor;
use serin_core::model::arn::VersionNumber;
use serin_core::model::histogram::HistogramSnapshot;
use serin_core::model::time::{Moment, Timestamp, Uptime};
use serin_core::ports::{Commit, RolloutFilter, Write};
use serin_core::rollout::{Answer, ExternalCheck, Phase, Rollout, RolloutId};
use serin_core::world::judge::Judge;
use serin_core::world::plans::{PlanBook, PlanFile, reread_plan};
use serin_core::world::tally::{ArmTally, EpochTally, KeptCohorts, Tallies};
use serin_core::world::watcher::WATCH_EVERY;

/// Counters are looked at this often while they move.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Questions are answered for so long before canaries are looked at again, and one longer; the rest waits.
const ANSWERING_MAX: Duration = Duration::from_millis(20);
/// The thread never sleeps longer, so that uptime is credited in full.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// Uptime and evidence are stored at least this often.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(5);
/// After a start they are stored after so long, then after twice that, and so on: who is killed every few seconds keeps
/// half of it all the same.
const CHECKPOINT_FIRST: Duration = Duration::from_millis(250);
/// Old rows are removed this often.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);
/// And so long after a start for the first time.
const PRUNE_FIRST: Duration = Duration::from_secs(10);
/// Replies are kept for their idempotency keys at least this long.
const REPLIES_KEPT: Duration = Duration::from_secs(48 * 3600);
/// More commands than this wait for the next round.
const COMMANDS_MAX: usize = 1000;
/// So many plan files that have become faulty at once are told of one by one.
const FAULTS_TOLD_MAX: usize = 10;
/// Among so many of an alias's last successes the one that brought a version is looked for.
const SUCCEEDED_LOOKED_AT: u32 = 200;

type Waiting = oneshot::Sender<Result<Reply, CommandError>>;

pub(super) struct Scheduler {
    pub(super) inbox: mpsc::Receiver<Input>,
    pub(super) backlog: VecDeque<Input>,
    pub(super) core: Core,
    pub(super) book: Arc<PlanBook>,
    pub(super) schedules: Schedules,
    pub(super) writer: Writer,
    pub(super) reader: Reader,
    pub(super) data_plane: Arc<dyn DataPlane>,
    pub(super) recorder: Arc<Recorder>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) keep_history: Duration,
    pub(super) shared: Control,
    pub(super) counts: Vec<EpochCounts>,
    pub(super) tallies: Tallies,
    pub(super) alarms: BTreeSet<AliasId>,
    /// Aliases to look at in the next turn, whatever the clock says.
    pub(super) again: BTreeSet<AliasId>,
    pub(super) overlaid: BTreeSet<AliasId>,
    /// Ways back that somebody asked for and that could not be stored yet, of aliases that are overlaid.
    pub(super) owed: BTreeMap<AliasId, Command>,
    /// What the router goes on serving that the world does not tell of.
    pub(super) last_table: Vec<Edit>,
    pub(super) spill: Spill,
    pub(super) looked: Uptime,
    pub(super) watched: Uptime,
    pub(super) booted: Uptime,
    pub(super) checkpointed: Uptime,
    pub(super) prune_at: Uptime,
    pub(super) pruning: Option<mpsc::Receiver<Result<Pruned, StoreError>>>,
    /// Rollouts whose memory is newer than their row; only confirmations and evidence ever are.
    pub(super) dirty: BTreeSet<RolloutId>,
    pub(super) retry_at: Option<Uptime>,
    /// Something could be stored again since the last turn.
    pub(super) has_recovered: bool,
    pub(super) closing: bool,
    /// What is being asked outside.
    pub(super) asked: BTreeSet<ExternalCheck>,
    pub(super) answers: Vec<(ExternalCheck, Answer)>,
    pub(super) asker: Box<dyn Asker>,
    pub(super) outside: Arc<OutsideSettings>,
    /// Pauses of rollouts whose plans want what this daemon is not given, to be asked for in the next turn.
    pub(super) pauses: Vec<Command>,
    /// When each was asked for last.
    pub(super) paused: BTreeMap<RolloutId, Uptime>,
}

impl Scheduler {
    pub(super) fn new(inbox: mpsc::Receiver<Input>, parts: Parts, shared: &Control) -> Scheduler {
        Scheduler {
            inbox,
            backlog: VecDeque::new(),
            core: parts.core,
            book: Arc::new(parts.book),
            schedules: Schedules::default(),
            writer: parts.writer,
            reader: parts.reader,
            data_plane: parts.data_plane,
            recorder: parts.recorder,
            clock: parts.clock,
            keep_history: parts.keep_history,
            shared: shared.clone(),
            counts: Vec::new(),
            tallies: Tallies::default(),
            alarms: BTreeSet::new(),
            again: BTreeSet::new(),
            overlaid: BTreeSet::new(),
            owed: BTreeMap::new(),
            last_table: parts.last_table,
            spill: parts.spill,
            looked: Uptime(0),
            watched: Uptime(0),
            booted: Uptime(0),
            checkpointed: Uptime(0),
            prune_at: Uptime(0),
            pruning: None,
            dirty: BTreeSet::new(),
            retry_at: None,
            has_recovered: false,
            closing: false,
            asked: BTreeSet::new(),
            answers: Vec::new(),
            asker: Box::new(Pool::default()),
            outside: Arc::new(parts.outside),
            pauses: Vec::new(),
            paused: BTreeMap::new(),
        }
    }

    pub(super) fn boot(&mut self) {
        let at = self.clock.now();
        (self.looked, self.watched, self.booted, self.checkpointed) = (at.up, at.up, at.up, at.up);
        // Soon, because a process may not live for long, and not at once, because it has more urgent things to do.
        self.prune_at = at.up.plus(PRUNE_FIRST);
        for id in self.live_aliases() {
            self.tell_counters(&id);
        }
        self.data_plane.publish(publish::whole_table(&self.core.world));
        self.core.keep_watched(&self.book.watching());
        let last_table = std::mem::take(&mut self.last_table);
        self.data_plane.publish(publish::missing(&self.core.world, last_table));
        if self.shared.health().trouble.is_some() {
            // What is counted from here on may never be stored: who is killed again and again would never judge.
            for id in self.live_aliases() {
                self.overlay(&id);
            }
            self.retry_at = Some(at.up);
        }
        self.schedules.follow(&self.book, at.wall);
        self.again = self.live_aliases();
        // A first turn commits what was due, a second one what the router's confirmation of the first leads to.
        self.turn(Vec::new());
        self.turn(Vec::new());
    }

    pub(super) fn live_aliases(&self) -> BTreeSet<AliasId> {
        let world = &self.core.world;
        world
            .live
            .iter()
            .filter_map(|id| world.rollout(*id))
            .map(|rollout| rollout.record.alias.clone())
            .collect()
    }

    pub(super) fn run(mut self) {
        while !self.closing {
            let commands = self.receive();
            self.turn(commands);
            self.shared.pulse.turned();
        }
        self.close();
    }

    /// Stores what was counted last, and tells whoever goes on what was judged.
    pub(super) fn close(mut self) {
        self.shared.closed.store(true, Ordering::Relaxed);
        let at = self.clock.now();
        // What was counted since the last look is evidence, too; whoever goes on decides by it.
        let mut watched: Vec<AliasId> = self.core.judges.values().map(|judge| judge.alias.clone()).collect();
        watched.retain(|id| !self.overlaid.contains(id));
        let mut judged = Vec::new();
        for id in watched {
            self.observe(&id, at);
            judged.push((id, self.counts.clone()));
        }
        self.checkpoint(at);
        *self.shared.judged.lock().unwrap_or_else(PoisonError::into_inner) = judged;
    }

    /// Sleeps until something comes in or is due, and takes what came in.
    fn receive(&mut self) -> Vec<(Command, Waiting)> {
        let patience = self.patience();
        if self.backlog.is_empty() && patience > Duration::ZERO {
            match self.inbox.recv_timeout(patience) {
                Ok(input) => self.backlog.push_back(input),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => self.closing = true,
            }
        }
        self.take_inputs()
    }

    /// Takes what came in by now.
    pub(super) fn take_inputs(&mut self) -> Vec<(Command, Waiting)> {
        self.hear();
        let begun = clock::instant_now();
        let mut commands = Vec::new();
        while let Some(input) = self.backlog.pop_front() {
            match input {
                Input::Command(command, asker) => commands.push((*command, asker)),
                Input::Ask(question) => self.answer(question),
                Input::Alarm(alias) => {
                    self.alarms.insert(alias);
                }
                Input::Plans(book) => self.take_plans(*book),
                Input::Answered(answered) => self.answers.push(*answered),
                Input::Close => self.closing = true,
            }
            if commands.len() == COMMANDS_MAX || Scheduler::has_answered_for_long(begun) {
                break;
            }
        }
        commands
    }

    /// Lists what came in behind what waits already; a canary that fails does not wait behind questions.
    pub(super) fn hear(&mut self) {
        for input in self.inbox.try_iter() {
            if let Input::Alarm(alias) = input {
                self.alarms.insert(alias);
            } else {
                self.backlog.push_back(input);
            }
        }
    }

    /// Whether canaries should be looked at before more is answered.
    pub(super) fn has_answered_for_long(since: Instant) -> bool {
        clock::instant_now().duration_since(since) >= ANSWERING_MAX
    }

    fn patience(&self) -> Duration {
        let at = self.clock.now();
        let looks = self.carries_canary().then(|| self.looked.plus(LOOK_EVERY).since(at.up));
        self.due_in().into_iter().chain(looks).min().unwrap_or(SLEEP_MAX).min(SLEEP_MAX)
    }

    /// How long it is until something is due that no input brings; `None` if nothing is.
    pub(super) fn due_in(&self) -> Option<Duration> {
        if !self.again.is_empty() || !self.alarms.is_empty() || !self.pauses.is_empty() {
            return Some(Duration::ZERO);
        }
        let at = self.clock.now();
        let (up, wall) = self.core.next_deadline();
        let schedule = self.schedules.next().filter(|time| *time < Timestamp(i64::MAX));
        let waits = [
            up.map(|up| up.since(at.up)),
            wall.map(|wall| wall.since(at.wall)),
            schedule.map(|time| time.since(at.wall)),
            self.retry_at.map(|retry| retry.since(at.up)),
        ];
        waits.into_iter().flatten().min()
    }

    /// Whether any rollout has a canary whose counts could move.
    fn carries_canary(&self) -> bool {
        !self.core.judges.is_empty()
    }

    fn take_plans(&mut self, book: PlanBook) {
        let book = Arc::new(book.succeed(&self.book));
        let is_news = |file: &&PlanFile| {
            !file.is_sound()
                && self.book.files.get(&file.name).is_none_or(|known| known.source != file.source)
        };
        let faulty: Vec<&PlanFile> = book.files.values().filter(is_news).collect();
        for file in faulty.iter().take(FAULTS_TOLD_MAX) {
            let what = file.problem.clone().or_else(|| file.faults.first().map(ToString::to_string));
            tracing::warn!(plan = file.name, why = what, "a plan file is not in order");
        }
        if let Some(more @ 1..) = faulty.len().checked_sub(FAULTS_TOLD_MAX) {
            tracing::warn!("{more} more plan files are not in order; `serin plan list` has them all");
        }
        self.name_lacks(&book);
        self.book = Arc::clone(&book);
        self.core.keep_watched(&book.watching());
        self.schedules.follow(&book, self.clock.now().wall);
        self.shared.book.store(book);
    }

    pub(super) fn answer(&self, question: Question) {
        let at = self.clock.now();
        with_outside(&self.book, &*self.data_plane, &self.reader, |outside| {
            question(&QueryContext { core: &self.core, outside, at, overlaid: &self.overlaid });
        });
    }

    /// One turn: look, decide, commit, publish, answer.
    pub(super) fn turn(&mut self, commands: Vec<(Command, Waiting)>) {
        let at = self.clock.now();
        self.take_canaries_in();
        let mut settle = std::mem::take(&mut self.again);
        settle.append(&mut self.look(at));
        settle.extend(self.core.due_by_time(at));
        let retry = self.retry_at.take_if(|retry| *retry <= at.up).is_some();
        if retry {
            settle.extend(self.live_aliases());
        }
        // What was asked for before comes first.
        let owed = self.take_owed(retry).into_iter().map(|command| (command, None));
        let (mut commands, askers): (Vec<Command>, Vec<Option<Waiting>>) =
            owed.chain(commands.into_iter().map(|(command, asker)| (command, Some(asker)))).unzip();
        commands.extend(self.scheduled(at));
        commands.append(&mut self.pauses);
        for (check, answer) in std::mem::take(&mut self.answers) {
            let (command, alias) = self.take_answer(check, answer);
            commands.push(command);
            settle.extend(alias);
        }
        if commands.is_empty() && settle.is_empty() {
            self.try_store(retry, at);
            self.housekeep(at);
            return;
        }
        let round = with_outside(&self.book, &*self.data_plane, &self.reader, |outside| {
            self.core.round(at, &commands, &settle, outside)
        });
        let answers = self.carry_out(round, at, &settle);
        for ((asker, answer), command) in askers.into_iter().zip(answers).zip(&commands) {
            let answer = self.owe(command, answer);
            if let Some(asker) = asker {
                let _ = asker.send(answer);
            }
        }
        self.send_external_checks(&settle, at);
        self.try_store(retry, at);
        self.housekeep(at);
    }

    /// Feeds counters that moved to the evidence, and says which aliases are worth a decision.
    pub(super) fn look(&mut self, at: Moment) -> BTreeSet<AliasId> {
        let mut worth = BTreeSet::new();
        let alarmed = std::mem::take(&mut self.alarms);
        if at.up.since(self.looked) >= LOOK_EVERY {
            self.looked = at.up;
            let is_due = |judge: &&Judge| {
                self.recorder.moved(&judge.alias) || judge.waits() || alarmed.contains(&judge.alias)
            };
            let due = self.core.judges.values().filter(is_due).map(|judge| judge.alias.clone());
            worth = due.collect();
            for id in &worth {
                self.observe(id, at);
            }
        }
        if at.up.since(self.watched) >= WATCH_EVERY {
            self.watched = at.up;
            let world = self.core.world.clone();
            let unjudged = world.aliases.iter().filter(|(_, state)| state.active.is_none());
            for (id, _) in unjudged {
                if self.recorder.moved(id) {
                    self.observe(id, at);
                }
            }
            worth.extend(self.core.due_watches(at.up));
        }
        for id in alarmed {
            if !worth.contains(&id) {
                self.observe(&id, at);
                worth.insert(id);
            }
        }
        worth
    }

    fn observe(&mut self, id: &AliasId, at: Moment) {
        // Before the counts are read, so that a failure after the reading rings again.
        self.recorder.clear_alarm(id);
        if self.overlaid.contains(id) {
            return;
        }
        let active = self.core.world.alias(id).and_then(|state| state.active);
        let judge = active.and_then(|active| self.core.judges.get(&active));
        let since = |epoch| judge.and_then(|judge| judge.needs_since(epoch));
        let was_harmful = judge.is_some_and(|judge| judge.evidence.is_harmful());
        self.recorder.counts(id, &mut self.counts, since, &mut self.tallies.slots);
        self.tallies.epochs.clear();
        self.tallies.epochs.extend(self.counts.iter().map(tally));
        self.core.observe(id, at.up, &self.tallies);
        self.core.watch_over(id, at, &self.tallies.epochs);
        if let Some(judge) = active.and_then(|active| self.core.judges.get_mut(&active)) {
            if !was_harmful && judge.evidence.is_harmful() {
                tracing::warn!(alias.name = %id, "its canary is found harmful");
            }
            for (from, edges) in judge.news_for_counters() {
                self.recorder.hold_against(id, from, edges);
            }
        }
        // An epoch has several counters where requests are mirrored: it is done with when all of them are.
        let unended = self.counts.iter().find(|epoch| !epoch.is_final).map(|epoch| epoch.epoch);
        let judged = self.counts.iter().rfind(|epoch| unended.is_none_or(|unended| epoch.epoch < unended));
        if let Some(last) = judged {
            self.recorder.retire(id, last.epoch);
        }
        self.dirty.extend(active);
    }

    /// Makes known to the counters what requests must be held against, before any such request is dispatched.
    pub(super) fn tell_counters(&mut self, id: &AliasId) {
        if let Some(judge) = self.core.judge_of_mut(id) {
            for (from, edges) in judge.news_for_counters() {
                self.recorder.hold_against(id, from, edges);
            }
        }
    }

    /// The starts of plans whose time has come.
    fn scheduled(&mut self, at: Moment) -> Vec<Command> {
        let mut missed = Vec::new();
        let due = self.schedules.due(&self.book, at.wall, &mut missed);
        missed.iter().for_each(notices::log);
        let command = |(plan, occurrence): (Arc<serin_core::world::plans::ReadPlan>, Timestamp)| {
            let trigger = Trigger::Cron { occurrence };
            let key = format!("cron/{}/{}", plan.pinned.name, occurrence.0);
            Command {
                actor: Actor::daemon(),
                reason: Some(trigger.to_string()),
                key: Some(IdempotencyKey { fingerprint: key.clone(), key }),
                fresh: chance::new_id(at.wall),
                action: Action::Start { plan, to: None, again: false, dry_run: false, trigger },
            }
        };
        due.into_iter().map(command).collect()
    }

    fn housekeep(&mut self, at: Moment) {
        let pause = self.checkpointed.since(self.booted).clamp(CHECKPOINT_FIRST, CHECKPOINT_EVERY);
        if at.up.since(self.checkpointed) >= pause {
            self.checkpoint(at);
        }
        if let Some(pruning) = &self.pruning
            && let Some(result) = crate::store::wait_for(pruning, Duration::ZERO)
        {
            self.pruning = None;
            match result {
                Ok(pruned) if pruned != Pruned::default() => {
                    tracing::debug!(?pruned, "old history was removed");
                    // There may be more than one batch.
                    self.prune_at = at.up;
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(error = store::in_full(&error), "old history could not be removed")
                }
            }
        }
        if self.pruning.is_none() && at.up >= self.prune_at {
            self.prune_at = at.up.plus(PRUNE_EVERY);
            let before = |kept: Duration| Timestamp(at.wall.0.saturating_sub(kept.as_millis() as i64));
            self.pruning = Some(self.writer.prune(before(self.keep_history), before(REPLIES_KEPT)));
        }
    }

    /// Stores uptime, evidence and confirmations, so that a kill costs at most the time since the last time.
    fn checkpoint(&mut self, at: Moment) {
        self.checkpointed = at.up;
        let mut writes = self.core.stored_watches(at, self.closing);
        let is_idle = self.core.judges.is_empty() && self.dirty.is_empty() && self.core.world.live.is_empty();
        if is_idle && writes.is_empty() {
            return;
        }
        let dirty = std::mem::take(&mut self.dirty);
        for id in &dirty {
            let Some(rollout) = self.core.world.rollout(*id) else { continue };
            let judge = self.core.judges.get(id);
            let evidence = judge.map(Judge::stored);
            writes.push(Write::PutRollout { record: Box::new(rollout.record.clone()), evidence });
            let rows = judge.map(Judge::counts).unwrap_or_default();
            writes.extend(rows.into_iter().map(|row| Write::PutCounts { rollout: *id, row }));
        }
        let commit = Commit { writes, uptime: at.up, ..Commit::default() };
        match self.commit(commit) {
            Ok(()) => {
                self.recover();
                self.spill.clear();
            }
            Err(error) => {
                self.dirty.extend(dirty);
                self.fail(&error, at);
            }
        }
    }
}

/// Gives `use_it` what the core looks at and does not own.
pub(super) fn with_outside<T>(
    book: &PlanBook,
    data_plane: &dyn DataPlane,
    reader: &Reader,
    use_it: impl FnOnce(&Outside<'_>) -> T,
) -> T {
    let serving = |id: &AliasId| data_plane.serving(id);
    let pinned = |digest: &str| reader.plan(digest).ok().flatten();
    let past = |id: RolloutId| past_rollout(reader, id);
    let replied = |key: &str| reader.reply(key).map_err(|error| store::in_full(&error));
    let before = |id: &AliasId, version: VersionNumber| version_before(reader, id, version);
    let tried = |id: &AliasId, version: VersionNumber| reader.trials(id, version).unwrap_or_default();
    use_it(&Outside {
        book,
        serving: &serving,
        pinned: &pinned,
        past: &past,
        before: &before,
        tried: &tried,
        replied: &replied,
    })
}

/// A rollout that has ended, as the store has it.
fn past_rollout(reader: &Reader, id: RolloutId) -> Option<Rollout> {
    let record = reader.rollout(id).ok()??;
    let pinned = reader.plan(&record.plan_digest).ok()??;
    let plan = reread_plan(&pinned).ok()?.plan;
    Some(Rollout { plan, record })
}

/// The version that the last rollout that put `version` on an alias took it from.
fn version_before(reader: &Reader, id: &AliasId, version: VersionNumber) -> Option<VersionNumber> {
    let succeeded = RolloutFilter {
        alias: Some(id.clone()),
        phase: Some(Phase::Succeeded.name().to_owned()),
        limit: SUCCEEDED_LOOKED_AT,
        ..RolloutFilter::default()
    };
    let records = reader.rollouts(&succeeded).ok()?;
    records.into_iter().find(|record| record.canary == version).map(|record| record.stable)
}

fn tally(epoch: &EpochCounts) -> EpochTally {
    let of = |counts: &crate::metrics::recorder::Counts, latency: &HistogramSnapshot| ArmTally {
        counts: Counts { requests: counts.dispatched, failures: counts.failures.total() },
        refused: counts.refused,
        gave_up: counts.gave_up,
        latency: latency.clone(),
    };
    let kept = |kept: crate::metrics::recorder::KeptCohorts| KeptCohorts {
        now: kept.now,
        totals: kept.totals,
        slots: kept.slots,
    };
    EpochTally {
        epoch: epoch.epoch,
        routing: epoch.routing,
        stratum: epoch.stratum,
        primary: of(&epoch.primary, &epoch.latency[0]),
        additional: of(&epoch.additional, &epoch.latency[1]),
        baseline: epoch.baseline.map_or_else(Counts::default, |baseline| Counts {
            requests: baseline.dispatched,
            failures: baseline.failures.total(),
        }),
        cohorts: epoch.cohorts.clone().map(kept),
        users: epoch.users,
        visits: epoch.visits.clone().map(kept),
        is_final: epoch.is_final,
    }
}
