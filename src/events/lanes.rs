//! Which events wait for what: a lane for each function, so that one that is slow or full keeps no other waiting.
//!
//! A lane has so many places at once. It begins with a few, gains one with each answer, and loses half when there was no
//! room for an event: what a function takes is found out and not guessed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use crate::store::events::Waiting;
use serin_core::model::arn::FunctionName;
use serin_core::model::time::Timestamp;

/// Places of a lane at first, and at most.
const PLACES_FIRST: usize = 10;
const PLACES_MAX: usize = 50;
/// Places of a lane that tells destinations.
const PLACES_TELLING: usize = 4;

/// An event that waits, or is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) waiting: Waiting,
    /// How often in a row no version or no destination took it; a restart forgets that.
    pub(super) put_off: u32,
}

impl Turn {
    fn key(&self) -> (Timestamp, i64) {
        (self.waiting.due_at, self.waiting.seq)
    }
}

impl Ord for Turn {
    fn cmp(&self, other: &Turn) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Turn) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// A function, and whether the lane is that of events which have ended and are told of.
type Key = (FunctionName, bool);

struct Lane {
    due: BinaryHeap<Reverse<Turn>>,
    under_way: usize,
    places: usize,
    /// All of its events, waiting or under way: when they were accepted.
    accepted: BTreeSet<(Timestamp, i64)>,
}

/// How many events of a lane wait, and since when.
pub(super) struct Count {
    pub(super) function: FunctionName,
    pub(super) is_owed: bool,
    pub(super) events: usize,
    pub(super) oldest: Option<Timestamp>,
}

/// All lanes.
pub(super) struct Lanes {
    lanes: BTreeMap<Key, Lane>,
    /// Nothing is ever put off longer than this.
    wait_max: Duration,
}

impl Lanes {
    pub(super) fn new(wait_max: Duration) -> Lanes {
        Lanes { lanes: BTreeMap::new(), wait_max }
    }

    pub(super) fn add(&mut self, waiting: Waiting) {
        self.push(Turn { waiting, put_off: 0 });
    }

    fn push(&mut self, turn: Turn) {
        let Waiting { function, is_owed, accepted_at, seq, .. } = &turn.waiting;
        let lane = self.lanes.entry((function.clone(), *is_owed)).or_insert_with(|| Lane {
            due: BinaryHeap::new(),
            under_way: 0,
            places: if *is_owed { PLACES_TELLING } else { PLACES_FIRST },
            accepted: BTreeSet::new(),
        });
        lane.accepted.insert((*accepted_at, *seq));
        lane.due.push(Reverse(turn));
    }

    /// Takes up to so many events that are due; lanes with fewer under way come first.
    pub(super) fn take_due(&mut self, now: Timestamp, most: usize) -> Vec<Turn> {
        let wait_max = self.wait_max;
        let mut hungry: Vec<&mut Lane> = self
            .lanes
            .values_mut()
            .filter(|lane| lane.next_due(now, wait_max) == Some(Duration::ZERO))
            .collect();
        let mut taken = Vec::new();
        while taken.len() < most && !hungry.is_empty() {
            hungry.sort_by_key(|lane| lane.under_way);
            for lane in hungry.iter_mut().take(most - taken.len()) {
                if let Some(Reverse(turn)) = lane.due.pop() {
                    lane.under_way += 1;
                    taken.push(turn);
                }
            }
            hungry.retain(|lane| lane.next_due(now, wait_max) == Some(Duration::ZERO));
        }
        taken
    }

    /// How long until something is due that there is a place for.
    pub(super) fn next_due(&self, now: Timestamp) -> Option<Duration> {
        self.lanes.values().filter_map(|lane| lane.next_due(now, self.wait_max)).min()
    }

    /// What a turn came to.
    pub(super) fn step(&mut self, turn: &Turn, step: Step) {
        let Waiting { function, is_owed, accepted_at, seq, .. } = turn.waiting.clone();
        let key = (function, is_owed);
        let Some(lane) = self.lanes.get_mut(&key) else { return };
        lane.under_way -= 1;
        lane.accepted.remove(&(accepted_at, seq));
        if !is_owed {
            match step {
                Step::Gone | Step::Again { .. } | Step::Owed { .. } => {
                    lane.places = (lane.places + 1).min(PLACES_MAX);
                }
                Step::PutOff { .. } => lane.places = (lane.places / 2).max(1),
                Step::Later { .. } | Step::Left => {}
            }
        }
        if lane.accepted.is_empty() {
            self.lanes.remove(&key);
        }
        let again = |due_at, failures, is_owed, put_off| Turn {
            waiting: Waiting { due_at, failures, is_owed, ..turn.waiting.clone() },
            put_off,
        };
        let failures = turn.waiting.failures;
        match step {
            Step::Gone | Step::Left => {}
            Step::Later { due_at } => self.push(again(due_at, failures, is_owed, turn.put_off)),
            Step::Again { due_at } => self.push(again(due_at, failures + 1, is_owed, 0)),
            Step::PutOff { due_at } => {
                self.push(again(due_at, failures, is_owed, turn.put_off.saturating_add(1)));
            }
            Step::Owed { due_at } => self.push(again(due_at, failures, true, 0)),
        }
    }

    /// How many events wait, lane by lane.
    pub(super) fn waiting(&self) -> impl Iterator<Item = Count> + '_ {
        self.lanes.iter().map(|((function, is_owed), lane)| Count {
            function: function.clone(),
            is_owed: *is_owed,
            events: lane.accepted.len(),
            oldest: lane.accepted.first().map(|(accepted_at, _)| *accepted_at),
        })
    }
}

impl Lane {
    /// How long until its next event is due; `None` without one or without a place for it.
    fn next_due(&self, now: Timestamp, wait_max: Duration) -> Option<Duration> {
        if self.under_way >= self.places {
            return None;
        }
        let Reverse(first) = self.due.peek()?;
        let wait = first.waiting.due_at.since(now);
        // Longer than anything is put off: the clock was set back meanwhile.
        Some(if wait > wait_max { Duration::ZERO } else { wait })
    }
}

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The event is done with.
    Gone,
    /// The function failed, and is tried again then.
    Again { due_at: Timestamp },
    /// No version or no destination took it; it is tried again then.
    PutOff { due_at: Timestamp },
    /// It has ended, and its destinations are to be told.
    Owed { due_at: Timestamp },
    /// Another process has seen to it that it is due then.
    Later { due_at: Timestamp },
    /// serin ends; the event stays as it is.
    Left,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(function: &str, seq: i64, due_ms: i64) -> Waiting {
        Waiting {
            seq,
            function: function.parse().unwrap(),
            accepted_at: Timestamp(seq),
            due_at: Timestamp(due_ms),
            failures: 0,
            is_owed: false,
        }
    }

    fn lanes(events: impl IntoIterator<Item = Waiting>) -> Lanes {
        let mut lanes = Lanes::new(Duration::from_secs(300));
        events.into_iter().for_each(|event| lanes.add(event));
        lanes
    }

    #[test]
    fn a_function_that_is_slow_keeps_no_other_waiting() {
        let mut lanes = lanes(
            (0..100).map(|seq| waiting("slow", seq, 0)).chain([waiting("zz", 100, 0), waiting("zz", 101, 9)]),
        );
        let first = lanes.take_due(Timestamp(5), 4);
        assert_eq!(first.iter().filter(|turn| turn.waiting.function.as_str() == "zz").count(), 1);
        assert_eq!(lanes.take_due(Timestamp(5), 100).len(), PLACES_FIRST - 3, "no more than its places");
        assert_eq!(lanes.next_due(Timestamp(5)), Some(Duration::from_millis(4)), "the other's next");
        let next = lanes.take_due(Timestamp(9), 100);
        assert_eq!(next.iter().map(|turn| turn.waiting.seq).collect::<Vec<_>>(), [101]);
    }

    #[test]
    fn places_follow_what_a_function_takes() {
        let mut lanes = lanes((0..1000).map(|seq| waiting("f", seq, 0)));
        let mut turns = lanes.take_due(Timestamp(0), 1000);
        for turn in turns.drain(..) {
            lanes.step(&turn, Step::Gone);
        }
        turns = lanes.take_due(Timestamp(0), 1000);
        assert_eq!(turns.len(), 2 * PLACES_FIRST, "each answer made room for one more");
        for turn in turns.drain(..) {
            lanes.step(&turn, Step::PutOff { due_at: Timestamp(1000) });
        }
        assert_eq!(lanes.take_due(Timestamp(0), 1000).len(), 1, "no room at all leaves one that tries");
    }

    #[test]
    fn what_a_turn_came_to_moves_it() {
        let mut lanes = lanes([waiting("f", 1, 0)]);
        let take = |lanes: &mut Lanes, at| lanes.take_due(Timestamp(at), 9).pop();
        let turn = take(&mut lanes, 0).unwrap();
        lanes.step(&turn, Step::PutOff { due_at: Timestamp(10) });
        let turn = take(&mut lanes, 10).unwrap();
        assert_eq!((turn.put_off, turn.waiting.failures), (1, 0));
        lanes.step(&turn, Step::Again { due_at: Timestamp(20) });
        assert_eq!(take(&mut lanes, 19), None);
        let turn = take(&mut lanes, 20).unwrap();
        assert_eq!((turn.put_off, turn.waiting.failures), (0, 1));
        lanes.step(&turn, Step::Owed { due_at: Timestamp(20) });
        let counts: Vec<_> =
            lanes.waiting().map(|count| (count.is_owed, count.events, count.oldest)).collect();
        assert_eq!(counts, [(true, 1, Some(Timestamp(1)))]);
        let turn = take(&mut lanes, 20).unwrap();
        lanes.step(&turn, Step::Gone);
        assert_eq!(lanes.waiting().count(), 0);
    }

    #[test]
    fn a_clock_that_was_set_back_keeps_nothing_waiting() {
        let day_ms = 86_400_000;
        let mut lanes = lanes([waiting("f", 1, day_ms)]);
        assert_eq!(lanes.next_due(Timestamp(day_ms - 300_000)), Some(Duration::from_secs(300)));
        assert_eq!(lanes.take_due(Timestamp(0), 1).len(), 1);
    }
}
