//! Bad spells that each version has by one law, at times of its own; when they come is drawn as time goes on.

use std::time::Duration;

use rand::rngs::SmallRng;

use crate::chance;
use crate::simulate::draws::{exponential, uniform};

/// Bad spells of either version.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spells {
    /// What is bad in one.
    pub what: Spell,
    /// The mean time from the end of one to the end of the next; the time between them is exponential.
    pub every: Duration,
    /// How long each lasts, less than `every`.
    pub lasts: Duration,
}

/// What is bad in a spell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Spell {
    /// So many more requests fail, a share from 0 to 1.
    Failures(f64),
    /// Answers take so many times as long.
    Slower(f64),
}

/// The spells of both versions, each law's present or next one.
#[derive(Debug)]
pub(super) struct Schedule {
    chance: SmallRng,
    own: Vec<Own>,
}

#[derive(Debug)]
struct Own {
    law: Spells,
    canary: bool,
    from_us: u64,
    until_us: u64,
    is_on: bool,
}

impl Schedule {
    /// Nothing is drawn from `chance` where there are no spells.
    pub fn new(laws: &[Spells], chance: &mut SmallRng) -> Schedule {
        let seed = if laws.is_empty() { 0 } else { uniform(chance).to_bits() };
        let of_both = laws.iter().flat_map(|law| [(*law, false), (*law, true)]);
        let own = |(law, canary)| Own { law, canary, from_us: 0, until_us: 0, is_on: false };
        Schedule { chance: chance::seeded(seed), own: of_both.map(own).collect() }
    }

    /// Goes on to a moment; says when spells begin or end next.
    pub fn go_to(&mut self, now_us: u64) -> Option<u64> {
        for own in &mut self.own {
            while own.until_us <= now_us {
                let rest = own.law.every.saturating_sub(own.law.lasts);
                let gap_us = (exponential(&mut self.chance) * rest.as_micros() as f64) as u64;
                own.from_us = own.until_us + gap_us;
                own.until_us = own.from_us + (own.law.lasts.as_micros() as u64).max(1);
            }
            own.is_on = own.from_us <= now_us;
        }
        self.own.iter().map(|own| if own.is_on { own.until_us } else { own.from_us }).min()
    }

    /// The share that fails of a version of which `share` fails otherwise.
    pub fn failing(&self, canary: bool, share: f64) -> f64 {
        1.0 - self.on(canary).fold(1.0 - share, |well, what| match what {
            Spell::Failures(more) => well * (1.0 - more),
            Spell::Slower(_) => well,
        })
    }

    /// How long an answer takes that takes `latency_us` otherwise.
    pub fn slowed(&self, canary: bool, latency_us: u64) -> u64 {
        let factor = self.on(canary).fold(1.0, |factor, what| match what {
            Spell::Failures(_) => factor,
            Spell::Slower(times) => factor * times,
        });
        (latency_us as f64 * factor) as u64
    }

    fn on(&self, canary: bool) -> impl Iterator<Item = Spell> {
        self.own.iter().filter(move |own| own.is_on && own.canary == canary).map(|own| own.law.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_has_its_spells_at_its_own_times_and_as_often_as_asked() {
        let law = Spells {
            what: Spell::Failures(0.05),
            every: Duration::from_secs(600),
            lasts: Duration::from_secs(10),
        };
        let slow = Spells { what: Spell::Slower(3.0), ..law };
        let mut chance = chance::seeded(1);
        let mut schedule = Schedule::new(&[law, slow], &mut chance);
        let (mut now_us, mut bad_us, mut both_us, mut slow_us) = (0, [0, 0], 0, 0);
        while now_us < 1_000_000_000_000 {
            let next_us = schedule.go_to(now_us).unwrap();
            assert!(next_us > now_us);
            let bad = [false, true].map(|canary| schedule.failing(canary, 0.0) > 0.0);
            for (sum_us, _) in bad_us.iter_mut().zip(bad).filter(|(_, bad)| *bad) {
                *sum_us += next_us - now_us;
            }
            both_us += if bad == [true, true] { next_us - now_us } else { 0 };
            slow_us += if schedule.slowed(true, 100) == 300 { next_us - now_us } else { 0 };
            now_us = next_us;
        }
        for share in [bad_us[0], bad_us[1], slow_us].map(|us| us as f64 / now_us as f64 * 60.0) {
            assert!((0.85..1.15).contains(&share), "{share} of a sixtieth of the time");
        }
        assert!(both_us * 10 < bad_us[0], "{both_us} of {} together", bad_us[0]);
        assert!((schedule.failing(false, 0.5) - 0.5).abs() < 0.03);
    }

    #[test]
    fn without_spells_nothing_is_drawn() {
        let (mut chance, mut same) = (chance::seeded(1), chance::seeded(1));
        let mut schedule = Schedule::new(&[], &mut chance);
        assert_eq!(schedule.go_to(5), None);
        assert_eq!((schedule.failing(true, 0.25), schedule.slowed(true, 7)), (0.25, 7));
        assert_eq!(uniform(&mut chance), uniform(&mut same));
    }
}
