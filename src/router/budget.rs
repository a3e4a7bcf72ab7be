//! What the payloads of Invokes may take of memory, on all threads together.
//!
//! Lambda's callers may send 6 MiB each, and those must be in memory before anybody can be asked. Small ones are not
//! counted, for there are no more of them than connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Up to here a payload is small.
const SMALL_BYTES_MAX: usize = 64 << 10;
/// What payloads may take that are not here whole.
const COMING_BYTES_MAX: usize = 32 << 20;
/// What those may take that are, and wait for their answers.
const HERE_BYTES_MAX: usize = 128 << 20;

/// What is taken of memory.
#[derive(Debug, Default)]
pub(super) struct PayloadBudget {
    coming: AtomicUsize,
    here: AtomicUsize,
}

impl PayloadBudget {
    /// Room for a payload that begins to come.
    pub(super) fn room(self: &Arc<PayloadBudget>) -> Room {
        Room { budget: Arc::clone(self), bytes: 0, is_here: false }
    }
}

/// The room of one payload, until it is dropped.
#[derive(Debug)]
pub(super) struct Room {
    budget: Arc<PayloadBudget>,
    bytes: usize,
    is_here: bool,
}

impl Room {
    /// Makes room for a payload that has become this long; false where there is none.
    #[must_use]
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        if bytes <= SMALL_BYTES_MAX {
            return true;
        }
        let more = bytes - std::mem::replace(&mut self.bytes, bytes);
        self.budget.coming.fetch_add(more, Ordering::Relaxed) + more <= COMING_BYTES_MAX
    }

    /// All of it is here; false where there is no room for it among those that are.
    #[must_use]
    pub(super) fn is_whole(&mut self) -> bool {
        if self.bytes == 0 {
            return true;
        }
        self.is_here = true;
        self.budget.coming.fetch_sub(self.bytes, Ordering::Relaxed);
        self.budget.here.fetch_add(self.bytes, Ordering::Relaxed) + self.bytes <= HERE_BYTES_MAX
    }

    /// Whether it takes room that others will soon want.
    pub(super) fn is_wanted(&self) -> bool {
        self.bytes > 0 && self.budget.coming.load(Ordering::Relaxed) > COMING_BYTES_MAX / 2
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let of = if self.is_here { &self.budget.here } else { &self.budget.coming };
        of.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: usize = 6 << 20;

    #[test]
    fn large_payloads_have_so_much_room_and_no_more() {
        let budget = Arc::<PayloadBudget>::default();
        let mut coming: Vec<Room> = Vec::new();
        for _ in 0..COMING_BYTES_MAX / LARGE {
            let mut room = budget.room();
            assert!(room.grow(LARGE / 2) && room.grow(LARGE));
            coming.push(room);
        }
        let mut small = budget.room();
        assert!(!budget.room().grow(LARGE) && small.grow(SMALL_BYTES_MAX) && small.is_whole());
        assert!(coming[0].is_wanted() && !small.is_wanted());
        let mut here = Vec::new();
        for _ in 0..HERE_BYTES_MAX / LARGE {
            let mut room = budget.room();
            coming.pop();
            assert!(room.grow(LARGE) && room.is_whole());
            here.push(room);
        }
        let mut more = budget.room();
        assert!(more.grow(LARGE) && !more.is_whole());
        drop((here, coming, more));
        assert_eq!((budget.coming.load(Ordering::Relaxed), budget.here.load(Ordering::Relaxed)), (0, 0));
    }
}
