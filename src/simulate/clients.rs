//! How clients send: in bursts, in bunches over one connection, and again what failed.
//!
//! None of it hangs on a version. What is drawn by weight is still each request, or each user, so by the theorem of `harm`
//! a healthy canary has nothing to fear from it, however much outcomes hang together.

use std::time::Duration;

use rand::rngs::SmallRng;

use crate::chance;
use crate::simulate::draws::{exponential, uniform};

/// The requests of a bunch are sent within this of the first.
const BUNCH_SPAN_US: f64 = 50_000.0;
/// What failed is sent again after so long, doubled each time, half of it to one and a half.
const BACKOFF_US: f64 = 100_000.0;
/// It is doubled so often at most.
const DOUBLINGS_MAX: u32 = 6;

/// How clients send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clients {
    /// Times in which more comes.
    pub bursts: Option<Bursts>,
    /// How many requests a client sends at once, on average (geometric); 1 for independent ones. They fail alike.
    pub bunch: f64,
    /// What clients do about failures.
    pub retries: Option<Retries>,
}

impl Default for Clients {
    fn default() -> Clients {
        Clients { bursts: None, bunch: 1.0, retries: None }
    }
}

impl Clients {
    /// Whether any requests hang on others, so that each has to be played by itself.
    pub(super) fn are_of_a_piece(&self) -> bool {
        self.bunch > 1.0 || self.retries.is_some()
    }

    /// How many requests come at once.
    pub(super) fn bunch_size(&self, chance: &mut SmallRng) -> u64 {
        if self.bunch <= 1.0 {
            return 1;
        }
        let stay: f64 = 1.0 - 1.0 / self.bunch;
        1 + ((1.0 - uniform(chance)).ln() / stay.ln()) as u64
    }

    /// How long after the first of its bunch a request is sent.
    pub(super) fn behind_us(chance: &mut SmallRng) -> u64 {
        (uniform(chance) * BUNCH_SPAN_US) as u64
    }
}

/// Times in which more requests come, at random: the traffic is a mixture of two Poisson processes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bursts {
    /// So many times as many as between them.
    pub factor: f64,
    /// The mean time from the beginning of one to the beginning of the next, exponential but for the burst.
    pub every: Duration,
    /// The mean length of one, exponential.
    pub lasts: Duration,
    /// The share of requests in them that fails on both versions alike, 0 to 1.
    pub failures: f64,
}

/// Clients who send again what failed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retries {
    /// So many times at most.
    pub times: u32,
    /// The share of these that fails again, on whichever version, 0 to 1.
    pub failures: f64,
}

impl Retries {
    /// How long after a failure showed it is sent again, which was tried so often.
    pub(super) fn backoff_us(tries: u32, chance: &mut SmallRng) -> u64 {
        let doubled = BACKOFF_US * f64::from(1 << tries.min(DOUBLINGS_MAX));
        (doubled * (0.5 + uniform(chance))) as u64
    }
}

/// The present or the next burst.
#[derive(Debug)]
pub(super) struct Flood {
    chance: SmallRng,
    law: Option<Bursts>,
    from_us: u64,
    until_us: u64,
    is_on: bool,
}

impl Flood {
    /// Nothing is drawn from `chance` where there are no bursts.
    pub fn new(law: Option<Bursts>, chance: &mut SmallRng) -> Flood {
        let seed = if law.is_none() { 0 } else { uniform(chance).to_bits() };
        Flood { chance: chance::seeded(seed), law, from_us: 0, until_us: 0, is_on: false }
    }

    /// Goes on to a moment; says when a burst begins or ends next.
    pub fn go_to(&mut self, now_us: u64) -> Option<u64> {
        let law = self.law?;
        while self.until_us <= now_us {
            let mut span_us =
                |mean: Duration| (exponential(&mut self.chance) * mean.as_micros() as f64) as u64;
            self.from_us = self.until_us + span_us(law.every.saturating_sub(law.lasts));
            self.until_us = self.from_us + span_us(law.lasts).max(1);
        }
        self.is_on = self.from_us <= now_us;
        Some(if self.is_on { self.until_us } else { self.from_us })
    }

    /// How many times the average comes now.
    pub fn swell(&self) -> f64 {
        self.law.map_or(1.0, |law| {
            let share = law.lasts.as_secs_f64() / law.every.as_secs_f64();
            let between = 1.0 / (1.0 + (law.factor - 1.0) * share);
            if self.is_on { law.factor * between } else { between }
        })
    }

    /// The share that fails now of what fails by this share otherwise.
    pub fn failing(&self, share: f64) -> f64 {
        let more = self.law.filter(|_| self.is_on).map_or(0.0, |law| law.failures);
        1.0 - (1.0 - share) * (1.0 - more)
    }
}

/// A request that comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Coming {
    /// Whose of a crowd it is.
    pub user: Option<usize>,
    /// What decides whether it fails, as the bits of a number from 0 to 1, where others hang on the same one.
    pub luck: Option<u64>,
    /// How often it was tried before.
    pub tries: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_come_as_often_as_asked_and_leave_the_average_as_it_is() {
        let law = Bursts {
            factor: 10.0,
            every: Duration::from_secs(30),
            lasts: Duration::from_secs(3),
            failures: 0.2,
        };
        let mut flood = Flood::new(Some(law), &mut chance::seeded(1));
        let (mut now_us, mut on_us, mut swollen) = (0_u64, 0_u64, 0.0);
        while now_us < 300_000_000_000 {
            let next_us = flood.go_to(now_us).unwrap();
            assert!(next_us > now_us);
            on_us += if flood.is_on { next_us - now_us } else { 0 };
            swollen += flood.swell() * (next_us - now_us) as f64;
            let more = if flood.is_on { 0.2 } else { 0.0 };
            assert!((flood.failing(0.5) - (1.0 - 0.5 * (1.0 - more))).abs() < 1e-12);
            now_us = next_us;
        }
        let (share, average) = (on_us as f64 / now_us as f64, swollen / now_us as f64);
        assert!((0.09..0.11).contains(&share), "{share} of a tenth of the time");
        assert!((0.95..1.05).contains(&average), "{average} times the average");
    }

    #[test]
    fn without_bursts_nothing_is_drawn() {
        let (mut chance, mut same) = (chance::seeded(1), chance::seeded(1));
        let mut flood = Flood::new(None, &mut chance);
        assert_eq!((flood.go_to(5), flood.swell()), (None, 1.0));
        assert!((flood.failing(0.25) - 0.25).abs() < 1e-12);
        assert_eq!(uniform(&mut chance), uniform(&mut same));
    }

    #[test]
    fn bunches_have_their_mean() {
        let clients = Clients { bunch: 20.0, ..Clients::default() };
        let mut chance = chance::seeded(2);
        let average = (0..20_000).map(|_| clients.bunch_size(&mut chance)).sum::<u64>() as f64 / 20_000.0;
        assert!((average - 20.0).abs() < 4.0 * (380.0_f64 / 20_000.0).sqrt(), "{average}");
    }
}
