//! One worker's connections, and the wish that they come to an end.
//!
//! There are two wishes. Who leaves has a successor on the same address: a connection ends with the next answer, and
//! one that is idle may stay until then, for to close it just as its client speaks again would fail a request. Who drains
//! has none, and idle connections end at once.
//!
//! Everything here is one thread's, so a flag and a list of wakers do; no connection pays for a channel.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Whether the worker drains, and who must hear of it.
#[derive(Default)]
pub(super) struct Drain {
    is_leaving: Cell<bool>,
    is_draining: Cell<bool>,
    next_id: Cell<u64>,
    wakers: RefCell<HashMap<u64, Waker>>,
    /// Connections that have asked for nothing yet, the oldest first, and those that are to leave therefore.
    silent: RefCell<BTreeSet<u64>>,
    evicted: RefCell<BTreeSet<u64>>,
    waiting: RefCell<Option<Waker>>,
}

impl Drain {
    /// Counts one connection or call in, until the guard is dropped.
    pub(super) fn enter(self: &Rc<Self>) -> Guard {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        self.wakers.borrow_mut().insert(id, Waker::noop().clone());
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

    /// Has the connection end that has asked for nothing for longest; false if all have.
    pub(super) fn evict(&self) -> bool {
        let Some(oldest) = self.silent.borrow_mut().pop_first() else { return false };
        self.evicted.borrow_mut().insert(oldest);
        if let Some(waker) = self.wakers.borrow().get(&oldest) {
            waker.wake_by_ref();
        }
        true
    }

    /// Whether one that is to make room has not left yet.
    pub(super) fn is_evicting(&self) -> bool {
        !self.evicted.borrow().is_empty()
    }

    /// Asks everybody to come to an end with their next answer.
    pub(super) fn leave(&self) {
        self.is_leaving.set(true);
        self.wakers.borrow().values().for_each(Waker::wake_by_ref);
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
            if self.wakers.borrow().is_empty() {
                return Poll::Ready(());
            }
            *self.waiting.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
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
        self.drain.wakers.borrow_mut().insert(self.id, waker.clone());
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.drain.wakers.borrow_mut().remove(&self.id);
        self.drain.silent.borrow_mut().remove(&self.id);
        self.drain.evicted.borrow_mut().remove(&self.id);
        if self.drain.wakers.borrow().is_empty()
            && let Some(waiting) = self.drain.waiting.take()
        {
            waiting.wake();
        }
    }
}
