//! Evidence by users, where a plan keeps each of them on one version.
//!
//! `users` says what is judged and why; here is when. A weight epoch is a start of its own, and so is the time after a
//! restart of the daemon, for the marks of who has failed die with it: what was reached before is kept as a limit that is
//! higher from then on, and by one start more, for one may have begun since the evidence was stored. Proof is looked at
//! after one bake of the epoch, two, four and so on, after a restart again; how often it was looked at since it is sought
//! says what a look must reach, whatever restarts and changes of the alias lie between. The two halves of the one
//! alpha are a union here and no mean: users' failures have `SHARE` of it, or half as much beside a ceiling, and latency,
//! refusals and the ceiling what they have elsewhere. Those are judged by each user's first request in the epoch, which is
//! all that cohorts are kept of, with the odds of each ten seconds as found: tickets of an earlier step are known.
//!
//! After a restart users whose versions are known come for their first time once more, so the split of that epoch is not
//! watched any longer.
//!
//! First failures enter by cohorts of dispatch, and those that are open are bounded, as those of requests are (`entering`).
//! What of an epoch has not entered when the next one begins is left out on both arms.
//!
//! Heuristic: that a rise adds users independently of what those before have met.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::queue::{DRAWN, Views};
use super::{Block, PERIOD, ProofGoal, Settings};
use crate::analysis::bound;
use crate::analysis::boundary::Margin;
use crate::analysis::cohort::{Side, Tally};
use crate::analysis::exact;
use crate::analysis::mirror::SampleKind;
use crate::analysis::patience::{self, Unanswered};
use crate::analysis::proof::margin_before;
use crate::analysis::users::{self, UserTally, Users, UsersHarm};
use crate::lambda::function::Revision;
use crate::model::time::Uptime;
use crate::model::weight::Weight;

/// The share of alpha that users' failures have.
const SHARE: f64 = 0.5;
/// More starts than this between two looks are taken for so many; more than this that wait are taken for one.
const STARTS_MAX: u64 = 64;
/// Looks at a proof are at most this many doublings of the bake apart.
const DOUBLINGS_MAX: u32 = 16;

/// What is known of users in one rollout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct ByUsers {
    /// Whether any were counted; from then on requests are no evidence.
    pub is_known: bool,
    harm: UsersHarm,
    epoch: Revision,
    weight: Weight,
    /// Starts that have begun in cohorts that have not entered.
    #[serde(skip)]
    begins: VecDeque<Begin>,
    /// How many starts the counters of the epoch have told of.
    #[serde(skip)]
    starts_told: u64,
    /// The present cohort at the last look.
    #[serde(skip)]
    looked: u64,
    /// The first cohort of the epoch that has not entered, and what has.
    #[serde(skip)]
    cut: u64,
    #[serde(skip)]
    entered: [Tally; 2],
    /// Whether any requests of the epoch have not entered.
    #[serde(skip)]
    pub is_open: bool,
    /// What open cohorts are sure to bring: the logarithm of a start's capital, less what that start costs.
    #[serde(skip)]
    bound: Option<f64>,
    /// Users of the epoch.
    #[serde(skip)]
    users: Users,
    /// Their first requests that were left unanswered.
    #[serde(skip)]
    unanswered: [Unanswered; 2],
    paid_until: Option<Uptime>,
    /// Since when users of the epoch are counted.
    #[serde(skip)]
    since: Option<Uptime>,
    /// The epoch that went on over a restart.
    #[serde(skip)]
    resumed: Option<Revision>,
    /// How often the proof was looked at since it is sought.
    looks: u32,
    /// How often users of the epoch, as far as they are counted, were looked at.
    #[serde(skip)]
    looks_of_epoch: u32,
    /// The logarithm of the capital for the canary at the last look, less what that look cost.
    ln_proof: f64,
}

/// One or more starts that began.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Begin {
    /// The first cohort of which nobody knows its start, where there are more than one.
    from: u64,
    /// The first cohort of the last one.
    at: u64,
    starts: u64,
}

impl Begin {
    fn leaves_out(&self, cohort: u64) -> bool {
        self.starts > 1 && cohort >= self.from
    }
}

impl ByUsers {
    /// Takes what the counters say beyond what was seen.
    pub fn observe<'a>(
        &mut self,
        settings: &Settings,
        goal: Option<ProofGoal>,
        at: Uptime,
        blocks: impl Iterator<Item = Block<'a>>,
    ) {
        for block in blocks.filter(|block| block.stratum == SampleKind::Weighted) {
            let Some(tally) = block.users else { continue };
            if block.epoch > self.epoch || self.since.is_none() {
                self.enter(block.epoch, block.weight, at);
            }
            if block.epoch == self.epoch {
                self.users = tally.users();
                self.unanswered = block.cohorts.map_or_else(Default::default, |cohorts| {
                    cohorts.totals.map(|tally| Unanswered::of(&tally))
                });
                if let Some(visits) = block.visits {
                    let mut views = Views { is_final: block.is_final, ..Views::default() };
                    views.parts[DRAWN].add(visits);
                    self.note_starts(&tally, visits.offset, views.now());
                    let index = self.enter_settled(settings, &views);
                    self.bound_open(settings, &views, index);
                }
            }
        }
        self.pay_out(at);
        self.look(settings, goal, at);
    }

    fn enter(&mut self, epoch: Revision, weight: Weight, at: Uptime) {
        let is_resumed = self.is_known && self.since.is_none();
        if self.is_known {
            self.harm.start_anew();
        }
        if is_resumed {
            self.harm.start_anew();
            // Nothing was judged meanwhile, so nothing is paid for.
            self.paid_until = Some(at);
        }
        self.resumed = (is_resumed && self.epoch == epoch).then_some(epoch);
        (self.epoch, self.weight, self.users) = (epoch, weight, Users::default());
        self.unanswered = Default::default();
        self.begins.clear();
        (self.starts_told, self.looked, self.cut, self.entered) = (0, 0, 0, Default::default());
        (self.bound, self.is_open) = (None, false);
        (self.since, self.looks_of_epoch, self.is_known) = (Some(at), 0, true);
        self.paid_until.get_or_insert(at);
    }

    fn note_starts(&mut self, tally: &UserTally, offset: u64, now: u64) {
        let starts = tally.start.saturating_sub(self.starts_told).min(STARTS_MAX);
        if starts > 0 {
            let at = tally.began + offset;
            let are_many = self.begins.len() as u64 >= STARTS_MAX;
            match self.begins.back_mut().filter(|_| are_many) {
                Some(last) => (last.at, last.starts) = (at, last.starts + starts),
                None => self.begins.push_back(Begin { from: self.looked, at, starts }),
            }
            self.starts_told = tally.start;
        }
        self.looked = now;
    }

    /// Lets cohorts enter in order as long as all of their requests have ended; says which slot is the first open one.
    fn enter_settled(&mut self, settings: &Settings, views: &Views<'_>) -> usize {
        let (weight, ratio, alpha) = (self.weight.fraction(), settings.limit.ratio, self.alpha(settings));
        let mut index = views.first_after(self.cut);
        let mut before = views.before(index)[DRAWN];
        while index < views.len() && views.is_closed(index) && views.is_settled(index) {
            let from = views.bounds(index).0.max(self.cut);
            while let Some(begin) = self.begins.pop_front_if(|begin| begin.at <= from) {
                (0..begin.starts).for_each(|_| self.harm.start_anew());
            }
            before = sides(|side| before[side as usize].plus(&views.parts[DRAWN].of(index, side)));
            let first =
                sides(|side| before[side as usize].failed.saturating_sub(self.entered[side as usize].failed));
            if first != [0; 2] && !self.begins.front().is_some_and(|begin| begin.leaves_out(from)) {
                self.harm.update(weight, ratio, alpha, first);
            }
            (self.entered, self.cut) = (before, views.bounds(index).1);
            index += 1;
        }
        index
    }

    /// Goes through open cohorts as `bound` counts them; each is tested in which the canary has failed.
    fn bound_open(&mut self, settings: &Settings, views: &Views<'_>, first: usize) {
        let (weight, ratio, alpha) = (self.weight.fraction(), settings.limit.ratio, self.alpha(settings));
        let of = |side: Side, index: usize| match index == first {
            // Part of it may have entered.
            true => views.parts[DRAWN].before(index + 1, side).less(&self.entered[side as usize]),
            false => views.parts[DRAWN].of(index, side),
        };
        self.is_open = (first..views.len()).any(|index| !views.is_idle(index));
        let last_bad = (first..views.len()).rfind(|index| of(Side::Canary, *index).failed > 0);
        let mut best: Option<f64> = None;
        if let Some(last_bad) = last_bad {
            let (mut harm, mut begins) = (self.harm.clone(), self.begins.iter().peekable());
            for index in first..=last_bad {
                let from = views.bounds(index).0.max(self.cut);
                while let Some(begin) = begins.next_if(|begin| begin.at <= from) {
                    (0..begin.starts).for_each(|_| harm.start_anew());
                }
                if begins.peek().is_some_and(|begin| begin.leaves_out(from)) {
                    continue;
                }
                let (stable, canary) = (of(Side::Stable, index), of(Side::Canary, index));
                let arms = bound::failures(&stable, &canary, views.is_old(index));
                harm.update(weight, ratio, alpha, [arms.stable.failures, arms.canary.failures]);
                if canary.failed > 0 {
                    let ln = harm.ln() - price(harm.start());
                    best = Some(best.map_or(ln, |best| best.max(ln)));
                }
            }
        }
        self.bound = best;
    }

    /// The first cohort of an epoch of which anything may have to be told; `None` where users are of another one.
    pub fn needs_since(&self, epoch: Revision) -> Option<u64> {
        (self.since.is_some() && self.epoch == epoch).then_some(self.cut)
    }

    fn pay_out(&mut self, at: Uptime) {
        let Some(mut until) = self.paid_until else { return };
        while at.since(until) >= PERIOD {
            self.harm.pay_out();
            until = Uptime(until.0 + PERIOD.as_millis() as u64);
        }
        self.paid_until = Some(until);
    }

    fn look(&mut self, settings: &Settings, goal: Option<ProofGoal>, at: Uptime) {
        if self.next_look(settings).is_none_or(|due| at < due) {
            return;
        }
        let (Some(goal), Some(proof)) = (goal, settings.proof) else { return };
        // What was looked at once and stood stays.
        if self.epoch < goal.from || self.ln_proof >= -proof.false_advance_rate.ln() {
            return;
        }
        let margin = margin_before(goal.next_weight.fraction(), settings.limit.ratio, proof.budget);
        let price = price(self.looks);
        let level = proof.false_advance_rate * (-price).exp();
        let users = patience::users_proving(self.users, self.unanswered, settings.patience.is_some());
        self.ln_proof = -exact::chance_beyond(users, margin, level).ln() - price;
        (self.looks, self.looks_of_epoch) = (self.looks + 1, self.looks_of_epoch + 1);
    }

    /// When the proof is looked at next.
    pub fn next_look(&self, settings: &Settings) -> Option<Uptime> {
        let bake = settings.users?.bake.max(Duration::from_secs(1));
        let wait = bake.saturating_mul(1 << self.looks_of_epoch.min(DOUBLINGS_MAX));
        Some(Uptime(self.since?.0.saturating_add(wait.as_millis() as u64)))
    }

    fn alpha(&self, settings: &Settings) -> f64 {
        let share = if settings.ceiling.is_some() { SHARE / 2.0 } else { SHARE };
        share * settings.false_rollback_rate
    }

    /// The logarithm of the capital against the canary, on the scale on which the plan's alpha is the limit.
    pub fn ln_harm(&self, settings: &Settings, limit: Margin) -> f64 {
        self.ln_harm_after(settings, limit, 0)
    }

    /// The same if so many more users of the canary failed now for the first time.
    pub fn ln_harm_after(&self, settings: &Settings, limit: Margin, failures: u64) -> f64 {
        let (mut harm, mut users) = (self.harm.clone(), self.users);
        if failures > 0 {
            let alpha = self.alpha(settings);
            harm.update(self.weight.fraction(), settings.limit.ratio, alpha, [0, failures]);
            let canary = &mut users.canary;
            canary.failures += failures;
            canary.requests = canary.requests.max(canary.failures);
        }
        if !users::exceeds(users, limit) {
            return f64::NEG_INFINITY;
        }
        let share = self.alpha(settings) / settings.false_rollback_rate;
        let settled = harm.ln() - price(harm.start());
        share.ln() + self.bound.map_or(settled, |bound| bound.max(settled))
    }

    /// The logarithm of the capital for the canary, on the scale on which the plan's beta is the limit.
    pub fn ln_proof(&self) -> f64 {
        self.ln_proof
    }

    /// About how many more clean users of the canary lead to proof; `None` where no number would.
    pub fn more_clean_users(&self, settings: &Settings, goal: ProofGoal) -> Option<u64> {
        let proof = settings.proof?;
        let margin = margin_before(goal.next_weight.fraction(), settings.limit.ratio, proof.budget);
        let stable = self.users.stable;
        let least = margin.at(stable.failures as f64 / stable.requests.max(1) as f64);
        let level = proof.false_advance_rate * (-price(self.looks)).exp();
        // A twentieth of it is for what is not known of stable.
        let all = ((0.95 * level).ln() / (-least.min(0.5)).ln_1p()).ceil();
        (least > 0.0).then(|| (all as u64).saturating_sub(self.users.canary.requests))
    }

    /// Whether users of an epoch were drawn before they came, for some came before a restart.
    pub fn is_resumed(&self, epoch: Revision) -> bool {
        self.resumed == Some(epoch)
    }

    /// Users of both versions in the present epoch, and how many of them met a failure.
    pub fn users(&self) -> Users {
        self.users
    }

    /// Forgets the harm found so far.
    pub fn forgive(&mut self) {
        (self.harm, self.bound) = (UsersHarm::default(), None);
    }

    /// Begins a proof for another weight.
    pub fn seek(&mut self) {
        (self.looks, self.looks_of_epoch, self.ln_proof) = (0, 0, 0.0);
    }

    /// Whether there is nothing to store, as in all rollouts that judge requests.
    pub fn is_unknown(&self) -> bool {
        !self.is_known
    }
}

/// The same of both sides, stable's first.
fn sides<T>(of: impl FnMut(Side) -> T) -> [T; 2] {
    [Side::Stable, Side::Canary].map(of)
}

/// What the n-th of several looks or starts, from 0, costs so that all of them share one alpha.
fn price(index: u32) -> f64 {
    users::ln_limit(1.0, index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Arms;
    use crate::analysis::cohort::{Cohorts, Slot};
    use crate::plan::{Source, load};

    fn settings() -> Settings {
        let plan = "function: f\nalias: live\nsteps: [3%, 5%, 100%]\nbake: 5m\nrouting: {affinity: {cookie: session}}\n";
        load(&Source::new("plan.yaml", plan), None).unwrap().plan.evidence_settings().unwrap()
    }

    fn block(epoch: u64, percent: u32, users: UserTally) -> Block<'static> {
        let weight = Weight::from_ppm(percent * 10_000).unwrap();
        let nothing = Block::of_counts(Revision(epoch), weight, Arms::default());
        Block { users: Some(users), ..nothing }
    }

    fn at(seconds: u64) -> Uptime {
        Uptime(seconds * 1000)
    }

    const LIMIT: Margin = Margin { ratio: 1.2, added: 0.0005 };

    /// A cohort with so many requests of stable that are open, and so many first failures of both.
    fn slot(start: u64, open: u64, failed: [u64; 2]) -> Slot {
        let tally = |dispatched: u64, open: u64, failed| {
            let ended = dispatched - open;
            Tally { dispatched, answered: ended, ended, failed, ..Tally::default() }
        };
        Slot { start, span: 1, stable: tally(300, open, failed[0]), canary: tally(9, 0, failed[1]) }
    }

    /// Looks at these cohorts, the last of which is the present one; all users fail who are among them.
    fn look(by_users: &mut ByUsers, start: u64, began: u64, slots: &[Slot]) -> f64 {
        let settings = settings();
        let sum =
            |of: fn(&Slot) -> Tally| slots.iter().fold(Tally::default(), |sum, slot| sum.plus(&of(slot)));
        let totals = [sum(|slot| slot.stable), sum(|slot| slot.canary)];
        let now = slots.last().unwrap().start;
        let (seen, failing) = ([300, 9], totals.map(|tally| tally.failed));
        let visits = Some(Cohorts { now, totals, slots, offset: 0 });
        let block = Block { visits, ..block(2, 3, UserTally { seen, failing, start, began }) };
        by_users.observe(&settings, None, at(1), [block].into_iter());
        by_users.ln_harm(&settings, LIMIT)
    }

    #[test]
    fn a_few_failing_users_of_the_canary_are_harm_and_one_of_either_is_none() {
        let (mut by_users, limit) = (ByUsers::default(), settings().ln_harm_limit());
        let mut slots = vec![slot(1, 0, [1, 0]), slot(2, 0, [0, 0])];
        assert_eq!(look(&mut by_users, 0, 0, &slots), f64::NEG_INFINITY, "stable's user alone");
        slots.extend([slot(2, 0, [0, 1]), slot(3, 0, [0, 0])]);
        slots.remove(1);
        assert!(look(&mut by_users, 0, 0, &slots) < limit);
        slots.insert(2, slot(3, 0, [0, 3]));
        slots.last_mut().unwrap().start = 4;
        assert!(look(&mut by_users, 0, 0, &slots) >= limit);
        assert!(
            by_users.needs_since(Revision(2)).is_some_and(|cohort| cohort >= 4),
            "all but the present one entered"
        );
    }

    #[test]
    fn stables_open_requests_may_all_be_first_failures() {
        let limit = settings().ln_harm_limit();
        let of = |open: u64, failed: [u64; 2]| {
            let mut by_users = ByUsers::default();
            (look(&mut by_users, 0, 0, &[slot(1, open, failed), slot(2, 0, [0, 0])]), by_users.is_open)
        };
        assert!(of(0, [0, 4]).0 >= limit);
        let (pending, is_open) = of(30, [0, 4]);
        assert!(pending < limit && is_open, "{pending}");
        assert!(of(1, [0, 9]).0 >= limit, "one of them cannot excuse nine");
        // Ended well, they excuse nothing.
        let mut by_users = ByUsers::default();
        look(&mut by_users, 0, 0, &[slot(1, 30, [0, 4]), slot(2, 0, [0, 0])]);
        assert!(look(&mut by_users, 0, 0, &[slot(1, 0, [0, 4]), slot(2, 0, [0, 0])]) >= limit);
    }

    #[test]
    fn a_start_begins_where_its_cohorts_do_and_of_whole_ones_in_between_nobody_knows() {
        let mut by_users = ByUsers::default();
        let mut slots = vec![slot(1, 0, [0, 2]), slot(2, 0, [0, 0])];
        look(&mut by_users, 0, 0, &slots);
        let of_first = by_users.harm.ln();
        // One began at 3; what failed in cohort 2 is still of the first.
        slots[1] = slot(2, 0, [0, 1]);
        slots.extend([slot(3, 0, [0, 1]), slot(4, 0, [0, 0])]);
        look(&mut by_users, 1, 3, &slots);
        assert_eq!(by_users.harm.start(), 1);
        assert!(by_users.harm.ln() < of_first, "one failed in it, and two before");
        // Two more began by 6; the one that ended between looks is left out.
        slots[3] = slot(4, 0, [0, 9]);
        slots.extend([slot(5, 0, [0, 9]), slot(6, 0, [0, 0]), slot(7, 0, [0, 0])]);
        look(&mut by_users, 3, 6, &slots);
        assert_eq!(by_users.harm.start(), 3);
        assert!(by_users.harm.ln().abs() < 1e-12, "nobody is known to have failed in the last one");
    }

    #[test]
    fn proof_is_looked_at_after_a_bake_and_then_ever_later() {
        let settings = settings();
        let goal = ProofGoal { next_weight: Weight::from_ppm(50_000).unwrap(), from: Revision(2) };
        let mut by_users = ByUsers::default();
        let mut look = |canary: u64, second| {
            let users = UserTally { seen: [3000, canary], ..UserTally::default() };
            let blocks = [block(2, 3, users)].into_iter();
            by_users.observe(&settings, Some(goal), at(second), blocks);
            (by_users.ln_proof() >= settings.ln_proof_limit().unwrap(), by_users.looks)
        };
        assert_eq!(look(0, 0), (false, 0));
        assert_eq!(look(90, 299), (false, 0), "a bake is not over");
        assert_eq!(look(20, 300), (false, 1), "too few users");
        assert_eq!(look(90, 599), (false, 1), "the second look is after two bakes");
        assert_eq!(look(90, 600), (true, 2));
        assert_eq!(look(90, 1200), (true, 2), "what stood stays");
    }

    #[test]
    fn a_restart_is_a_start_of_its_own() {
        let settings = settings();
        let mut by_users = ByUsers::default();
        let users = UserTally { seen: [300, 9], failing: [0, 1], ..UserTally::default() };
        by_users.observe(&settings, None, at(1), [block(2, 3, users)].into_iter());
        assert_eq!(by_users.harm.start(), 0);
        let stored = serde_json::to_string(&by_users).unwrap();
        let mut by_users: ByUsers = serde_json::from_str(&stored).unwrap();
        by_users.observe(&settings, None, at(2), [block(2, 3, UserTally::default())].into_iter());
        assert_eq!((by_users.harm.start(), by_users.is_known), (2, true));
        assert!(by_users.is_resumed(Revision(2)) && !by_users.is_resumed(Revision(3)));
        let next = [block(3, 5, UserTally::default())].into_iter();
        by_users.observe(&settings, None, at(3), next);
        assert!(
            by_users.harm.start() == 3 && !by_users.is_resumed(Revision(2)),
            "the next step's users are drawn anew"
        );
    }

    #[test]
    fn looks_are_paid_for_over_restarts_and_changes_of_the_alias() {
        let settings = settings();
        let goal = ProofGoal { next_weight: Weight::from_ppm(50_000).unwrap(), from: Revision(2) };
        let mut by_users = ByUsers::default();
        let users = UserTally { seen: [3000, 20], ..UserTally::default() };
        let look = |by_users: &mut ByUsers, epoch, second| {
            by_users.observe(&settings, Some(goal), at(second), [block(epoch, 3, users)].into_iter());
        };
        look(&mut by_users, 2, 0);
        look(&mut by_users, 2, 300);
        assert_eq!(by_users.looks, 1);
        let mut by_users: ByUsers = serde_json::from_str(&serde_json::to_string(&by_users).unwrap()).unwrap();
        look(&mut by_users, 2, 310);
        assert_eq!(by_users.next_look(&settings), Some(at(610)), "after one bake again");
        look(&mut by_users, 2, 610);
        look(&mut by_users, 3, 620);
        look(&mut by_users, 3, 920);
        assert_eq!(by_users.looks, 3, "and each look has its price");
        by_users.seek();
        assert_eq!(by_users.looks, 0, "another weight is another question");
    }
}
