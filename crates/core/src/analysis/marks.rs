//! Marks: which users were seen in one weight epoch, and which of them have failed.
//!
//! Many workers mark at once and nobody waits: a user is a bit, and whoever sets it counts the user for its version. One
//! map holds users of both versions; `users` says why there must not be one for each. A start of `users` ends when users
//! are used up: whichever worker closes a window of its requests so has the next one begin, with the other one of two maps of
//! those who have failed. A request belongs to the start in which it was dispatched, however late it fails.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::users::{FAILED_BITS, SEEN_BITS, UserTally, WINDOW, are_used_up, bit_of};

/// Users who stick to a version, marked by whoever serves them.
#[derive(Debug)]
pub struct Marks {
    seen: Bits,
    failing: Bits,
    /// Who has failed in the present start and in the one before; each start has the map of its number's parity.
    failed: [Bits; 2],
    /// One a worker, which nobody else writes.
    windows: Box<[Window]>,
    is_starting: AtomicBool,
    start: AtomicU64,
    /// The cohort in which the present start began.
    began: AtomicU64,
    users: [AtomicU64; 2],
    users_failing: [AtomicU64; 2],
}

/// Requests of a worker's present window, and in the upper half those of users who have failed; on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Window(AtomicU64);

/// What a request is to its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit {
    /// Whether it is the user's first one.
    pub is_first: bool,
    /// The start in which it was dispatched.
    pub start: u64,
}

impl Marks {
    /// Nobody is marked, by any of so many workers.
    pub fn new(workers: usize) -> Marks {
        let pair = || [const { AtomicU64::new(0) }; 2];
        Marks {
            seen: Bits::new(SEEN_BITS),
            failing: Bits::new(FAILED_BITS),
            failed: [Bits::new(FAILED_BITS), Bits::new(FAILED_BITS)],
            windows: (0..workers.max(1)).map(|_| Window::default()).collect(),
            is_starting: AtomicBool::new(false),
            start: AtomicU64::new(0),
            began: AtomicU64::new(0),
            users: pair(),
            users_failing: pair(),
        }
    }

    /// Marks the user of a worker's request as seen.
    pub fn see(&self, worker: usize, cohort: u64, user: u64, is_canary: bool) -> Visit {
        let start = self.start.load(Ordering::Acquire);
        self.note(worker, cohort, self.failed_in(start).has(user));
        let is_first = self.seen.set(user);
        if is_first {
            self.users[usize::from(is_canary)].fetch_add(1, Ordering::Relaxed);
        }
        Visit { is_first, start }
    }

    /// Marks the user of a request as one who has failed; true if nobody knew, in the start of that request.
    pub fn fail(&self, user: u64, start: u64, is_canary: bool) -> bool {
        if self.failing.set(user) {
            self.users_failing[usize::from(is_canary)].fetch_add(1, Ordering::Relaxed);
        }
        match self.start.load(Ordering::Acquire).saturating_sub(start) {
            0 | 1 => self.failed_in(start).set(user),
            // Forgotten by now. To count stable's and not the canary's never speaks against the canary.
            _ => !is_canary,
        }
    }

    /// What was counted so far.
    pub fn tally(&self) -> UserTally {
        let pair = |of: &[AtomicU64; 2]| [0, 1].map(|side: usize| of[side].load(Ordering::Relaxed));
        let start = self.start.load(Ordering::Acquire);
        let began = self.began.load(Ordering::Relaxed);
        UserTally { start, began, failing: pair(&self.users_failing), seen: pair(&self.users) }
    }

    fn failed_in(&self, start: u64) -> &Bits {
        &self.failed[(start % 2) as usize]
    }

    fn note(&self, worker: usize, cohort: u64, is_marked: bool) {
        let Some(Window(window)) = self.windows.get(worker) else { return };
        let now = window.load(Ordering::Relaxed) + (1 | u64::from(is_marked) << 32);
        let is_over = now & u64::from(u32::MAX) == WINDOW;
        window.store(if is_over { 0 } else { now }, Ordering::Relaxed);
        if is_over && are_used_up(now >> 32) {
            self.start_anew(cohort);
        }
    }

    fn start_anew(&self, cohort: u64) {
        if self.is_starting.swap(true, Ordering::Acquire) {
            return;
        }
        let next = self.start.load(Ordering::Relaxed) + 1;
        self.failed_in(next).clear();
        // Who is dispatched in this cohort may be of either.
        self.began.store(cohort + 1, Ordering::Relaxed);
        self.start.store(next, Ordering::Release);
        self.is_starting.store(false, Ordering::Release);
    }
}

#[derive(Debug)]
struct Bits(Box<[AtomicU64]>);

impl Bits {
    fn new(bits: usize) -> Bits {
        Bits((0..bits / 64).map(|_| AtomicU64::new(0)).collect())
    }

    fn place(&self, user: u64) -> (&AtomicU64, u64) {
        let bit = bit_of(user, self.0.len() * 64);
        (&self.0[bit / 64], 1 << (bit % 64))
    }

    fn has(&self, user: u64) -> bool {
        let (word, mask) = self.place(user);
        word.load(Ordering::Relaxed) & mask != 0
    }

    /// Sets a user's bit; true if it was not set.
    fn set(&self, user: u64) -> bool {
        let (word, mask) = self.place(user);
        // Nearly always it is set already, and then nobody's cache need know.
        word.load(Ordering::Relaxed) & mask == 0 && word.fetch_or(mask, Ordering::Relaxed) & mask == 0
    }

    fn clear(&self) {
        self.0.iter().for_each(|word| word.store(0, Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_seen_and_fails_once() {
        let marks = Marks::new(1);
        let seen =
            [(7, true), (7, true), (8, false)].map(|(user, is_canary)| marks.see(0, 1, user, is_canary));
        assert_eq!(seen.map(|visit| (visit.is_first, visit.start)), [(true, 0), (false, 0), (true, 0)]);
        assert_eq!([7, 7].map(|user| marks.fail(user, 0, true)), [true, false]);
        assert!(marks.fail(8, 0, false));
        let tally = marks.tally();
        assert_eq!((tally.seen, tally.failing, tally.start), ([1, 1], [1, 1], 0));
    }

    #[test]
    fn a_start_ends_when_half_of_the_requests_come_from_users_who_have_failed() {
        let marks = Marks::new(1);
        assert!(marks.fail(1, 0, false));
        for request in 0..WINDOW {
            marks.see(0, 5, request % 2, false);
        }
        assert_eq!(marks.tally().start, 0, "half is not more than half");
        for _ in 0..WINDOW {
            marks.see(0, 6, 1, false);
        }
        let ended = marks.tally();
        assert_eq!((ended.start, ended.began), (1, 7));
        assert!(!marks.fail(1, 0, false), "a request of before, whose user was known then");
        assert!(marks.fail(1, 1, false), "marked anew, but one user all the same");
        assert_eq!(marks.tally().failing, [1, 0]);
    }

    #[test]
    fn what_fails_two_starts_late_never_speaks_against_the_canary() {
        let marks = Marks::new(1);
        for start in 0..2 {
            marks.fail(1, start, false);
            (0..WINDOW).for_each(|_| _ = marks.see(0, start, 1, false));
        }
        assert_eq!(marks.tally().start, 2);
        assert_eq!((marks.fail(9, 0, true), marks.fail(9, 0, false)), (false, true));
        assert!(marks.fail(9, 1, true), "one start late it is what it was");
    }
}
