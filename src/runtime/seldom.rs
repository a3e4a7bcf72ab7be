//! Things that may happen a thousand times a second and are worth one line a minute.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;

/// How long is silence after a line.
const SILENCE: Duration = Duration::from_secs(60);

/// Counts what happens, and says so now and then.
pub(super) struct Seldom(Mutex<(Option<Instant>, u64)>);

impl Seldom {
    /// Nothing has happened yet.
    pub(super) const fn new() -> Seldom {
        Seldom(Mutex::new((None, 0)))
    }

    /// It happened once more: `say` is called with how often since it was called last, once a minute at most.
    pub(super) fn happened(&self, say: impl FnOnce(u64)) {
        let now = clock::instant_now();
        let count = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let (said, count) = &mut *state;
            *count += 1;
            if said.is_some_and(|said| now.duration_since(said) < SILENCE) {
                return;
            }
            *said = Some(now);
            std::mem::take(count)
        };
        say(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_times_is_one_line() {
        let (seldom, mut said) = (Seldom::new(), Vec::new());
        (0..1000).for_each(|_| seldom.happened(|count| said.push(count)));
        assert_eq!(said, [1]);
    }
}
