//! Traffic as it was recorded: stretches of counts one after another, begun anywhere, and begun anew at their end.
//!
//! Within a stretch requests come at times that are uniform and independent of each other, and which of them fail is drawn
//! without putting back: so a stretch brings exactly what was counted in it, by whichever versions. A request that failed
//! fails on the version it is drawn for now.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;

use crate::simulate::draws::uniform;

/// What came within some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// How long it lasted.
    pub lasts: Duration,
    /// Requests.
    pub requests: u64,
    /// Of these, the ones that failed.
    pub failures: u64,
}

/// Stretches of traffic, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Series {
    stretches: Vec<Stretch>,
    lasts_us: u64,
}

impl Series {
    /// Adds a stretch; one that has no length adds to the one before.
    pub fn push(&mut self, stretch: Stretch) {
        let lasts_us = stretch.lasts.as_micros() as u64;
        match self.stretches.last_mut().filter(|_| lasts_us == 0) {
            Some(last) => {
                last.failures += stretch.failures;
                last.requests = (last.requests + stretch.requests).max(last.failures);
            }
            None if lasts_us == 0 => {}
            None => {
                self.lasts_us += lasts_us;
                self.stretches.push(Stretch { failures: stretch.failures.min(stretch.requests), ..stretch });
            }
        }
    }

    /// How long all of it lasted.
    pub fn lasts(&self) -> Duration {
        Duration::from_micros(self.lasts_us)
    }

    /// All requests, and those that failed.
    pub fn sum(&self) -> (u64, u64) {
        let add = |(requests, failures): (u64, u64), stretch: &Stretch| {
            (requests + stretch.requests, failures + stretch.failures)
        };
        self.stretches.iter().fold((0, 0), add)
    }
}

/// A series as it is played.
#[derive(Debug)]
pub(super) struct Playback {
    series: Arc<Series>,
    next: usize,
    until_us: u64,
    requests: u64,
    failures: u64,
}

impl Playback {
    /// Begins at the stretch that holds a moment drawn by chance.
    pub fn begin(series: &Arc<Series>, chance: &mut SmallRng) -> Playback {
        let mut left_us = (uniform(chance) * series.lasts_us as f64) as u64;
        let holds = |stretch: &Stretch| {
            let lasts_us = stretch.lasts.as_micros() as u64;
            let is_it = left_us < lasts_us;
            left_us = left_us.saturating_sub(lasts_us);
            is_it
        };
        let next = series.stretches.iter().position(holds).unwrap_or(0);
        Playback { series: Arc::clone(series), next, until_us: 0, requests: 0, failures: 0 }
    }

    /// The next request before the horizon, and whether it fails.
    pub fn next(&mut self, now_us: u64, horizon_us: u64, chance: &mut SmallRng) -> Option<(u64, bool)> {
        let mut now_us = now_us;
        loop {
            while self.until_us <= now_us {
                self.enter()?;
            }
            if self.requests > 0 {
                // The first of so many uniform times; after any moment without one those left are uniform again.
                let share = 1.0 - uniform(chance).powf(1.0 / self.requests as f64);
                let at_us = now_us + ((self.until_us - now_us) as f64 * share) as u64;
                if at_us >= horizon_us {
                    return None;
                }
                let fails = uniform(chance) * (self.requests as f64) < self.failures as f64;
                self.requests -= 1;
                self.failures -= u64::from(fails);
                return Some((at_us, fails));
            }
            if self.until_us >= horizon_us {
                return None;
            }
            now_us = self.until_us;
        }
    }

    /// Goes on to the next stretch; `None` where there is none.
    fn enter(&mut self) -> Option<()> {
        let stretch = self.series.stretches.get(self.next)?;
        self.next = (self.next + 1) % self.series.stretches.len();
        self.until_us += stretch.lasts.as_micros() as u64;
        (self.requests, self.failures) = (stretch.requests, stretch.failures);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance;

    fn stretch(seconds: u64, requests: u64, failures: u64) -> Stretch {
        Stretch { lasts: Duration::from_secs(seconds), requests, failures }
    }

    #[test]
    fn what_is_played_is_what_was_counted() {
        let mut series = Series::default();
        for counted in [stretch(10, 300, 7), stretch(0, 0, 2), stretch(60, 0, 0), stretch(1, 5, 5)] {
            series.push(counted);
        }
        assert_eq!((series.lasts(), series.sum()), (Duration::from_secs(71), (305, 14)));
        let (series, mut chance) = (Arc::new(series), chance::seeded(3));
        for _ in 0..20 {
            let mut playback = Playback::begin(&series, &mut chance);
            let (mut now_us, mut requests, mut failures) = (0, 0, 0);
            // Looks break in at any moment, and change nothing.
            for horizon_us in (1..=710).map(|tenth| tenth * 100_000) {
                while let Some((at_us, fails)) = playback.next(now_us, horizon_us, &mut chance) {
                    assert!((now_us..horizon_us).contains(&at_us));
                    (now_us, requests, failures) = (at_us, requests + 1, failures + u64::from(fails));
                }
                now_us = horizon_us;
            }
            assert_eq!((requests, failures), (305, 14), "once around, wherever it began");
        }
    }

    #[test]
    fn nothing_recorded_is_nothing_played() {
        let (series, mut chance) = (Arc::new(Series::default()), chance::seeded(1));
        assert_eq!(Playback::begin(&series, &mut chance).next(0, 1_000_000, &mut chance), None);
    }
}
