//! The only reader of clocks.
//!
//! Uptime comes from the monotonic clock, which stands still while the machine sleeps, and is credited in ticks: a
//! process that was stopped for ten minutes earns at most the credit of one tick, because nobody served or judged
//! anything meanwhile.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::domain::time::{Moment, Timestamp, Uptime};

/// What "now" is.
pub trait Clock: Send + Sync {
    /// The present moment on both clocks.
    fn now(&self) -> Moment;
}

/// The longest stretch between two looks at the clock that is credited as uptime in full.
///
/// Whoever keeps time must look at least twice in this span.
pub const CREDIT_MAX: Duration = Duration::from_secs(2);

/// The machine's clocks.
pub struct SystemClock {
    last: Mutex<(Instant, Uptime)>,
}

impl SystemClock {
    /// Goes on from the uptime the store remembers.
    #[expect(clippy::disallowed_methods, reason = "the owner of the monotonic clock")]
    pub fn resumed(from: Uptime) -> SystemClock {
        SystemClock { last: Mutex::new((Instant::now(), from)) }
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the owner of the monotonic clock")]
    fn now(&self) -> Moment {
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let instant = Instant::now();
        let whole_ms = instant.duration_since(last.0).as_millis() as u64;
        let credit_ms = whole_ms.min(CREDIT_MAX.as_millis() as u64);
        last.0 += Duration::from_millis(whole_ms);
        last.1 = Uptime(last.1.0 + credit_ms);
        Moment { wall: wall_now(), up: last.1 }
    }
}

/// The wall clock, for what has no uptime: one-shot commands and the first line of a log.
#[expect(clippy::disallowed_methods, reason = "the owner of the wall clock")]
pub fn wall_now() -> Timestamp {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp(match since_epoch {
        Ok(after) => after.as_millis() as i64,
        Err(before) => -(before.duration().as_millis() as i64),
    })
}

/// The monotonic clock, for measuring how long something took.
#[expect(clippy::disallowed_methods, reason = "the owner of the monotonic clock")]
pub fn instant_now() -> Instant {
    Instant::now()
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
