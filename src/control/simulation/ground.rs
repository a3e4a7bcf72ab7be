//! What a simulated daemon stands on: its clocks, its disk, its router and the world outside, as a seed wants them.

use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::script::{Effect, Mood};
use crate::clock::{self, Clock};
use crate::control::data_plane::DataPlane;
use crate::metrics::outside::{Asker, CheckRequest, Settings, What as Asked};
use crate::router::table::{Edit, RoutingTable};
use crate::store::{Disk, Fate, Reader, StoreError};
use serin_core::lambda::alias::{AliasId, Routing};
use serin_core::lambda::function::Revision;
use serin_core::model::time::{Moment, Timestamp, Uptime};
use serin_core::ports::EntryFilter;
use serin_core::rollout::{Answer, HookAnswer, Reading};

/// A Monday.
const START: Timestamp = Timestamp(1_767_571_200_000);

/// What a killed process unwinds with.
pub(super) struct Killed;

/// The time of a seed, and when and where its process dies.
pub(super) struct Ground {
    /// The machine's monotonic clock at the beginning; only differences to it matter.
    origin: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Since the beginning, whatever runs.
    elapsed_ms: u64,
    /// Of it, while a process ran.
    ran_ms: u64,
    /// What the store remembered when the present process began, and what had been run by then.
    resumed: (Uptime, u64),
    skew_ms: i64,
    kill: Option<(Effect, u8)>,
    disk_until: Option<(bool, u64)>,
    fault: Option<String>,
}

impl Ground {
    pub(super) fn new() -> Arc<Ground> {
        let ground = Ground { origin: clock::instant_now(), state: Mutex::default() };
        ground.show();
        Arc::new(ground)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self) {
        let instant = self.origin + Duration::from_millis(self.state().elapsed_ms);
        clock::simulated::set(Some((self.now(), instant)));
    }

    /// Time passes while the process runs, or while it does not.
    pub(super) fn pass(&self, span: Duration, is_running: bool) {
        let ms = span.as_millis() as u64;
        let mut state = self.state();
        state.elapsed_ms += ms;
        state.ran_ms += if is_running { ms } else { 0 };
        drop(state);
        self.show();
    }

    /// For how long a process has run, all together.
    pub(super) fn ran(&self) -> Duration {
        Duration::from_millis(self.state().ran_ms)
    }

    pub(super) fn jump(&self, by_s: i64) {
        self.state().skew_ms += by_s * 1000;
        self.show();
    }

    /// A process begins, knowing of this uptime.
    pub(super) fn resume(&self, from: Uptime) {
        let mut state = self.state();
        state.resumed = (from, state.ran_ms);
    }

    pub(super) fn kill_at(&self, kill: Option<(Effect, u8)>) {
        self.state().kill = kill;
    }

    /// Lets the disk stand still, or take nothing, for so long.
    pub(super) fn spoil_disk(&self, is_stalled: bool, span: Duration) {
        let mut state = self.state();
        state.disk_until = Some((is_stalled, state.elapsed_ms + span.as_millis() as u64));
    }

    /// Whether the disk has been well for so long.
    pub(super) fn takes_for(&self, span: Duration) -> bool {
        let state = self.state();
        let well_since = state.disk_until.map_or(0, |(_, until)| until);
        state.elapsed_ms >= well_since + span.as_millis() as u64
    }

    pub(super) fn mend(&self) {
        let mut state = self.state();
        (state.disk_until, state.kill) = (None, None);
    }

    /// What was found wrong at an effect.
    pub(super) fn fault(&self) -> Option<String> {
        self.state().fault.clone()
    }

    fn reaches(&self, effect: Effect) {
        let mut state = self.state();
        if let Some((at, nth)) = state.kill
            && at == effect
        {
            state.kill = nth.checked_sub(1).map(|nth| (at, nth));
            if nth == 0 {
                drop(state);
                resume_unwind(Box::new(Killed));
            }
        }
    }
}

impl Clock for Ground {
    fn now(&self) -> Moment {
        let state = self.state();
        let (from, ran_before) = state.resumed;
        let wall = START.0 + state.elapsed_ms as i64 + state.skew_ms;
        Moment { wall: Timestamp(wall), up: from.plus(Duration::from_millis(state.ran_ms - ran_before)) }
    }
}

impl Disk for Ground {
    fn before(&self, is_urgent: bool) -> Fate {
        self.reaches(Effect::Commit);
        let state = self.state();
        match state.disk_until {
            Some((true, until)) if until > state.elapsed_ms => Fate::Held,
            // What is set aside for rollbacks is gone, too, half of the time.
            Some((false, until)) if until > state.elapsed_ms && !(is_urgent && until % 2 == 0) => {
                Fate::Refused(StoreError::Full)
            }
            _ => Fate::Taken,
        }
    }

    fn after(&self) {
        self.reaches(Effect::Committed);
    }

    fn pass(&self, span: Duration) {
        Ground::pass(self, span, true);
    }
}

/// The routing table, with somebody who looks at what is published before it is.
pub(super) struct Plane {
    pub(super) table: Arc<RoutingTable>,
    pub(super) ground: Arc<Ground>,
    pub(super) reader: Reader,
}

impl Plane {
    /// The router never serves what the disk does not have: what is published is what an entry says that is durable, or that
    /// without its canary.
    fn is_durable(&self, alias: &AliasId, epoch: Revision, routing: &Routing) -> Result<(), String> {
        let filter = EntryFilter {
            after: epoch.0 - 1,
            limit: 1,
            alias: Some(alias.clone()),
            ..EntryFilter::default()
        };
        let entries = self.reader.entries(&filter).map_err(|why| why.to_string())?;
        let entry = entries.first().filter(|entry| entry.seq == epoch);
        let Some(entry) = entry else {
            return Err(format!("{alias} is published at revision {}, which is on no disk", epoch.0));
        };
        let stored = entry.alias_after.as_ref().map(|alias| alias.routing);
        // Which version an overlay leaves is looked at after the turn, by whoever knows the rollout.
        let may_be_overlay = routing.additional.is_none();
        match stored {
            Some(stored) if stored == *routing || may_be_overlay => Ok(()),
            stored => {
                Err(format!("{alias} is published as {routing}, and revision {} has {stored:?}", epoch.0))
            }
        }
    }
}

impl DataPlane for Plane {
    fn publish(&self, edits: Vec<Edit>) {
        self.ground.reaches(Effect::Publish);
        for edit in &edits {
            if let Edit::Alias(spec) = edit
                && let Err(why) = self.is_durable(&spec.alias, spec.epoch, &spec.routing)
            {
                self.ground.state().fault.get_or_insert(format!("I8: {why}"));
            }
        }
        self.table.publish(edits);
        self.ground.reaches(Effect::Published);
    }

    fn serving(&self, alias: &AliasId) -> Option<Revision> {
        DataPlane::serving(&*self.table, alias)
    }
}

/// Everybody outside.
#[derive(Clone, Default)]
pub(super) struct Outside(Arc<Mutex<Outsiders>>);

#[derive(Default)]
struct Outsiders {
    asked: Vec<Asking>,
    /// What each rollout was told last, by the name of the metric or none for a web hook.
    pub(super) told: std::collections::BTreeMap<(String, Option<String>), bool>,
}

struct Asking {
    inquiry: CheckRequest,
    answered: Box<dyn FnOnce(Answer) + Send>,
}

impl Outside {
    fn outsiders(&self) -> MutexGuard<'_, Outsiders> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers what was asked.
    pub(super) fn answer(&self, mood: Mood) {
        let asked = std::mem::take(&mut self.outsiders().asked);
        for Asking { inquiry, answered } in asked.into_iter().rev() {
            let of_hook = matches!(inquiry.what, Asked::Consent(_));
            let answer = match (mood, of_hook) {
                (Mood::Good | Mood::Late, true) => Answer::Hook(HookAnswer::Agreed(200)),
                (Mood::Bad, true) => Answer::Hook(HookAnswer::Refused(500)),
                (Mood::NotANumber | Mood::Silent, true) => {
                    Answer::Hook(HookAnswer::Silent("no answer".to_owned()))
                }
                (Mood::Good | Mood::Late, false) => Answer::Reading(Reading::Value(1.0)),
                (Mood::Bad, false) => Answer::Reading(Reading::Value(1e9)),
                (Mood::NotANumber, false) => Answer::Reading(Reading::Value(f64::NAN)),
                (Mood::Silent, false) => Answer::Reading(Reading::Nothing("no answer".to_owned())),
            };
            let is_good = matches!(mood, Mood::Good | Mood::Late);
            self.outsiders().told.insert((inquiry.subject.rollout, inquiry.subject.metric), is_good);
            answered(answer);
        }
    }

    /// Whether anybody waits for an answer.
    pub(super) fn is_asked(&self) -> bool {
        !self.outsiders().asked.is_empty()
    }

    /// What a rollout was told last by a metric, or by a web hook.
    pub(super) fn told(&self, rollout: &str, metric: Option<&str>) -> Option<bool> {
        self.outsiders().told.get(&(rollout.to_owned(), metric.map(str::to_owned))).copied()
    }
}

impl Asker for Outside {
    fn ask(
        &self,
        inquiry: CheckRequest,
        _: Arc<Settings>,
        _: Arc<dyn Clock>,
        answered: Box<dyn FnOnce(Answer) + Send>,
    ) {
        self.outsiders().asked.push(Asking { inquiry, answered });
    }
}
