//! The only reader of clocks.
//!
//! Uptime comes from the monotonic clock, which stands still while the machine sleeps, and is what lies between beats of
//! the data plane: a process that was stopped earns nothing for it, however often it is continued, because nobody served
//! or judged anything meanwhile.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serin_core::model::time::{Moment, Timestamp, Uptime};

/// What "now" is.
pub trait Clock: Send + Sync {
    /// The present moment on both clocks.
    fn now(&self) -> Moment;
}

/// How often the data plane shows that it serves.
pub const BEAT_EVERY: Duration = Duration::from_millis(50);
/// What lies between two beats further apart than this was not seen to be served, and is credited to nobody.
const GAP_MAX: Duration = Duration::from_millis(250);

/// Time in which the data plane was seen to serve: a process that was stopped, or a router that hangs, earns none.
#[derive(Default)]
pub struct Heart {
    beats: Mutex<Beats>,
}

#[derive(Default)]
struct Beats {
    last: Option<Instant>,
    served: Duration,
}

impl Heart {
    /// Says that requests are served at this moment; any thread that serves them may.
    pub fn beat(&self) {
        self.beat_at(instant_now());
    }

    fn beat_at(&self, now: Instant) {
        let mut beats = self.beats.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let gap = beats.last.map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        if gap <= GAP_MAX {
            beats.served += gap;
        }
        // Threads that beat at once may come out of order.
        beats.last = beats.last.max(Some(now));
    }

    /// How long requests were served, as far as that was seen.
    pub fn served(&self) -> Duration {
        self.beats.lock().unwrap_or_else(std::sync::PoisonError::into_inner).served
    }
}

/// The machine's clocks.
pub struct SystemClock {
    from: Uptime,
    heart: Arc<Heart>,
    served_before: Duration,
}

impl SystemClock {
    /// Goes on from the uptime the store remembers, with every beat of a heart.
    pub fn resumed(from: Uptime, heart: Arc<Heart>) -> SystemClock {
        SystemClock { from, served_before: heart.served(), heart }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        Moment {
            wall: wall_now(),
            up: self.from.plus(self.heart.served().saturating_sub(self.served_before)),
        }
    }
}

/// The wall clock, for what has no uptime: one-shot commands and the first line of a log.
#[expect(clippy::disallowed_methods, reason = "the owner of the wall clock")]
pub fn wall_now() -> Timestamp {
    #[cfg(test)]
    if let Some((moment, _)) = simulated::now() {
        return moment.wall;
    }
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp(match since_epoch {
        Ok(after) => after.as_millis() as i64,
        Err(before) => -(before.duration().as_millis() as i64),
    })
}

/// The monotonic clock, for measuring how long something took.
#[expect(clippy::disallowed_methods, reason = "the owner of the monotonic clock")]
pub fn instant_now() -> Instant {
    #[cfg(test)]
    if let Some((_, instant)) = simulated::now() {
        return instant;
    }
    Instant::now()
}

/// The time of a simulation, which is all the time there is on its thread.
#[cfg(test)]
pub(crate) mod simulated {
    use std::cell::Cell;
    use std::time::Instant;

    use serin_core::model::time::Moment;

    thread_local! {
        static NOW: Cell<Option<(Moment, Instant)>> = const { Cell::new(None) };
    }

    pub(crate) fn now() -> Option<(Moment, Instant)> {
        NOW.get()
    }

    /// Sets the time of this thread, or gives it back the machine's.
    pub(crate) fn set(now: Option<(Moment, Instant)>) {
        NOW.set(now);
    }
}

/// A clock that moves when told to: for simulation and tests.
pub struct ManualClock {
    now: Mutex<Moment>,
}

impl ManualClock {
    /// Stands at `start`.
    pub fn at(start: Moment) -> ManualClock {
        ManualClock { now: Mutex::new(start) }
    }

    /// Moves both clocks forward.
    pub fn advance(&self, span: Duration) {
        let mut now = self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *now = now.plus(span);
    }

    /// Moves both clocks to a moment.
    pub fn set(&self, moment: Moment) {
        *self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = moment;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Moment {
        *self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_between_beats_close_together_was_served() {
        let heart = Heart::default();
        let start = instant_now();
        let beat = |ms: u64| heart.beat_at(start + Duration::from_millis(ms));
        for ms in [0, 50, 100] {
            beat(ms);
        }
        assert_eq!(heart.served(), Duration::from_millis(100));
        // Stopped thirty times for two seconds, and continued for thirty milliseconds each.
        let mut now = 100;
        for _ in 0..30 {
            now += 2_000;
            beat(now);
            now += 30;
            beat(now);
        }
        assert_eq!(heart.served(), Duration::from_millis(100 + 30 * 30));
        // Two threads beat, one of them late.
        beat(now - 10);
        beat(now + 20);
        assert_eq!(heart.served(), Duration::from_millis(100 + 30 * 30 + 20));
    }
}
