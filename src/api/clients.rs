//! The connections of the control listener: how many there may be, whose turn it is, and who goes when there is no room.
//!
//! Whoever is full of clients that keep it waiting is closed to everybody else, an operator with a rollback among them.
//! So a new connection takes the place of the one that has kept serin waiting longest; only what serin itself is busy
//! with is never cut off, and is bounded apart from that.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::timeout;

use crate::clock;

/// So many connections are never taken by requests that are worked on, so that health is always told.
const KEPT_FREE: usize = 8;
/// A client may keep serin waiting for so long, and one that takes an answer or a stream, before it can lose its place.
const WAITING_MIN: Duration = Duration::from_millis(20);
const ANSWERING_MIN: Duration = Duration::from_secs(1);
/// How often is looked for somebody who can, while everybody is worked for.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Why a connection or request was not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Its place was given to another, for it kept serin waiting longest.
    Waiting,
    /// As many requests as there may be are worked on.
    Requests,
    /// There was no room for its body.
    Body,
}

impl Refused {
    /// All of them.
    pub const ALL: [Refused; 3] = [Refused::Waiting, Refused::Requests, Refused::Body];

    /// As metrics call it.
    pub fn name(self) -> &'static str {
        match self {
            Refused::Waiting => "waiting",
            Refused::Requests => "requests",
            Refused::Body => "body",
        }
    }
}

/// Everybody who is connected.
#[derive(Debug)]
pub struct Clients {
    max: usize,
    begun: Instant,
    open: Mutex<Open>,
    /// Somebody has left.
    left: Notify,
    working: AtomicUsize,
    refused: [AtomicU64; Refused::ALL.len()],
}

#[derive(Debug, Default)]
struct Open {
    next_id: u64,
    clients: BTreeMap<u64, Arc<Turn>>,
}

/// Whose turn it is on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Stage {
    /// The client's, to send the head of a request, or more of its body.
    Waiting,
    /// The client's, to take the answer.
    Answering,
    /// Ours.
    Working,
}

#[derive(Debug)]
pub(super) struct Turn {
    stage: AtomicU8,
    since_ms: AtomicU64,
    begun: Instant,
    is_cut: AtomicBool,
    cut: Notify,
}

impl Turn {
    /// It is somebody else's turn.
    pub(super) fn reach(&self, stage: Stage) {
        if self.stage.swap(stage as u8, Ordering::Relaxed) != stage as u8 {
            self.since_ms.store(since_ms(self.begun), Ordering::Relaxed);
        }
    }

    /// Returns when the place is given to another.
    pub(super) async fn cut(&self) {
        self.cut.notified().await;
    }

    /// How ready it is to be cut off, the least first; `None` where it is not.
    fn patience(&self, now_ms: u64) -> Option<(u8, u64)> {
        let (stage, since_ms) = (self.stage.load(Ordering::Relaxed), self.since_ms.load(Ordering::Relaxed));
        let least = match stage {
            stage if stage == Stage::Waiting as u8 => WAITING_MIN,
            stage if stage == Stage::Answering as u8 => ANSWERING_MIN,
            _ => return None,
        };
        let is_ready = now_ms.saturating_sub(since_ms) >= least.as_millis() as u64;
        (is_ready && !self.is_cut.load(Ordering::Relaxed)).then_some((stage, since_ms))
    }
}

fn since_ms(begun: Instant) -> u64 {
    u64::try_from(clock::instant_now().duration_since(begun).as_millis()).unwrap_or(u64::MAX)
}

impl Clients {
    /// Nobody yet; at most so many later.
    pub fn new(max: usize) -> Arc<Clients> {
        Arc::new(Clients {
            max: max.max(1),
            begun: clock::instant_now(),
            open: Mutex::default(),
            left: Notify::new(),
            working: AtomicUsize::new(0),
            refused: Default::default(),
        })
    }

    /// How many are connected.
    pub fn open(&self) -> usize {
        self.opened().clients.len()
    }

    /// How many were not served, for a reason.
    pub fn refused(&self, why: Refused) -> u64 {
        self.refused[why as usize].load(Ordering::Relaxed)
    }

    pub(super) fn refuse(&self, why: Refused) {
        self.refused[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn opened(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place, by taking somebody's if need be.
    pub(super) async fn admit(self: &Arc<Clients>) -> Place {
        loop {
            if let Some(place) = self.place() {
                return place;
            }
            self.cut_one();
            // Whoever was cut off leaves at once; where nobody can be, somebody may later.
            let _ = timeout(LOOK_EVERY, self.left.notified()).await;
        }
    }

    fn place(self: &Arc<Clients>) -> Option<Place> {
        let mut open = self.opened();
        if open.clients.len() >= self.max {
            return None;
        }
        let id = open.next_id;
        open.next_id += 1;
        let turn = Arc::new(Turn {
            stage: AtomicU8::new(Stage::Waiting as u8),
            since_ms: AtomicU64::new(since_ms(self.begun)),
            begun: self.begun,
            is_cut: AtomicBool::new(false),
            cut: Notify::new(),
        });
        open.clients.insert(id, Arc::clone(&turn));
        Some(Place { clients: Arc::clone(self), id, turn })
    }

    /// Cuts off whoever has kept serin waiting longest.
    fn cut_one(&self) {
        let now_ms = since_ms(self.begun);
        let open = self.opened();
        let ready = open.clients.values().filter_map(|turn| Some((turn.patience(now_ms)?, turn)));
        if let Some((_, turn)) = ready.min_by_key(|(patience, _)| *patience) {
            turn.is_cut.store(true, Ordering::Relaxed);
            turn.cut.notify_one();
            self.refuse(Refused::Waiting);
        }
    }

    /// Room to work on a request; `None`, and counted, when as many are worked on as there may be.
    pub(super) fn work(self: &Arc<Clients>) -> Option<Work> {
        let max = self.max.saturating_sub(KEPT_FREE).max(1);
        let work = Work(Arc::clone(self));
        let before = self.working.fetch_add(1, Ordering::Relaxed);
        if before < max {
            return Some(work);
        }
        self.refuse(Refused::Requests);
        None
    }

    /// Returns when nobody is connected.
    pub(super) async fn all_left(&self) {
        while self.open() > 0 {
            let _ = timeout(LOOK_EVERY * 10, self.left.notified()).await;
        }
    }
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    clients: Arc<Clients>,
    id: u64,
    pub(super) turn: Arc<Turn>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clients.opened().clients.remove(&self.id);
        self.clients.left.notify_one();
    }
}

/// A request that is worked on, until it is dropped.
#[derive(Debug)]
pub(super) struct Work(Arc<Clients>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.working.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waited(place: &Place, ms: u64) {
        place.turn.since_ms.store(0, Ordering::Relaxed);
        assert!(place.turn.patience(ms).is_none_or(|(_, since)| since == 0));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn whoever_keeps_serin_waiting_longest_makes_room() {
        let mut clients = Clients::new(3);
        // As if it had begun a minute ago.
        Arc::get_mut(&mut clients).unwrap().begun -= Duration::from_secs(60);
        let places: Vec<Place> = (0..3).map(|_| clients.place().unwrap()).collect();
        assert!(clients.place().is_none());
        places[0].turn.reach(Stage::Working);
        places[1].turn.reach(Stage::Answering);
        places.iter().for_each(|place| waited(place, 60_000));
        clients.cut_one();
        places[2].turn.cut().await;
        clients.cut_one();
        places[1].turn.cut().await;
        clients.cut_one();
        assert_eq!(clients.refused(Refused::Waiting), 2, "what is worked on is not cut off");
        drop(places);
        assert_eq!(clients.open(), 0);
        clients.admit().await;
    }

    #[test]
    fn requests_leave_room_for_health() {
        let clients = Clients::new(KEPT_FREE + 2);
        let working: Vec<Work> = (0..2).map(|_| clients.work().unwrap()).collect();
        assert!(clients.work().is_none());
        drop(working);
        assert!(clients.work().is_some());
        assert_eq!(clients.refused(Refused::Requests), 1);
    }
}
