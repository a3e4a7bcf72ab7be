//! Whether the thread that decides still makes turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::clock;

/// A thread that has made no turn for so long is stuck, and makes none.
const STUCK_AFTER: Duration = Duration::from_secs(60);

/// The turns of a thread; cheap to clone.
#[derive(Clone)]
pub(super) struct Pulse {
    turns: Arc<AtomicU64>,
    begun: Instant,
    /// When the last turn was made, after the beginning.
    turned_ms: Arc<AtomicU64>,
}

impl Pulse {
    /// None yet, and now is as good as one.
    pub(super) fn begin() -> Pulse {
        Pulse { turns: Arc::default(), begun: clock::instant_now(), turned_ms: Arc::default() }
    }

    /// Notes a turn, or what is as good as one.
    pub(super) fn turned(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
        self.turned_ms.store(self.running_ms(), Ordering::Relaxed);
    }

    /// How many turns there were.
    pub(super) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// For how long there was none, if that is longer than it ever takes.
    pub(super) fn is_stuck_for(&self) -> Option<Duration> {
        let still_ms = self.running_ms().saturating_sub(self.turned_ms.load(Ordering::Relaxed));
        let still = Duration::from_millis(still_ms);
        (still > STUCK_AFTER).then_some(still)
    }

    fn running_ms(&self) -> u64 {
        u64::try_from(clock::instant_now().duration_since(self.begun).as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_without_a_turn_for_a_minute_is_stuck() {
        let mut pulse = Pulse::begin();
        assert_eq!(pulse.is_stuck_for(), None);
        pulse.begun -= STUCK_AFTER + Duration::from_secs(1);
        assert!(pulse.is_stuck_for() > Some(STUCK_AFTER));
        pulse.turned();
        assert_eq!((pulse.is_stuck_for(), pulse.turns()), (None, 1));
    }
}
