//! Spells: what one arm does to itself now and then, and how much of it a canary is allowed.
//!
//! A collector, a restarting place, a cache that fills: every version has bad spells of its own, at its own times. They
//! hit one arm alone, so a comparison of the arms takes each for harm; a quarter to a half of healthy canaries were
//! rolled back where such spells were usual. So the null hypothesis is made to contain them: what is added to the limit
//! is `delta_t = max(delta, s_t)`, where `s_t` is what stable's own spells were. It is known before the requests it judges,
//! so all stays a theorem for `p_canary <= rho p_stable + delta_t`. That the canary's spells are no worse than the second
//! worst of stable's is the assumption, and a heuristic.
//!
//! Stable is looked at in blocks of ten seconds. Its usual rate `p0 = (a+.2)/(b+200)` is learnt from ordinary blocks,
//! with a half-life of half an hour. A block of `n` requests and `e` failures is bad where `n >= 20`, `e >= 4`, `e > 2 n p0`
//! and `e - n p0 - e ln(e/(n p0)) < -11.5`: by Chernoff's bound chance makes one block in a hundred thousand so. **Two bad
//! blocks in a row are a spell** (one is an outage of a second, and no habit), its level the largest `e/n` of them. Of the
//! last day's, at most 64, the *second* largest level counts, up to a tenth: one bad hour is no habit either. For slow
//! answers, whose usual share is large, the block is bad where `e > 1.3 n p0` and `n kl(e/n || p0) > 11.5`, and the level
//! is `1.25 (e/n - p0)`, up to a half.
//!
//! Two rules are beyond the specification. While fewer than 200 requests of stable are known every block is ordinary, and
//! a run that lasts longer than ten minutes is no spell but another rate: its blocks are learnt, and its level is not
//! kept. Without them a stable version that fails one request in twenty would have a "spell" that never ends.
//!
//! The price, only where stable has such spells: what a canary fails within `s_t` is no longer rolled back, only not
//! proven.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Counts;
use crate::model::time::Uptime;

const BLOCK: Duration = Duration::from_secs(10);
const HALF_LIFE_S: f64 = 1800.0;
const PRIOR_FAILURES: f64 = 0.2;
const PRIOR_REQUESTS: f64 = 200.0;
/// What is not known of so many requests is not called bad.
const KNOWN_MIN: f64 = 200.0;
const REQUESTS_MIN: u64 = 20;
const FAILURES_MIN: u64 = 4;
/// `ln` of how rarely chance makes a block bad.
const LN_CHANCE: f64 = 11.5;
/// Two bad blocks are a spell; more than these are another rate.
const SPELL_BLOCKS: u32 = 2;
const RATE_BLOCKS: u32 = 60;
const KEPT: usize = 64;
const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);

/// What is counted, and so what is bad of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Failed requests.
    Failures,
    /// Requests slower than an edge that a known share of stable's exceeds.
    Excesses,
}

impl Kind {
    /// The most that spells are allowed.
    fn level_max(self) -> f64 {
        match self {
            Kind::Failures => 0.1,
            Kind::Excesses => 0.5,
        }
    }

    fn is_bad(self, counts: Counts, usual: f64) -> bool {
        let (requests, failures) = (counts.requests as f64, counts.failures as f64);
        let expected = requests * usual;
        if counts.requests < REQUESTS_MIN || counts.failures < FAILURES_MIN {
            return false;
        }
        match self {
            Kind::Failures => {
                failures > 2.0 * expected
                    && failures - expected - failures * (failures / expected).ln() < -LN_CHANCE
            }
            Kind::Excesses => {
                failures > 1.3 * expected && requests * divergence(failures / requests, usual) > LN_CHANCE
            }
        }
    }

    fn level(self, counts: Counts, usual: f64) -> f64 {
        let share = (counts.failures as f64 / counts.requests as f64).min(1.0);
        match self {
            Kind::Failures => share,
            Kind::Excesses => 1.25 * (share - usual),
        }
    }
}

/// `kl(p || q)` of two shares.
fn divergence(p: f64, q: f64) -> f64 {
    let part = |p: f64, q: f64| if p > 0.0 { p * (p / q).ln() } else { 0.0 };
    part(p.min(1.0), q) + part(1.0 - p.min(1.0), 1.0 - q)
}

/// Stable's own bad spells of the last day.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spells {
    /// The faded counts of ordinary blocks.
    failures: f64,
    requests: f64,
    open: Counts,
    since: Option<Uptime>,
    /// Bad blocks in a row until now, and the level of the worst.
    run: u32,
    worst: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    known: Vec<Spell>,
}

/// One spell: when it was last seen, and how bad it was.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Spell {
    until: Uptime,
    level: f64,
}

impl Spells {
    /// What spells add to the limit: the second largest of the day; 0 while there were fewer than two.
    pub fn level(&self, kind: Kind) -> f64 {
        let (mut first, mut second) = (0.0_f64, 0.0_f64);
        for Spell { level, .. } in &self.known {
            (first, second) = (first.max(*level), second.max(first.min(*level)));
        }
        second.min(kind.level_max())
    }

    /// How many spells of the last day are known, and when the latest was last seen.
    pub fn known(&self) -> (usize, Option<Uptime>) {
        (self.known.len(), self.known.iter().map(|spell| spell.until).max())
    }

    /// Stable's usual rate.
    pub fn usual(&self) -> f64 {
        (self.failures + PRIOR_FAILURES) / (self.requests + PRIOR_REQUESTS)
    }

    /// Adds what was counted of stable between two looks; a block ends with the first look ten seconds after it began.
    pub fn learn(&mut self, kind: Kind, counts: Counts, from: Uptime, to: Uptime) {
        let since = *self.since.get_or_insert(from);
        self.open = self.open.plus(counts);
        if to.since(since) < BLOCK {
            return;
        }
        let block = std::mem::take(&mut self.open);
        self.since = Some(to);
        self.judge(kind, block, to, to.since(since));
        self.known.retain(|spell| to.since(spell.until) <= KEPT_FOR);
    }

    fn judge(&mut self, kind: Kind, block: Counts, until: Uptime, length: Duration) {
        let usual = self.usual();
        if self.requests < KNOWN_MIN || !kind.is_bad(block, usual) {
            (self.run, self.worst) = (0, 0.0);
            self.learn_usual(block, length);
            return;
        }
        self.run += 1;
        self.worst = self.worst.max(kind.level(block, usual));
        if (SPELL_BLOCKS + 1..=RATE_BLOCKS + 1).contains(&self.run) {
            // The same spell, of which more is known now; or none, as it turns out.
            self.known.pop();
        }
        if self.run > RATE_BLOCKS {
            self.learn_usual(block, length);
        } else if self.run >= SPELL_BLOCKS {
            if self.known.len() >= KEPT {
                self.known.remove(0);
            }
            self.known.push(Spell { until, level: self.worst });
        }
    }

    fn learn_usual(&mut self, block: Counts, length: Duration) {
        let kept = (-length.as_secs_f64() / HALF_LIFE_S).exp2();
        self.failures = self.failures * kept + block.failures as f64;
        self.requests = self.requests * kept + block.requests as f64;
    }

    /// What comes next is counted differently: the block under way is dropped.
    pub fn skip(&mut self) {
        (self.open, self.since, self.run, self.worst) = (Counts::default(), None, 0, 0.0);
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::analysis::vectors;

    #[derive(Deserialize)]
    struct Run {
        name: String,
        blocks_of_10_s: Vec<(u64, u64)>,
        expect: Vec<Expected>,
    }

    #[derive(Deserialize)]
    struct Expected {
        spell: bool,
        base: f64,
        level: f64,
    }

    struct Stable {
        spells: Spells,
        kind: Kind,
        now: Uptime,
    }

    impl Stable {
        fn new(kind: Kind) -> Stable {
            Stable { spells: Spells::default(), kind, now: Uptime(0) }
        }

        fn block(&mut self, requests: u64, failures: u64) {
            let to = self.now.plus(BLOCK);
            self.spells.learn(self.kind, Counts { requests, failures }, self.now, to);
            self.now = to;
        }
    }

    #[test]
    fn blocks_by_the_book() {
        for run in vectors::of::<Vec<Run>>("spells") {
            let mut stable = Stable::new(Kind::Failures);
            for (index, ((requests, failures), expected)) in
                run.blocks_of_10_s.into_iter().zip(&run.expect).enumerate()
            {
                let what = format!("{} block {index}", run.name);
                vectors::assert_close(stable.spells.usual(), expected.base, &what);
                stable.block(requests, failures);
                assert_eq!(stable.spells.run > 0, expected.spell, "{what}");
                vectors::assert_close(stable.spells.level(Kind::Failures), expected.level, &what);
            }
        }
    }

    #[test]
    fn a_rate_that_lasts_is_no_spell() {
        let mut stable = Stable::new(Kind::Failures);
        (0..200).for_each(|_| stable.block(1000, 1));
        for _ in 0..3 {
            (0..400).for_each(|_| stable.block(1000, 50));
            (0..400).for_each(|_| stable.block(1000, 1));
        }
        assert_eq!(stable.spells.level(Kind::Failures), 0.0, "{:?}", stable.spells);
        let mut from_the_start = Stable::new(Kind::Failures);
        for _ in 0..3 {
            (0..50).for_each(|_| from_the_start.block(1000, 50));
            (0..50).for_each(|_| from_the_start.block(3, 0));
        }
        assert_eq!(from_the_start.spells.known().0, 0, "{:?}", from_the_start.spells);
    }

    #[test]
    fn spells_are_forgotten_after_a_day_and_are_64_at_most() {
        let mut stable = Stable::new(Kind::Failures);
        for _ in 0..100 {
            (0..10).for_each(|_| stable.block(1000, 1));
            (0..3).for_each(|_| stable.block(1000, 60));
        }
        assert_eq!(stable.spells.known().0, KEPT);
        assert!((stable.spells.level(Kind::Failures) - 0.06).abs() < 1e-9);
        (0..9000).for_each(|_| stable.block(1000, 1));
        assert_eq!((stable.spells.known().0, stable.spells.level(Kind::Failures)), (0, 0.0));
    }

    #[test]
    fn slow_spells_count_by_what_they_are_more_than_usual() {
        let mut stable = Stable::new(Kind::Excesses);
        for _ in 0..3 {
            (0..60).for_each(|_| stable.block(1000, 100));
            (0..2).for_each(|_| stable.block(1000, 400));
        }
        let level = stable.spells.level(Kind::Excesses);
        assert!((level - 1.25 * 0.3).abs() < 0.01, "{level}");
        assert!(!Kind::Excesses.is_bad(Counts { requests: 1000, failures: 120 }, 0.1));
    }
}
