//! The virtual router: draws made-up traffic by the weights committed, and counts it as the recorder does.
//!
//! Requests count in the epoch they were dispatched in, when they were dispatched; failures and latencies count there
//! when they become known, and all of it by cohorts (`log`). Copies are made where a plan has them prove its first weight,
//! of whichever requests; those that `routing.mirror` has made beside a weight are left out.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use rand::rngs::SmallRng;

use super::clients::{Clients, Coming, Flood, Retries};
use super::crowd::Users;
use super::log::{Fate, Log};
use super::recorded::Playback;
use super::spells::Schedule;
use super::traffic::Traffic;
use crate::simulate::draws::{exponential, poisson, uniform};
use serin_core::analysis::cohort::COHORT_MS;
use serin_core::analysis::latency::Edges;
use serin_core::analysis::marks::Marks;
use serin_core::analysis::mirror::SampleKind;
use serin_core::analysis::patience::LEAST_WAIT;
use serin_core::lambda::alias::Routing;
use serin_core::lambda::function::Revision;
use serin_core::model::arn::VersionNumber;
use serin_core::model::weight::Weight;
use serin_core::plan::Plan;
use serin_core::world::tally::{ArmTally, EpochTally, Tallies};

/// A request that is not answered fails after so long.
const PATIENCE_US: u64 = 30_000_000;

/// Users who come once are as many as a number can tell apart.
const USERS_OF_ALL: f64 = 9e15;

/// Where tallies stand before the last one of their epoch: of copies, and of what these are made of.
const COPIES: usize = 1;
const SET_ASIDE: usize = 2;

/// Failures of one clump lie within this of the first.
const CLUMP_SPAN_US: f64 = 1e6;

/// What the traffic of one alias has brought so far.
pub(super) struct Arrivals<'a> {
    traffic: &'a Traffic,
    chance: SmallRng,
    canary: VersionNumber,
    with_latency: bool,
    /// When the rollout starts.
    start_us: u64,
    /// The share of requests that is copied while the canary has no weight.
    copied: Option<f64>,
    /// One tally for each epoch, oldest first; the last one serves. Where there are copies, what they are made of and
    /// they themselves have one each before it.
    tallies: Tallies,
    /// The cohorts of each epoch.
    logs: Vec<Log>,
    users: Option<Users>,
    /// Whether users stick to a version.
    sticks: bool,
    /// Whether users are counted, for they are judged.
    counts_users: bool,
    /// Who was seen in each epoch and who failed, where users are counted.
    marks: Vec<Marks>,
    /// The cohorts of all their requests, as `marks` of each epoch; who fails again has not failed there.
    visits: Vec<Log>,
    due: BinaryHeap<Reverse<(u64, Due)>>,
    /// What requests are held against, each from a cohort on.
    edges: Vec<(u64, Edges)>,
    /// How many requests of the canary will still be cold.
    cold_left: u64,
    spells: Schedule,
    flood: Flood,
    recorded: Option<Playback>,
    /// Whether counts moved since they were last looked at.
    pub moved: bool,
    pub requests: u64,
    pub canary_requests: u64,
    pub canary_failures: u64,
}

/// Something that is going to happen to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// A request that will fail, of a clump.
    Dispatch { canary: bool },
    /// A request of a client who has sent others.
    Comes(Coming),
    /// What became of a request.
    Answer { tally: usize, canary: bool, fate: Fate, of: Of, latency_us: u64 },
}

/// Which request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Of {
    cohort: u64,
    /// Which tally of the epoch that serves counts it, from its last one.
    back: usize,
    /// Whose it is, and since which start, where users are counted.
    user: Option<(u64, u64)>,
    /// Whether its cohort counts it.
    is_counted: bool,
    /// What it is to its client, where clients are played.
    coming: Option<Coming>,
}

/// Requests per second of each kind; failures are counted in clumps.
struct Rates {
    canary_clumps: f64,
    canary_successes: f64,
    stable_clumps: f64,
    stable_successes: f64,
}

impl Rates {
    fn total(&self) -> f64 {
        self.canary_clumps + self.canary_successes + self.stable_clumps + self.stable_successes
    }
}

impl<'a> Arrivals<'a> {
    pub(super) fn new(
        traffic: &'a Traffic,
        mut chance: SmallRng,
        canary: VersionNumber,
        (with_latency, plan): (bool, &Plan),
    ) -> Arrivals<'a> {
        let routing = &plan.routing;
        let spells = Schedule::new(&traffic.spells, &mut chance);
        let recorded = traffic.recorded.as_ref().map(|series| Playback::begin(series, &mut chance));
        let users = traffic.crowd.as_ref().map(|crowd| Users::new(crowd, &mut chance));
        let flood = Flood::new(traffic.clients.bursts, &mut chance);
        Arrivals {
            traffic,
            chance,
            canary,
            with_latency,
            start_us: traffic.prior.as_micros() as u64,
            copied: plan.mirror_at(Weight::ZERO).map(|mirror| mirror.share.fraction()),
            tallies: Tallies::default(),
            logs: Vec::new(),
            sticks: routing.affinity.is_some(),
            // What was recorded tells no users.
            counts_users: routing.judges_users() && traffic.recorded.is_none(),
            users,
            marks: Vec::new(),
            visits: Vec::new(),
            due: BinaryHeap::new(),
            edges: Vec::new(),
            cold_left: 0,
            spells,
            flood,
            recorded,
            moved: false,
            requests: 0,
            canary_requests: 0,
            canary_failures: 0,
        }
    }

    /// Serves by another routing from now on, unless the epoch is the one being served.
    pub(super) fn serve(&mut self, epoch: Revision, routing: Routing) -> bool {
        let is_new = self.tallies.epochs.last().is_none_or(|last| last.epoch != epoch);
        if is_new {
            let before = self.canary_share();
            self.open(epoch, routing);
            if self.canary_share() > before || self.copies().is_some() {
                self.cold_left = self.traffic.cold.map_or(0, |cold| cold.requests);
            }
        }
        is_new
    }

    /// Opens the tallies of an epoch.
    fn open(&mut self, epoch: Revision, routing: Routing) {
        let has_copies =
            self.copied.is_some() && routing.additional.is_some_and(|beside| beside.weight == Weight::ZERO);
        let strata = [SampleKind::MirrorSource, SampleKind::MirrorCopy, SampleKind::Weighted];
        for stratum in strata.into_iter().filter(|stratum| has_copies || *stratum == SampleKind::Weighted) {
            self.tallies.epochs.push(EpochTally { stratum, ..EpochTally::empty(epoch, routing) });
            self.logs.push(Log::default());
            if self.counts_users {
                self.marks.push(Marks::new(1));
                self.visits.push(Log::default());
            }
        }
    }

    /// The share of requests that is copied now, if any is.
    fn copies(&self) -> Option<f64> {
        let before = self.tallies.epochs.len().checked_sub(2)?;
        let has_copies = self.tallies.epochs[before].stratum == SampleKind::MirrorCopy;
        self.copied.filter(|_| {
            has_copies && self.tallies.epochs[before].epoch == self.tallies.epochs[before + 1].epoch
        })
    }

    /// Holds requests dispatched from a cohort on against these edges.
    pub(super) fn hold_against(&mut self, from: u64, edges: Edges) {
        self.edges.retain(|(known, _)| *known < from);
        self.edges.push((from, edges));
        let superfluous = self.edges.len().saturating_sub(16);
        self.edges.drain(..superfluous);
    }

    /// Dies and begins anew: counters are gone, and so is every request under way.
    pub(super) fn restart(&mut self) {
        let serving = self.tallies.epochs.last().map(|last| (last.epoch, last.routing));
        self.tallies.epochs.clear();
        self.logs.clear();
        self.marks.clear();
        self.visits.clear();
        if let Some((epoch, routing)) = serving {
            self.open(epoch, routing);
        }
        self.edges.clear();
        // Clients send what they were going to send.
        self.due.retain(|Reverse((_, due))| matches!(due, Due::Comes(_)));
        self.moved = false;
    }

    /// When the next answer comes in, or the next request of a clump.
    pub(super) fn next_due_us(&self) -> Option<u64> {
        self.due.peek().map(|Reverse((at_us, _))| *at_us)
    }

    /// Lets what is due happen; true if it was a failure of the canary that became known.
    pub(super) fn take_due(&mut self) -> bool {
        let Some(Reverse((at_us, due))) = self.due.pop() else { return false };
        match due {
            Due::Dispatch { canary } => {
                if !canary || self.canary_share() > 0.0 {
                    self.fail(canary, at_us, at_us);
                }
                false
            }
            Due::Comes(coming) => {
                self.come(coming, at_us);
                false
            }
            Due::Answer { tally, canary, fate, of, latency_us } => {
                self.answer(tally, canary, fate, of, latency_us);
                canary && fate == Fate::Failed
            }
        }
    }

    /// Lets traffic flow from `now_us` to `horizon_us`, or to the first thing that must be looked at before; says when.
    pub(super) fn flow(&mut self, now_us: u64, horizon_us: u64) -> u64 {
        let since_start = |at_us: u64| Duration::from_micros(at_us.saturating_sub(self.start_us));
        let change = self.traffic.next_change(since_start(now_us));
        let change_us = change.map(|change| self.start_us + change.as_micros() as u64);
        let swells_us = self.flood.go_to(now_us);
        let change_us = change_us.into_iter().chain(self.spells.go_to(now_us)).chain(swells_us).min();
        let horizon_us = change_us.map_or(horizon_us, |change_us| horizon_us.min(change_us).max(now_us + 1));
        if self.recorded.is_some() {
            return self.flow_as_recorded(now_us, horizon_us);
        }
        if self.users.is_some() || self.traffic.clients.are_of_a_piece() {
            return self.flow_of_clients(now_us, horizon_us);
        }
        let rates = self.rates(since_start(now_us));
        // Streams without memory may be drawn anew from any moment on: from now, while nothing has come since the last
        // look, to the first request; and from there to the first failure of the canary, after which others are known.
        if !self.moved {
            let at_us = now_us + self.gap_us(rates.total());
            if at_us >= horizon_us {
                return horizon_us;
            }
            self.one_request(&rates, at_us);
            return at_us;
        }
        let fails_us = now_us.saturating_add(self.gap_us(rates.canary_clumps));
        let end_us = horizon_us.min(fails_us);
        let span_s = (end_us - now_us) as f64 / 1e6;
        for _ in 0..poisson(&mut self.chance, rates.stable_clumps * span_s) {
            let at_us = self.between(now_us, end_us);
            self.clump(false, at_us, end_us);
        }
        for (canary, rate) in [(true, rates.canary_successes), (false, rates.stable_successes)] {
            let count = poisson(&mut self.chance, rate * span_s);
            self.succeed(canary, count, now_us, end_us);
        }
        if fails_us == end_us {
            self.clump(true, end_us, end_us);
        }
        end_us
    }

    /// The tallies as of now, with the cohorts since the one that `since` names for an epoch.
    pub(super) fn look(&mut self, now_us: u64, since: impl Fn(Revision) -> Option<u64>) -> &Tallies {
        let (now, traffic) = (cohort_of(now_us), self.traffic);
        self.tallies.slots.clear();
        for (tally, marks) in self.tallies.epochs.iter_mut().zip(&self.marks) {
            tally.users = tally.routing.additional.map(|_| marks.tally());
        }
        for (tally, log) in self.tallies.epochs.iter_mut().zip(&mut self.logs) {
            log.pass([&traffic.stable, &traffic.canary], now_us, &mut self.chance);
            tally.cohorts = since(tally.epoch).map(|since| log.kept(since, now, &mut self.tallies.slots));
            if tally.cohorts.is_none() {
                log.forget(now);
            }
        }
        for (tally, log) in self.tallies.epochs.iter_mut().zip(&mut self.visits) {
            log.pass([&traffic.stable, &traffic.canary], now_us, &mut self.chance);
            tally.visits = since(tally.epoch)
                .filter(|_| tally.users.is_some())
                .map(|since| log.kept(since, now, &mut self.tallies.slots));
        }
        // As the recorder does: epochs that nothing will happen in any more are told once more, and no longer.
        let serving = self.tallies.epochs.last().map(|last| last.epoch);
        for index in (0..self.logs.len()).rev() {
            if Some(self.tallies.epochs[index].epoch) == serving {
                continue;
            }
            if self.tallies.epochs[index].is_final {
                self.forget(index);
            } else if self.is_over(self.tallies.epochs[index].epoch) {
                self.tallies.epochs[index].is_final = true;
            }
        }
        &self.tallies
    }

    /// Whether nothing of an epoch is under way: copies and what they are made of are done with together.
    fn is_over(&self, epoch: Revision) -> bool {
        let of_epoch = self.tallies.epochs.iter().enumerate().filter(|(_, tally)| tally.epoch == epoch);
        let mut places = of_epoch.map(|(index, _)| index);
        places.all(|index| self.logs[index].is_over() && self.visits.get(index).is_none_or(Log::is_over))
    }

    fn forget(&mut self, gone: usize) {
        self.tallies.epochs.remove(gone);
        self.logs.remove(gone);
        if self.counts_users {
            self.marks.remove(gone);
            self.visits.remove(gone);
        }
        let due = std::mem::take(&mut self.due);
        let moved = due.into_iter().map(|Reverse((at_us, due))| match due {
            Due::Answer { tally, canary, fate, of, latency_us } if tally > gone => {
                Reverse((at_us, Due::Answer { tally: tally - 1, canary, fate, of, latency_us }))
            }
            due => Reverse((at_us, due)),
        });
        self.due = moved.collect();
    }

    fn is_canary_itself(&self, at_us: u64) -> bool {
        self.traffic.is_canary_itself(Duration::from_micros(at_us.saturating_sub(self.start_us)))
    }

    fn canary_share(&self) -> f64 {
        let serving = self.tallies.epochs.last();
        serving.map_or(0.0, |last| last.routing.share_of(self.canary).fraction())
    }

    fn rates(&self, since_start: Duration) -> Rates {
        let rate = self.rate(since_start);
        let share = self.canary_share();
        let of = |failures: f64, rate: f64| {
            (rate * failures / self.traffic.clump.max(1.0), rate * (1.0 - failures))
        };
        let [of_stable, of_canary] = self.failing(since_start);
        let (canary_clumps, canary_successes) = of(of_canary, rate * share);
        let (stable_clumps, stable_successes) = of(of_stable, rate * (1.0 - share));
        Rates { canary_clumps, canary_successes, stable_clumps, stable_successes }
    }

    /// Requests that come in a second now, but for those that are sent again.
    fn rate(&self, since_start: Duration) -> f64 {
        self.traffic.rate_at(since_start) * self.flood.swell()
    }

    /// The shares of stable's requests and of the canary's that fail now.
    fn failing(&self, since_start: Duration) -> [f64; 2] {
        let of_stable = self.flood.failing(self.traffic.failures_at(&self.traffic.stable, since_start));
        let of_canary = self.flood.failing(self.traffic.canary_failures_at(since_start));
        [self.spells.failing(false, of_stable), self.spells.failing(true, of_canary)]
    }

    /// The time to the next event of a stream; without end where none ever comes.
    fn gap_us(&mut self, rate: f64) -> u64 {
        let gap = exponential(&mut self.chance);
        if rate > 0.0 { (gap / rate * 1e6).min(1e18) as u64 } else { 1 << 62 }
    }

    fn between(&mut self, from_us: u64, to_us: u64) -> u64 {
        from_us + (uniform(&mut self.chance) * (to_us - from_us) as f64) as u64
    }

    /// The next request that was recorded, if it comes before the horizon.
    fn flow_as_recorded(&mut self, now_us: u64, horizon_us: u64) -> u64 {
        let next = self.recorded.as_mut().and_then(|it| it.next(now_us, horizon_us, &mut self.chance));
        let Some((at_us, fails)) = next else { return horizon_us };
        let canary = uniform(&mut self.chance) < self.canary_share();
        match fails {
            true => self.fail(canary, at_us, at_us),
            false => self.succeed(canary, 1, at_us, at_us),
        }
        at_us
    }

    /// The next requests of a client, if they come before the horizon.
    fn flow_of_clients(&mut self, now_us: u64, horizon_us: u64) -> u64 {
        let since_start = Duration::from_micros(now_us.saturating_sub(self.start_us));
        let clients = self.traffic.clients;
        let gap_us = self.gap_us(self.rate(since_start) / clients.bunch.max(1.0)).max(1);
        let at_us = now_us.saturating_add(gap_us);
        if at_us >= horizon_us {
            return horizon_us;
        }
        let user = self.users.as_ref().map(|users| users.next(&mut self.chance));
        let others = clients.bunch_size(&mut self.chance) - 1;
        let luck = (others > 0).then(|| uniform(&mut self.chance).to_bits());
        let coming = Coming { user, luck, tries: 0 };
        self.come(coming, at_us);
        for _ in 0..others {
            let later_us = at_us + Clients::behind_us(&mut self.chance);
            self.due.push(Reverse((later_us, Due::Comes(coming))));
        }
        at_us
    }

    /// A request of a client comes.
    fn come(&mut self, coming: Coming, at_us: u64) {
        let since_start = Duration::from_micros(at_us.saturating_sub(self.start_us));
        let visit = coming.user.zip(self.users.as_ref()).map(|(user, users)| users.visit(user));
        let ticket = match visit.filter(|_| self.sticks) {
            Some(visit) => visit.ticket,
            None => uniform(&mut self.chance),
        };
        let canary = ticket < self.canary_share();
        let of_version = self.failing(since_start)[usize::from(canary)];
        let again = self.traffic.clients.retries.filter(|_| coming.tries > 0);
        let of_request = visit.map_or(0.0, |visit| visit.failures);
        let well =
            (1.0 - of_version) * (1.0 - of_request) * (1.0 - again.map_or(0.0, |again| again.failures));
        let mut of = self.dispatch(canary, visit.map(|visit| visit.user), (at_us, at_us));
        of.coming = Some(coming);
        let luck = coming.luck.map_or_else(|| uniform(&mut self.chance), f64::from_bits);
        if luck < well {
            self.succeed_later(canary, of, (at_us, at_us));
        } else {
            self.fail_later(canary, of, (at_us, at_us));
        }
    }

    /// What failed comes again after it showed, if its client has not tried too often.
    fn try_again(&mut self, of: Of, known_us: u64) {
        let Some((coming, retries)) = of.coming.zip(self.traffic.clients.retries) else { return };
        if coming.tries < retries.times {
            let at_us = known_us + Retries::backoff_us(coming.tries, &mut self.chance);
            let again = Coming { luck: None, tries: coming.tries + 1, ..coming };
            self.due.push(Reverse((at_us, Due::Comes(again))));
        }
    }

    fn one_request(&mut self, rates: &Rates, at_us: u64) {
        let mut draw = uniform(&mut self.chance) * rates.total();
        let mut is = |rate: f64| {
            draw -= rate;
            draw < 0.0
        };
        if is(rates.canary_clumps) {
            self.clump(true, at_us, at_us);
        } else if is(rates.stable_clumps) {
            self.clump(false, at_us, at_us);
        } else {
            let canary = is(rates.canary_successes);
            self.succeed(canary, 1, at_us, at_us);
        }
    }

    /// Requests that fail together; those until `end_us` at once, the others when their time comes.
    fn clump(&mut self, canary: bool, at_us: u64, end_us: u64) {
        self.fail(canary, at_us, end_us);
        for _ in 1..self.traffic.clump_size(&mut self.chance) {
            let later_us = at_us + (uniform(&mut self.chance) * CLUMP_SPAN_US) as u64;
            if later_us <= end_us {
                self.fail(canary, later_us, end_us);
            } else {
                self.due.push(Reverse((later_us, Due::Dispatch { canary })));
            }
        }
    }

    /// Dispatches a request that will fail; whatever is known of it by `end_us` is counted at once.
    fn fail(&mut self, canary: bool, at_us: u64, end_us: u64) {
        let of = self.dispatch(canary, None, (at_us, end_us));
        self.fail_later(canary, of, (at_us, end_us));
    }

    fn fail_later(&mut self, canary: bool, of: Of, (at_us, end_us): (u64, u64)) {
        self.canary_failures += u64::from(canary && of.back != COPIES && self.is_canary_itself(at_us));
        let manners = self.traffic.manners(canary);
        let latency_us = manners.failure_latency.map(|span| span.as_micros() as u64);
        self.answer_later(canary, Fate::Failed, of, latency_us, (at_us, end_us));
    }

    fn succeed(&mut self, canary: bool, count: u64, from_us: u64, to_us: u64) {
        for _ in 0..count {
            let at_us = self.between(from_us, to_us);
            let of = self.dispatch(canary, None, (at_us, to_us));
            self.succeed_later(canary, of, (at_us, to_us));
        }
    }

    fn succeed_later(&mut self, canary: bool, of: Of, (at_us, to_us): (u64, u64)) {
        let manners = *self.traffic.manners(canary);
        let hangs = if canary && !self.is_canary_itself(at_us) { 0.0 } else { manners.hangs };
        if hangs > 0.0 && uniform(&mut self.chance) < hangs {
            self.canary_failures += u64::from(canary && of.back != COPIES);
            return self.answer_later(canary, Fate::Failed, of, Some(PATIENCE_US), (at_us, to_us));
        }
        let is_refused = manners.refusals > 0.0 && uniform(&mut self.chance) < manners.refusals;
        let fate = if is_refused { Fate::Refused } else { Fate::Good };
        if self.with_latency || is_refused || self.traffic.patience.is_some() {
            return self.answer_later(canary, fate, of, None, (at_us, to_us));
        }
        let arm = if canary { &self.traffic.canary } else { &self.traffic.stable };
        let latency_us = arm.latency_us(&mut self.chance);
        let known_us = at_us.saturating_add(self.spells.slowed(canary, latency_us));
        if of.is_counted {
            let serving = self.logs.len() - 1 - of.back;
            self.logs[serving].succeed(of.cohort, canary, known_us <= to_us, to_us);
        }
        if of.user.is_some() {
            let serving = self.logs.len() - 1;
            self.visits[serving].succeed(of.cohort, canary, known_us <= to_us, to_us);
        }
    }

    fn answer_later(
        &mut self,
        canary: bool,
        fate: Fate,
        of: Of,
        latency_us: Option<u64>,
        (at_us, end_us): (u64, u64),
    ) {
        let arm = if canary { &self.traffic.canary } else { &self.traffic.stable };
        let of_arm = |chance| self.spells.slowed(canary, arm.latency_us(chance));
        let mut latency_us = latency_us.unwrap_or_else(|| of_arm(&mut self.chance));
        if let Some(cold) = self.traffic.cold.filter(|_| canary && self.cold_left > 0) {
            self.cold_left -= 1;
            latency_us = (latency_us as f64 * cold.factor) as u64;
        }
        let (mut fate, is_copy) = (fate, of.back == COPIES);
        if let Some(patience) = self.traffic.patience.filter(|_| !is_copy)
            && latency_us > patience.as_micros() as u64
        {
            latency_us = patience.as_micros() as u64;
            fate = if patience >= LEAST_WAIT { Fate::GaveUp } else { Fate::Left };
        }
        let (known_us, tally) = (at_us.saturating_add(latency_us), self.logs.len() - 1 - of.back);
        if fate == Fate::Failed {
            self.try_again(of, known_us);
        }
        // A canary's failure is always an event of its own: it raises the alarm. That of a copy may be looked at with others.
        let is_event = canary && fate == Fate::Failed && !is_copy;
        if known_us <= end_us && !is_event {
            self.answer(tally, canary, fate, of, latency_us);
        } else {
            self.due.push(Reverse((known_us, Due::Answer { tally, canary, fate, of, latency_us })));
        }
    }

    fn dispatch(&mut self, canary: bool, user: Option<u64>, (at_us, end_us): (u64, u64)) -> Of {
        self.moved = true;
        self.requests += 1;
        self.canary_requests += u64::from(canary);
        let copied = self.copies().is_some_and(|share| uniform(&mut self.chance) < share);
        if copied {
            self.copy(at_us, end_us);
        }
        let back = if copied { SET_ASIDE } else { 0 };
        let serving = self.logs.len() - 1 - back;
        self.arm(serving, canary).counts.requests += 1;
        let cohort = cohort_of(at_us);
        let is_counting = self.counts_users && self.tallies.epochs[serving].routing.additional.is_some();
        // Who is nobody of a crowd comes once.
        let user = user.or_else(|| is_counting.then(|| (uniform(&mut self.chance) * USERS_OF_ALL) as u64));
        let marks = self.marks.last().filter(|_| is_counting);
        let visit = user.zip(marks).map(|(user, marks)| (user, marks.see(0, cohort, user, canary)));
        let is_counted = visit.is_none_or(|(_, visit)| visit.is_first);
        if is_counted {
            self.logs[serving].dispatch(cohort, canary);
        }
        if visit.is_some() {
            self.visits[serving].dispatch(cohort, canary);
        }
        let user = visit.map(|(user, visit)| (user, visit.start));
        Of { cohort, back, user, is_counted, coming: None }
    }

    /// Sends the canary a copy of a request; whatever is known of it by `end_us` is counted at once.
    fn copy(&mut self, at_us: u64, end_us: u64) {
        let of = Of { cohort: cohort_of(at_us), back: COPIES, user: None, is_counted: true, coming: None };
        let copies = self.logs.len() - 1 - COPIES;
        self.arm(copies, true).counts.requests += 1;
        self.logs[copies].dispatch(of.cohort, true);
        let since_start = Duration::from_micros(at_us.saturating_sub(self.start_us));
        let [_, of_canary] = self.failing(since_start);
        if uniform(&mut self.chance) < of_canary {
            self.fail_later(true, of, (at_us, end_us));
        } else {
            self.succeed_later(true, of, (at_us, end_us));
        }
    }

    fn answer(&mut self, tally: usize, canary: bool, fate: Fate, of: Of, latency_us: u64) {
        self.moved = true;
        let cohort = of.cohort;
        if let (Some((user, start)), Some(marks)) = (of.user, self.marks.get(tally)) {
            let is_first_failure = fate == Fate::Failed && marks.fail(user, start, canary);
            let fate = if is_first_failure { Fate::Failed } else { Fate::Good };
            self.visits[tally].answer(cohort, canary, fate, None);
        }
        let in_force = self.edges.iter().rfind(|(from, _)| *from <= cohort);
        let edges = in_force.map(|(_, edges)| if canary { &edges.canary } else { &edges.stable });
        if of.is_counted {
            self.logs[tally].answer(cohort, canary, fate, edges.map(|edges| (latency_us, edges)));
        }
        let with_latency = self.with_latency;
        let arm = self.arm(tally, canary);
        arm.counts.failures += u64::from(fate == Fate::Failed);
        arm.refused += u64::from(fate == Fate::Refused);
        arm.gave_up += u64::from(fate == Fate::GaveUp);
        if with_latency && !matches!(fate, Fate::GaveUp | Fate::Left) {
            arm.latency.record(latency_us);
        }
    }

    fn arm(&mut self, tally: usize, canary: bool) -> &mut ArmTally {
        let tally = &mut self.tallies.epochs[tally];
        let beside = tally.routing.additional.is_some();
        if canary && beside { &mut tally.additional } else { &mut tally.primary }
    }
}

fn cohort_of(at_us: u64) -> u64 {
    at_us / (COHORT_MS * 1000)
}
