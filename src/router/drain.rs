//! One worker's connections, the wish that they come to an end, and who ends when there is no room or nobody there.
//!
//! There are two wishes. Who leaves has a successor on the same address: a connection ends with the next answer, and
//! one that is idle may stay until then, for to close it just as its client speaks again would fail a request. Who drains
//! has none, and idle connections end at once.
//!
//! Where there is no room for a newcomer, the connection ends that has asked for nothing for longest; where all have
//! asked, the one that has been idle for longest since its last answer.
//!
//! Everything here is one thread's, so a flag and a list of wakers do; no connection pays for a channel, and a request for
//! two notes of whose turn it is.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::plain::PlainIo;
use crate::metrics::connections::Refused;

/// So many idle connections are found by a look at all of them.
const IDLE_FOUND_MAX: usize = 64;

/// Whether the worker drains, and who must hear of it.
#[derive(Default)]
pub(super) struct Drain {
    is_leaving: Cell<bool>,
    is_draining: Cell<bool>,
    next_id: Cell<u64>,
    entries: RefCell<HashMap<u64, Entry>>,
    /// Connections that have asked for nothing yet, the oldest first, and those that are to leave therefore.
    silent: RefCell<BTreeSet<u64>>,
    evicted: RefCell<BTreeSet<u64>>,
    /// Connections whose clients were found to be gone.
    gone: RefCell<BTreeSet<u64>>,
    /// Connections that were idle at the last look, the one that was so for longest first, and since when.
    idle: RefCell<VecDeque<(u64, u64)>>,
    /// Counts how often a connection has become idle.
    rests: Rc<Cell<u64>>,
    waiting: RefCell<Option<Waker>>,
}

/// What is known of one connection or call.
struct Entry {
    waker: Waker,
    turn: Option<Turn>,
    socket: Option<PlainIo>,
}

/// Whether a connection that has asked is idle, as whoever serves it notes.
#[derive(Clone)]
pub(super) struct Turn {
    /// Since which rest, by the count of all.
    idle_since: Rc<Cell<Option<u64>>>,
    rests: Rc<Cell<u64>>,
}

impl Turn {
    /// A request is under way.
    pub(super) fn works(&self) {
        self.idle_since.set(None);
    }

    /// None is any more.
    pub(super) fn rests(&self) {
        let rest = self.rests.get() + 1;
        self.rests.set(rest);
        self.idle_since.set(Some(rest));
    }
}

impl Drain {
    /// Counts one connection or call in, until the guard is dropped.
    pub(super) fn enter(self: &Rc<Self>) -> Guard {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        let entry = Entry { waker: Waker::noop().clone(), turn: None, socket: None };
        self.entries.borrow_mut().insert(id, entry);
        Guard { drain: Rc::clone(self), id }
    }

    /// The same for a connection, which may have to make room for another until it asks for something.
    pub(super) fn enter_silent(self: &Rc<Self>) -> Guard {
        let guard = self.enter();
        self.silent.borrow_mut().insert(guard.id);
        guard
    }

    /// A connection has asked for something.
    pub(super) fn has_asked(&self, id: u64) {
        self.silent.borrow_mut().remove(&id);
    }

    /// Has the connection end that has asked for nothing for longest, or else the one that has been idle for longest; says
    /// which of both it was, and nothing where none can end.
    pub(super) fn evict(&self) -> Option<Refused> {
        let silent = self.silent.borrow_mut().pop_first();
        let (id, why) = match silent {
            Some(oldest) => (oldest, Refused::NoRequest),
            None => (self.next_idle()?, Refused::Idle),
        };
        self.evicted.borrow_mut().insert(id);
        if let Some(entry) = self.entries.borrow().get(&id) {
            entry.waker.wake_by_ref();
        }
        Some(why)
    }

    /// The connection that has been idle for longest.
    fn next_idle(&self) -> Option<u64> {
        let entries = self.entries.borrow();
        let mut idle = self.idle.borrow_mut();
        if idle.is_empty() {
            let all = entries.iter().filter_map(|(id, entry)| Some((*id, entry.idle_since()?)));
            let mut found: Vec<(u64, u64)> = all.collect();
            if found.len() > IDLE_FOUND_MAX {
                found.select_nth_unstable_by_key(IDLE_FOUND_MAX, |(_, since)| *since);
                found.truncate(IDLE_FOUND_MAX);
            }
            found.sort_unstable_by_key(|(_, since)| *since);
            idle.extend(found);
        }
        while let Some((id, since)) = idle.pop_front() {
            // Found a while ago: it may have asked again, or be about to.
            let is_it = |entry: &Entry| entry.idle_since() == Some(since) && entry.is_quiet();
            if entries.get(&id).is_some_and(is_it) {
                return Some(id);
            }
        }
        None
    }

    /// Has those connections end whose clients are gone.
    ///
    /// Whoever waits for a version reads nothing of its client, and would learn of a reset only when it sends.
    pub(super) fn end_those_that_were_reset(&self) {
        for (id, entry) in &*self.entries.borrow() {
            if entry.socket.as_ref().is_some_and(PlainIo::was_reset) && self.gone.borrow_mut().insert(*id) {
                entry.waker.wake_by_ref();
            }
        }
    }

    /// Whether one that is to make room has not left yet.
    pub(super) fn is_evicting(&self) -> bool {
        !self.evicted.borrow().is_empty()
    }

    /// Asks everybody to come to an end with their next answer.
    pub(super) fn leave(&self) {
        self.is_leaving.set(true);
        self.entries.borrow().values().for_each(|entry| entry.waker.wake_by_ref());
    }

    /// Asks everybody to come to an end.
    pub(super) fn begin(&self) {
        self.is_draining.set(true);
        self.leave();
    }

    /// Whether an answer is to be a connection's last one.
    pub(super) fn is_leaving(&self) -> bool {
        self.is_leaving.get()
    }

    /// Returns when nobody is left.
    pub(super) async fn ended(&self) {
        poll_fn(|cx| {
            if self.entries.borrow().is_empty() {
                return Poll::Ready(());
            }
            *self.waiting.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Entry {
    fn idle_since(&self) -> Option<u64> {
        self.turn.as_ref()?.idle_since.get()
    }

    /// Whether nothing is under way to its client or from it, as far as can be seen here.
    fn is_quiet(&self) -> bool {
        self.socket.as_ref().is_none_or(PlainIo::is_quiet)
    }
}

/// One connection or call that is counted in.
pub(super) struct Guard {
    drain: Rc<Drain>,
    id: u64,
}

impl Guard {
    /// What it is counted in.
    pub(super) fn drain(&self) -> Rc<Drain> {
        Rc::clone(&self.drain)
    }

    /// What it is called there.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Whether it is to make room for another.
    pub(super) fn is_evicted(&self) -> bool {
        let evicted = self.drain.evicted.borrow();
        !evicted.is_empty() && evicted.contains(&self.id)
    }

    /// Whether it is asked to come to an end.
    pub(super) fn is_draining(&self) -> bool {
        self.drain.is_draining.get()
    }

    /// Whether it is to end when it can, however that is done without a loss.
    pub(super) fn is_leaving(&self) -> bool {
        self.drain.is_leaving()
    }

    /// Whom to wake when that is asked.
    pub(super) fn listen(&self, waker: &Waker) {
        if let Some(entry) = self.drain.entries.borrow_mut().get_mut(&self.id) {
            entry.waker = waker.clone();
        }
    }

    /// Where its client is, to be looked at beside everything else.
    pub(super) fn watch(&self, socket: PlainIo) {
        if let Some(entry) = self.drain.entries.borrow_mut().get_mut(&self.id) {
            entry.socket = Some(socket);
        }
    }

    /// Where to note whether it is idle.
    pub(super) fn turn(&self) -> Turn {
        let turn = Turn { idle_since: Rc::default(), rests: Rc::clone(&self.drain.rests) };
        if let Some(entry) = self.drain.entries.borrow_mut().get_mut(&self.id) {
            entry.turn = Some(turn.clone());
        }
        turn
    }

    /// Whether its client was found to be gone.
    pub(super) fn is_gone(&self) -> bool {
        let gone = self.drain.gone.borrow();
        !gone.is_empty() && gone.contains(&self.id)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.drain.entries.borrow_mut().remove(&self.id);
        self.drain.silent.borrow_mut().remove(&self.id);
        self.drain.evicted.borrow_mut().remove(&self.id);
        self.drain.gone.borrow_mut().remove(&self.id);
        if self.drain.entries.borrow().is_empty()
            && let Some(waiting) = self.drain.waiting.take()
        {
            waiting.wake();
        }
    }
}
