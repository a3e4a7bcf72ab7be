//! How cohorts enter the evidence: settled ones in order, and a bound for those that are open.
//!
//! Epochs are gone through from the oldest. In each, failures and refusals enter slot by slot as long as all requests of
//! both versions have ended; slots are joined until the tables, a period or a clipped second ends, or a canary failure asks
//! for a test. A younger epoch waits for the older ones. Then the comparisons of latency do the same, each by its own
//! limit. Last, if a canary failure lies in an open cohort, a copy of the capital goes through the open ones as `bound`
//! counts them, and is tested after each such failure.
//!
//! Tables for a stretch are fixed when its first moment has come, from the cohorts that had entered by then; all of these
//! were dispatched before. The reserve is paid out where a period begins, in the order of dispatch.

use super::queue::{ASIDE, DRAWN, PARTS, Queue, SLOWNESSES, Views};
use super::settled::Settled;
use super::tables::Tables;
use super::trial::{Group, SECOND_COHORTS, Trial};
use super::{Block, COHORT_MS, Evidence, PERIOD_COHORTS, Planned, QUEUES_KEPT, Settings};
use crate::analysis::cohort::Side;
use crate::analysis::harm::HarmTable;
use crate::analysis::latency::Comparisons;
use crate::analysis::latency_span::PROCESSES;
use crate::analysis::mirror::SampleKind;
use crate::analysis::past::Ends;
use crate::analysis::split::{Split, SplitTable};
use crate::analysis::{Arms, Counts};
use crate::lambda::function::Revision;
use crate::model::time::Uptime;
use crate::model::weight::Weight;

/// A pause between cohorts that is learnt as one.
const PAUSE_COHORTS: u64 = 3;

/// What has come in the present period of an epoch whose split is wrong; judged when it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Unsplit {
    period: u64,
    failures: Arms,
    refusals: Arms,
    gave_up: Arms,
    slow: [Arms; PROCESSES],
    beyond: Counts,
}

/// Hands `see` what was told of each epoch, oldest first.
fn by_epoch<'a>(
    edges: [Option<usize>; PROCESSES],
    blocks: impl Iterator<Item = Block<'a>>,
    mut see: impl FnMut(&Group<'a>),
) {
    let mut open: Option<Group<'a>> = None;
    for block in blocks {
        if open.as_ref().is_some_and(|group| group.epoch != block.epoch || group.weight != block.weight)
            && let Some(group) = open.take()
        {
            see(&group);
        }
        let group = open.get_or_insert(Group {
            epoch: block.epoch,
            weight: block.weight,
            views: Views::default(),
            counted: Default::default(),
            has_counted: false,
            has_copies: false,
            exceeded: [0; PROCESSES],
        });
        let part = if block.stratum == SampleKind::Weighted { DRAWN } else { ASIDE };
        group.views.is_final &= block.is_final;
        group.has_copies |= !block.stratum.is_real();
        match block.cohorts {
            Some(cohorts) => group.views.parts[part].add(cohorts),
            None => {
                let Arms { canary, stable } = block.arms;
                let of = |[of_stable, of_canary]: [u64; 2]| Arms {
                    canary: Counts { requests: canary.requests, failures: of_canary },
                    stable: Counts { requests: stable.requests, failures: of_stable },
                };
                let counted = &mut group.counted[part];
                counted.failures = counted.failures.plus(block.arms);
                counted.refusals = counted.refusals.plus(of(block.refused));
                counted.gave_up = counted.gave_up.plus(of(block.gave_up));
                for (sum, gave_up) in counted.unanswered.iter_mut().zip(block.gave_up) {
                    sum.gave_up += gave_up;
                }
                group.has_counted = true;
                for (sum, more) in group.exceeded.iter_mut().zip(exceeding(edges, &block)) {
                    *sum += more;
                }
            }
        }
    }
    if let Some(group) = open {
        see(&group);
    }
}

/// What an older epoch keeps younger ones from.
#[derive(Clone, Copy, Debug, Default)]
struct Blocked {
    failures: bool,
    latency: [bool; SLOWNESSES],
    /// A canary failure or refusal lies in an open cohort.
    has_bad: bool,
}

fn exceeding(edges: [Option<usize>; PROCESSES], block: &Block<'_>) -> [u64; PROCESSES] {
    block.latency.map_or([0; PROCESSES], |span| span.exceeding(edges))
}

impl Evidence {
    /// Lets all settled cohorts enter, bounds the others, and tests for harm where the canary gave reason to.
    pub(super) fn enter<'a>(
        &mut self,
        settings: &Settings,
        at: Uptime,
        blocks: impl Iterator<Item = Block<'a>> + Clone,
    ) {
        let (mut blocked, mut bad) = (Blocked::default(), false);
        self.bound = None;
        self.plan_first(settings);
        if settings.is_bare() {
            self.proof.bet_all();
        }
        let edges = self.past.latency.edges();
        by_epoch(edges, blocks.clone(), |group| bad |= self.advance(settings, at, group, &mut blocked));
        self.forget_retired(blocks.clone());
        if blocked.has_bad && !self.is_by_users(settings) {
            let mut trial = Trial::of(self);
            by_epoch(edges, blocks, |group| trial.go_through(self, settings, group));
            self.bound = trial.best;
        }
        if bad || blocked.has_bad {
            self.test(settings);
        }
    }

    /// Lets one epoch enter as far as it may; true if that brought bad news of the canary.
    fn advance(&mut self, settings: &Settings, at: Uptime, group: &Group<'_>, blocked: &mut Blocked) -> bool {
        let index = self.queue_of(group, at);
        let now = if group.views.is_empty() { self.clock() } else { group.views.now() };
        self.clock = self.clock.max(now);
        self.renew(settings, index, group, now);
        let mut queue = std::mem::replace(&mut self.queues[index], Queue::new(Revision(0), Weight::ZERO));
        let is_newest = index + 1 == self.queues.len();
        let mut bad = false;
        // Where users are judged, nobody knows whose requests those are that come without cohorts.
        let is_drawn = group.weight > Weight::ZERO && group.weight < Weight::FULL;
        if group.has_counted && !(is_drawn && self.is_by_users(settings)) {
            bad |= self.settle(settings, &queue, is_newest, (now, at), &group.counted);
            let stable = group
                .counted
                .iter()
                .fold(Counts::default(), |sum, counted| sum.plus(counted.failures.stable));
            for (index, failures) in group.exceeded.into_iter().enumerate() {
                self.learn_excesses(index, Counts { requests: stable.requests, failures }, at);
            }
        }
        if !group.views.is_empty() {
            self.warm(settings, &mut queue, &group.views, at);
            bad |= self.enter_failures(settings, &mut queue, is_newest, &group.views, blocked);
            for slowness in 0..SLOWNESSES {
                bad |= self.enter_latency(settings, &mut queue, &group.views, slowness, blocked);
            }
            let open = group.views.first_after(queue.needs_since());
            queue.has_cohorts = true;
            queue.is_open = (open..group.views.len()).any(|open| !group.views.is_idle(open));
            let told = group.views.before(group.views.len());
            queue.open = [Side::Stable, Side::Canary].map(|side| {
                let open = |part: usize| {
                    let [told, entered] =
                        [&told, &queue.entered].map(|paced| paced[part][side as usize].dispatched);
                    told.saturating_sub(entered)
                };
                (0..PARTS).map(open).sum()
            });
        }
        self.queues[index] = queue;
        bad
    }

    /// The place of an epoch among the queues; a new one begins to be judged.
    fn queue_of(&mut self, group: &Group<'_>, at: Uptime) -> usize {
        let is_of = |queue: &Queue| (queue.epoch, queue.weight) == (group.epoch, group.weight);
        if let Some(index) = self.queues.iter().position(is_of) {
            return index;
        }
        let index = self.queues.partition_point(|queue| queue.epoch <= group.epoch);
        if index == self.queues.len() && self.queues.last().is_some_and(|last| last.weight != group.weight) {
            self.past.skip();
        }
        self.warm_up.serve(group.epoch, group.weight, group.has_copies, at);
        let mut queue = Queue::new(group.epoch, group.weight);
        if self.warm_up.is_on() && self.rules.warms_by_requests() {
            queue.wide_until = u64::MAX;
        }
        self.queues.insert(index, queue);
        index
    }

    /// Forgets epochs that nobody keeps cohorts of any more; of counts alone the last few.
    fn forget_retired<'a>(&mut self, blocks: impl Iterator<Item = Block<'a>> + Clone) {
        let is_told = |queue: &Queue| blocks.clone().any(|block| block.epoch == queue.epoch);
        self.queues.retain(|queue| !queue.has_cohorts || is_told(queue));
        if self.queues.len() > QUEUES_KEPT
            && let Some(oldest) = self.queues.iter().position(|queue| !queue.has_cohorts)
        {
            self.queues.remove(oldest);
        }
    }

    /// Fixes what latency is compared at first, from what is known already.
    pub(super) fn plan_first(&mut self, settings: &Settings) {
        let is_unplanned = self.planned[1].from == 0;
        if is_unplanned {
            // As it begins, and after a restart.
            self.learnt = self.learnt.max(self.seen);
            self.excesses_learnt = self.excesses_learnt.map(|learnt| learnt.max(self.seen));
        }
        if let Some(latency) = settings.latency.as_ref().filter(|_| is_unplanned) {
            self.past.refresh(self.seen);
            let comparisons = Comparisons::new(latency, &self.past.latency);
            let next = (self.clock() / PERIOD_COHORTS + 1) * PERIOD_COHORTS;
            self.planned = [Planned { from: 0, comparisons }, Planned { from: next, comparisons }];
        } else if is_unplanned {
            let next = (self.clock() / PERIOD_COHORTS + 1) * PERIOD_COHORTS;
            self.planned[1].from = next;
        }
    }

    /// Gives an epoch tables where it has none; the newest one, too, where a stretch begins or a proof is sought anew.
    ///
    /// Older epochs keep theirs: their late answers are judged by the tables of their own time.
    fn renew(&mut self, settings: &Settings, index: usize, group: &Group<'_>, now: u64) {
        let is_newest = index + 1 == self.queues.len();
        if !is_newest && self.queues[index].newest().is_some() {
            return;
        }
        let begins = is_newest && now >= self.planned[1].from;
        if begins {
            self.planned[0] = self.planned[1];
            if let Some(latency) = &settings.latency {
                self.past.refresh(self.seen);
                self.planned[1].comparisons = Comparisons::new(latency, &self.past.latency);
            }
            self.planned[1].from = (now / PERIOD_COHORTS + 1) * PERIOD_COHORTS;
        }
        let is_stale = is_newest && std::mem::take(&mut self.is_stale);
        let queue = &mut self.queues[index];
        let has_aside = group.views.has_aside() || !group.counted[ASIDE].is_empty();
        let from = match queue.newest() {
            None => 0,
            Some(_) if begins => self.planned[0].from,
            Some(tables) if is_stale || (has_aside && tables.aside.is_none()) => now,
            Some(_) => return,
        };
        let of = (from, queue.epoch, queue.weight);
        let comparisons = &self.planned[0].comparisons;
        queue.renew(Tables::new(settings, &self.past, comparisons, self.goal, of, has_aside));
    }

    /// Counts towards the warm-up, and ends it.
    fn warm(&mut self, settings: &Settings, queue: &mut Queue, views: &Views<'_>, at: Uptime) {
        let Some(latency) = &settings.latency else { return };
        let before = views.before(views.len());
        let in_cohorts = before.iter().map(|part| part[Side::Canary as usize].dispatched).sum();
        // Of users who stick, cohorts have the first requests alone; all of them warm.
        let requests: u64 = match self.is_by_users(settings) {
            true => self.requests_in(queue.epoch),
            false => in_cohorts,
        };
        if requests > 0 {
            self.canary_since.get_or_insert(at);
        }
        let is_over = self.warm_up.note(requests, at, latency.warmup);
        if queue.wide_until == u64::MAX && (is_over || !self.warm_up.is_on()) {
            queue.wide_until = if latency.warmup.is_zero() { 0 } else { views.now() + 1 };
        }
    }

    /// Failures and refusals of the cohorts that have settled.
    fn enter_failures(
        &mut self,
        settings: &Settings,
        queue: &mut Queue,
        is_newest: bool,
        views: &Views<'_>,
        blocked: &mut Blocked,
    ) -> bool {
        let (mut bad, mut index) = (false, views.first_after(queue.cut));
        let mut joined = index;
        while !blocked.failures && index < views.len() && views.is_closed(index) && views.is_settled(index) {
            let (from, start) = (views.bounds(joined).0.max(queue.cut), views.bounds(index).0);
            if index > joined && !is_one_stretch(queue, from, start) {
                bad |= self.enter_until(settings, queue, is_newest, views, (joined, index));
                joined = index;
            }
            let is_bad = views.is_bad(index);
            index += 1;
            if is_bad {
                bad |= self.enter_until(settings, queue, is_newest, views, (joined, index));
                // Each failure of the canary is tested at its own place in the order.
                self.test(settings);
                joined = index;
            }
        }
        if index > joined {
            bad |= self.enter_until(settings, queue, is_newest, views, (joined, index));
        }
        let is_watched = !(is_newest && self.split.is_mismatch());
        for open in index..views.len() {
            blocked.failures |= !views.is_idle(open);
            blocked.has_bad |= is_watched && views.is_bad(open);
        }
        bad
    }

    fn enter_until(
        &mut self,
        settings: &Settings,
        queue: &mut Queue,
        is_newest: bool,
        views: &Views<'_>,
        (first, end): (usize, usize),
    ) -> bool {
        let before = views.before(end);
        let parts = std::array::from_fn(|part| Settled::between(&queue.entered[part], &before[part]));
        let from = views.bounds(first).0.max(queue.cut);
        let until = views.bounds(end - 1).1;
        // What came before the first slot may have been nothing for a long while.
        if from > self.learnt.0 / COHORT_MS + PAUSE_COHORTS {
            self.learn(Ends::default(), Uptime(from * COHORT_MS));
        }
        let bad = self.settle(settings, queue, is_newest, (from, Uptime(until * COHORT_MS)), &parts);
        (queue.entered, queue.cut) = (before, until);
        bad
    }

    /// Judges what settled from one cohort on, and learns from it; true if it was bad news of the canary.
    fn settle(
        &mut self,
        settings: &Settings,
        queue: &Queue,
        is_newest: bool,
        (from, until): (u64, Uptime),
        parts: &[Settled; PARTS],
    ) -> bool {
        let (period, second) = (self.period_of(from), from / SECOND_COHORTS);
        let mut bad = self.end_unsplit(settings, queue, period);
        self.pay_out(settings, period);
        let Some(tables) = queue.at(from) else { return bad };
        let dampings = &tables.dampings;
        let mut stable = Ends::default();
        // At all of the traffic nobody is drawn, and ceilings are all there is.
        let by_users = self.is_by_users(settings) && queue.weight < Weight::FULL;
        for (part, settled) in parts.iter().enumerate().filter(|(_, settled)| !settled.is_empty()) {
            stable = stable.plus(settled.of_stable());
            let Some(table) = tables.part(part) else { continue };
            let arms = settled.failures;
            let is_unsplit = part == DRAWN && is_newest && self.is_unsplit(queue.epoch, &table.split, arms);
            // Of older epochs' users nobody knows by now whose odds they had.
            if part == DRAWN && by_users && !is_newest {
                continue;
            }
            if is_unsplit || (part == DRAWN && by_users) {
                self.unsplit.period = period;
                self.unsplit.failures = self.unsplit.failures.plus(arms);
                self.unsplit.refusals = self.unsplit.refusals.plus(settled.refusals);
                self.unsplit.gave_up = self.unsplit.gave_up.plus(settled.gave_up);
                continue;
            }
            self.harm.update(&table.harm, arms, dampings.failures, second);
            if let Some(refusals) = &table.refusals {
                self.refusals.update(refusals, settled.refusals, dampings.refusals, second);
            }
            if let Some(patience) = &table.patience {
                self.patience.update(patience, settled.gave_up, dampings.patience, second);
            }
            let proving = settled.proving(part, settings);
            if let Some(proof) = &table.proof {
                self.proof.update(proof, proving, dampings.failures, second);
                if let Some(limit) = settings.ln_proof_limit().filter(|_| !settings.is_bare()) {
                    self.proof.cap(limit);
                }
            }
            if let Some(better) = table.better.as_ref().filter(|_| self.stable_is_unwell) {
                self.better.update(better, proving, dampings.failures, second);
            }
            if let Some(max) = settings.ceiling {
                self.ceiling.update(arms.canary, max, dampings.failures, second);
            }
            bad |= settled.is_bad();
        }
        self.learn(stable, until);
        bad
    }

    /// One comparison of latency, of the cohorts in which it is decided.
    fn enter_latency(
        &mut self,
        settings: &Settings,
        queue: &mut Queue,
        views: &Views<'_>,
        slowness: usize,
        blocked: &mut Blocked,
    ) -> bool {
        let Some(latency) = &settings.latency else {
            queue.cuts[slowness] = queue.cut;
            return false;
        };
        if slowness == PROCESSES && latency.ceiling_bucket.is_none() {
            queue.cuts[slowness] = queue.cut;
            return false;
        }
        let (mut bad, mut index) = (false, views.first_after(queue.cuts[slowness]));
        let mut joined = index;
        while !blocked.latency[slowness] && index < views.len() && views.is_closed(index) {
            let (from, start) = (views.bounds(joined).0.max(queue.cuts[slowness]), views.bounds(index).0);
            let is_wide = start < queue.wide_until;
            let Some(tables) = queue.at(start) else { break };
            let after_us = tables.drawn.latency.decided_after_us(slowness, is_wide);
            if !views.is_final && views.age(index) * COHORT_MS * 1000 <= after_us {
                break;
            }
            let is_same = is_one_stretch(queue, from, start) && is_wide == (from < queue.wide_until);
            if index > joined && !is_same {
                bad |= self.enter_latency_until(settings, queue, views, slowness, (joined, index));
                joined = index;
            }
            index += 1;
        }
        if index > joined {
            bad |= self.enter_latency_until(settings, queue, views, slowness, (joined, index));
        }
        blocked.latency[slowness] |= (index..views.len()).any(|open| !views.is_idle(open));
        bad
    }

    fn enter_latency_until(
        &mut self,
        settings: &Settings,
        queue: &mut Queue,
        views: &Views<'_>,
        slowness: usize,
        (first, end): (usize, usize),
    ) -> bool {
        let before = views.before(end);
        let from = views.bounds(first).0.max(queue.cuts[slowness]);
        let until = Uptime(views.bounds(end - 1).1 * COHORT_MS);
        let (period, second) = (self.period_of(from), from / SECOND_COHORTS);
        let is_wide = from < queue.wide_until;
        let is_left_out = self.is_left_out(settings, until);
        self.latency.pay_out_until(slowness, period);
        let (mut bad, mut of_stable) = (false, Counts::default());
        let entered = std::mem::replace(&mut queue.paced[slowness], before);
        queue.cuts[slowness] = views.bounds(end - 1).1;
        let Some(tables) = queue.at(from) else { return false };
        for part in 0..PARTS {
            let Some(table) = tables.part(part) else { continue };
            let [stable, canary] = [Side::Stable, Side::Canary]
                .map(|side| before[part][side as usize].less(&entered[part][side as usize]));
            let Some(damping) = tables.dampings.latency.get(slowness).copied() else {
                let beyond = table.latency.beyond_ceiling(&canary);
                // Of the four quantiles p99 is the one whose clumps were measured where the ceiling is.
                if !is_left_out && beyond.requests > 0 {
                    self.latency.update_ceiling(beyond, tables.dampings.latency[2], second);
                    bad |= beyond.failures > 0;
                }
                continue;
            };
            let arms = table.latency.excesses(slowness, is_wide, &stable, &canary);
            of_stable = of_stable.plus(arms.stable);
            let Some(threshold) = table.latency.of[slowness].filter(|_| !is_left_out && !arms.is_empty())
            else {
                continue;
            };
            let is_unsplit = self.split.is_mismatch() || self.is_by_users(settings);
            if part == DRAWN && is_unsplit && self.split_epoch == queue.epoch {
                self.unsplit.slow[slowness] = self.unsplit.slow[slowness].plus(arms);
                continue;
            }
            self.latency.update(slowness, &threshold, arms, damping, second);
            bad |= arms.canary.failures > 0;
        }
        if slowness < PROCESSES {
            self.learn_excesses(slowness, of_stable, until);
        }
        bad
    }

    /// Whether latency is not judged yet, under rules by which a canary warms up by time alone.
    fn is_left_out(&self, settings: &Settings, until: Uptime) -> bool {
        let Some(latency) = settings.latency.as_ref().filter(|_| !self.rules.warms_by_requests()) else {
            return false;
        };
        self.canary_since.is_none_or(|since| until.since(since) < latency.warmup)
    }

    pub(super) fn period_of(&self, cohort: u64) -> u64 {
        let began = self.began.0 / COHORT_MS / PERIOD_COHORTS;
        (cohort / PERIOD_COHORTS).saturating_sub(began)
    }

    fn pay_out(&mut self, settings: &Settings, period: u64) {
        (self.periods..period).for_each(|_| self.proof.pay_out());
        self.periods = self.periods.max(period);
        self.harm.pay_out_until(period);
        self.ceiling.pay_out_until(period);
        self.refusals.pay_out_until(period);
        if settings.patience.is_some() {
            self.patience.pay_out_until(period);
        }
    }

    fn learn(&mut self, stable: Ends, until: Uptime) {
        let until = until.max(self.learnt);
        self.past.learn(stable, self.learnt, until);
        self.learnt = until;
    }

    fn learn_excesses(&mut self, index: usize, counts: Counts, until: Uptime) {
        let until = until.max(self.excesses_learnt[index]);
        self.past.learn_excesses(index, counts, self.excesses_learnt[index], until);
        self.excesses_learnt[index] = until;
    }

    /// Watches the split of the newest epoch, and says whether it is wrong.
    fn is_unsplit(&mut self, epoch: Revision, table: &SplitTable, arms: Arms) -> bool {
        if self.split_epoch != epoch {
            (self.split, self.split_epoch) = (Split::default(), epoch);
        }
        if !self.split.is_mismatch() && !self.by_users.is_resumed(epoch) {
            self.split.update(table, arms.canary.requests, arms.stable.requests);
            // The block that showed it was still drawn by these tables.
            return false;
        }
        self.split.is_mismatch()
    }

    /// Judges a period that has ended by its own split; true if it brought bad news.
    fn end_unsplit(&mut self, settings: &Settings, queue: &Queue, period: u64) -> bool {
        if self.unsplit.failures.is_empty()
            || (period == self.unsplit.period && queue.epoch == self.split_epoch)
        {
            return false;
        }
        let unsplit = std::mem::take(&mut self.unsplit);
        let (share, second) = (unsplit.failures.share(), period);
        let Some(tables) = queue.newest().filter(|_| share > 0.0 && share < 1.0) else { return false };
        let dampings = &tables.dampings;
        if !self.is_by_users(settings) {
            let harm = HarmTable::new(share, tables.stable_rate, tables.margins.failures);
            self.harm.update(&harm, unsplit.failures, dampings.failures, second);
        }
        if let Some(margin) = tables.margins.refusals {
            let refusals = HarmTable::new(share, self.past.refusals.rate(), margin);
            self.refusals.update(&refusals, unsplit.refusals, dampings.refusals, second);
        }
        if let Some(margin) = settings.patience {
            let patience = HarmTable::new(share, self.past.giving_up(), margin);
            self.patience.update(&patience, unsplit.gave_up, dampings.patience, second);
        }
        let mut bad =
            [unsplit.failures, unsplit.refusals, unsplit.gave_up].iter().any(|arms| arms.canary.failures > 0);
        for (index, arms) in unsplit.slow.into_iter().enumerate() {
            let share = arms.share();
            let Some(threshold) = tables.drawn.latency.of[index].filter(|_| share > 0.0 && share < 1.0)
            else {
                continue;
            };
            let of = (&threshold, tables.margins.latency[index]);
            self.latency.update_by_own_split(index, of, arms, dampings.latency[index], second);
            bad |= arms.canary.failures > 0;
        }
        if let Some(max) = settings.ceiling {
            self.ceiling.update(unsplit.failures.canary, max, dampings.failures, second);
        }
        bad
    }
}

/// Whether cohorts from one to another may be judged as one: same tables, same period, same second.
fn is_one_stretch(queue: &Queue, from: u64, start: u64) -> bool {
    let clips = |tables: &Tables| {
        let dampings = &tables.dampings;
        dampings.failures.clips
            || dampings.refusals.clips
            || dampings.patience.clips
            || dampings.latency.iter().any(|damping| damping.clips)
    };
    queue.place(from) == queue.place(start)
        && from / PERIOD_COHORTS == start / PERIOD_COHORTS
        && (from / SECOND_COHORTS == start / SECOND_COHORTS || !queue.at(from).is_some_and(clips))
}
