//! What happens in a simulation: a list that a seed makes, with everything that chance decides about each happening.
//!
//! A seed also decides what kinds of happenings there are at all, and how often: who does everything at once never stays
//! in one state for long enough to find what is wrong there.

use rand::rngs::SmallRng;
use rand::{Rng, RngExt};

use crate::chance;

/// Something that happens so long after what happened before.
#[derive(Clone, Debug)]
pub(super) struct Happening {
    pub(super) after_ms: u64,
    pub(super) what: What,
}

/// What happens.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// Requests come to an alias, one after the other.
    Traffic { alias: u8, requests: u16, every_ms: u32, stable_fails_ppm: u32, canary_fails_ppm: u32 },
    /// A person does something with what an alias means; `twice` asks for it again with the same idempotency key.
    Operate { alias: u8, verb: u8, argument: u8, twice: bool },
    /// A person starts a plan.
    Start { plan: u8, to: u8, again: bool },
    /// A pipeline publishes a version.
    Publish { function: u8 },
    /// Another hand changes an alias.
    Foreign { alias: u8, primary: u8, beside: u8, weight_ppm: u32 },
    /// Somebody deletes a version.
    DeleteVersion { function: u8, version: u8 },
    /// The plans directory is read anew: one of the plans is broken, or not there.
    Plans { plan: u8, is_broken: bool },
    /// From here on, metrics and web hooks answer like this.
    Outside(Mood),
    /// The process is killed at the nth effect from here.
    Kill { at: Effect, nth: u8 },
    /// The disk takes nothing for a while, or stands still.
    Disk { is_stalled: bool, for_ms: u32 },
    /// The wall clock jumps.
    Clock { by_s: i64 },
    /// The process is stopped for a while.
    Stop { for_s: u32 },
    /// The process ends well, and another one begins after a while.
    Down { for_s: u32 },
    /// Another daemon takes the store over while this one does not know it.
    Rival,
}

/// How the world outside answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// As the plan wishes.
    Good,
    /// Out of bounds; web hooks refuse.
    Bad,
    /// No number at all.
    NotANumber,
    /// With an error.
    Silent,
    /// Not before something else happens.
    Late,
}

/// An effect on the outside, at which a process may die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// A change goes to the disk, and has not reached it.
    Commit,
    /// A change is durable, and nobody knows.
    Committed,
    /// The router is about to be told.
    Publish,
    /// The router has been told.
    Published,
}

/// How often each kind happens, and how far apart.
struct Mix {
    weights: [(u32, Kind); 14],
    gap_ms: u64,
    fails: [(u32, u32); 3],
}

#[derive(Clone, Copy)]
enum Kind {
    Traffic,
    Operate,
    Start,
    Publish,
    Foreign,
    DeleteVersion,
    Plans,
    Outside,
    Kill,
    Disk,
    Clock,
    Stop,
    Down,
    Rival,
}

impl Mix {
    fn of(random: &mut SmallRng) -> Mix {
        use Kind::*;
        let all = [
            (60, Traffic),
            (25, Operate),
            (15, Start),
            (8, Publish),
            (4, Foreign),
            (2, DeleteVersion),
            (3, Plans),
            (4, Outside),
            (8, Kill),
            (5, Disk),
            (2, Clock),
            (2, Stop),
            (2, Down),
            (2, Rival),
        ];
        let weights = all.map(|(weight, kind)| {
            let always = matches!(kind, Traffic | Operate | Start | Publish);
            // Half of the other kinds do not happen under a seed, and one in four often.
            let factor = if always { 2 } else { [0, 0, 2, 5][random.random_range(0..4)] };
            (weight * factor, kind)
        });
        let gap_ms = [3, 6, 12][random.random_range(0..3)] * 3_600_000;
        Mix { weights, gap_ms, fails: [(0, 0), (1_000, 2_000), (1_000, 900_000)] }
    }

    /// A canary that fails, or somebody who wants it out.
    fn urgent(&self, random: &mut SmallRng) -> What {
        let alias = random.random_range(0..3);
        if random.random_range(0..3) == 0 {
            let verb = [6, 7, 8][random.random_range(0..3)];
            return What::Operate { alias, verb, argument: random.random_range(0..240), twice: false };
        }
        What::Traffic { alias, requests: 60, every_ms: 5, stable_fails_ppm: 0, canary_fails_ppm: 900_000 }
    }

    fn draw(&self, random: &mut SmallRng) -> What {
        let total: u32 = self.weights.iter().map(|(weight, _)| weight).sum();
        let mut left = random.random_range(0..total);
        let mut kind = Kind::Traffic;
        for (weight, of) in self.weights {
            if left < weight {
                kind = of;
                break;
            }
            left -= weight;
        }
        let mut byte = || (random.next_u32() >> 24) as u8;
        match kind {
            Kind::Traffic => {
                let alias = byte();
                let (stable_fails_ppm, canary_fails_ppm) =
                    self.fails[random.random_range(0..self.fails.len())];
                What::Traffic {
                    alias,
                    requests: [5, 30, 100][random.random_range(0..3)],
                    every_ms: [5, 50, 2_000][random.random_range(0..3)],
                    stable_fails_ppm,
                    canary_fails_ppm,
                }
            }
            Kind::Operate => {
                What::Operate { alias: byte(), verb: byte(), argument: byte(), twice: byte() < 40 }
            }
            Kind::Start => What::Start { plan: byte(), to: byte(), again: byte() < 120 },
            Kind::Publish => What::Publish { function: byte() },
            Kind::Foreign => What::Foreign {
                alias: byte(),
                primary: byte(),
                beside: byte(),
                weight_ppm: [0, 30_000, 500_000, 990_000][usize::from(byte() % 4)],
            },
            Kind::DeleteVersion => What::DeleteVersion { function: byte(), version: byte() },
            Kind::Plans => What::Plans { plan: byte(), is_broken: byte() < 128 },
            Kind::Outside => What::Outside(
                [Mood::Good, Mood::Bad, Mood::NotANumber, Mood::Silent, Mood::Late][usize::from(byte() % 5)],
            ),
            Kind::Kill => What::Kill {
                at: [Effect::Commit, Effect::Committed, Effect::Publish, Effect::Published]
                    [usize::from(byte() % 4)],
                nth: byte() % 6,
            },
            Kind::Disk => {
                What::Disk { is_stalled: byte() < 128, for_ms: [300, 3_000, 60_000][usize::from(byte() % 3)] }
            }
            Kind::Clock => What::Clock {
                by_s: [-2_592_000, -600, -1, 1, 600, 90_000, 2_592_000][usize::from(byte() % 7)],
            },
            Kind::Stop => What::Stop { for_s: [2, 600, 7_200][usize::from(byte() % 3)] },
            Kind::Down => What::Down { for_s: [1, 60, 36_000][usize::from(byte() % 3)] },
            Kind::Rival => What::Rival,
        }
    }
}

/// What happens within so many days under a seed.
pub(super) fn script(seed: u64, days: u64) -> Vec<Happening> {
    let mut random = chance::seeded(seed);
    let mix = Mix::of(&mut random);
    let (mut happenings, mut at_ms) = (Vec::new(), 0);
    while at_ms < days * 86_400_000 {
        // Most come at their own time, and some close together.
        let after_ms = match random.random_range(0..4) {
            0 => random.random_range(0..2_000),
            1 => random.random_range(0..60_000),
            _ => random.random_range(0..2 * mix.gap_ms),
        };
        at_ms += after_ms;
        let what = mix.draw(&mut random);
        let is_disk = matches!(what, What::Disk { .. });
        happenings.push(Happening { after_ms, what });
        if is_disk {
            // A disk that fails is only of interest where something is to be decided meanwhile.
            happenings
                .push(Happening { after_ms: random.random_range(0..500), what: mix.urgent(&mut random) });
            happenings.push(Happening { after_ms: random.random_range(0..500), what: mix.draw(&mut random) });
        }
    }
    happenings
}

/// Why a seed failed.
pub(super) type Fault = String;
