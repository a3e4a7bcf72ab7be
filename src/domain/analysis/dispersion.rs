//! Dispersion: by how much failures vary more than independent ones would.
//!
//! Correlated errors are what really threatens a test that counts requests: three failures out of one broken connection
//! are one piece of news, not three. If failures come in clumps, the count of a second has a variance phi times its
//! mean. So phi is estimated from the *stable* arm, which no alternative is about: over consecutive ticks with counts
//! `e`, `e'` of lengths `t`, `t'`,
//!
//! ```text
//! Q = sum t t' (e/t - e'/t')^2        S = sum (e t'/t + e' t/t')        phi = 1 + max(0, (Q+20)/(S+20) - 1)
//! ```
//!
//! For a rate `l` and dispersion `phi` both terms have expectations in the ratio phi: the difference of two mean counts
//! has variance `phi l (1/t + 1/t')`, and the summand of S has expectation `t t' l (1/t + 1/t')`. Differences of
//! neighbours, unlike a variance around a mean, do not see slow drift. For ticks of a second this is `(e - e')^2` over
//! `e + e'`. Both sums fade with a half-life of five minutes; the two twenties are the doubt of who has seen little.
//!
//! A clump that takes a second falls into two ticks as often as not, and then looks like two smaller ones: a true
//! dispersion of 5 shows as 3. So the same is estimated over ticks of five seconds, and where seconds already say that
//! failures come in clumps (above `CLIPPED_ABOVE`), the larger of the two counts, the longer ticks' with a standard error
//! on top, for of those there are few. Where seconds say nothing of clumps, longer ticks are not asked: their noise would
//! damp evidence that needs no damping.
//!
//! A difference across a change of weight, or of the latency that counts as an excess, compares two different things
//! and is left out.
//!
//! Heuristic, and not a theorem: dividing log factors by phi makes a quasi-likelihood, whose products are
//! supermartingales only as far as clumps look alike on both arms and fit into a tick. Few failures teach phi nothing:
//! below some 20 failures in ten minutes it stays near 1. A plan's `minDispersion` is a floor for those who know.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::time::Uptime;

const HALF_LIFE_S: f64 = 300.0;
const TICK: Duration = Duration::from_secs(1);
const LONG_TICK: Duration = Duration::from_secs(5);
const DOUBT: f64 = 20.0;

/// Estimated dispersions above this also limit how much one second may say (`clip`).
pub const CLIPPED_ABOVE: f64 = 1.25;

/// Where the dispersion that judges comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum DispersionRule {
    /// Always this, at least 1, and nothing is clipped.
    Constant(f64),
    /// Estimated from the stable arm, but never below this.
    Estimated {
        /// At least 1.
        at_least: f64,
    },
}

/// What a dispersion does to a judgement; frozen until the next refresh of the tables.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Damping {
    /// What log factors are divided by, at least 1.
    pub phi: f64,
    /// Whether a second may add no more than `clip` allows.
    pub clips: bool,
}

impl Damping {
    /// Independent failures: nothing is damped.
    pub const NONE: Damping = Damping { phi: 1.0, clips: false };
}

impl DispersionRule {
    /// What the rule makes of an estimate.
    pub fn damping(self, estimate: f64) -> Damping {
        match self {
            DispersionRule::Constant(phi) => Damping { phi, clips: false },
            DispersionRule::Estimated { at_least } => {
                Damping { phi: estimate.max(at_least), clips: estimate > CLIPPED_ABOVE }
            }
        }
    }
}

/// An estimate in the making.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Dispersion {
    #[serde(flatten)]
    seconds: Differences,
    #[serde(default)]
    spans: Differences,
}

impl Dispersion {
    /// The estimate, at least 1.
    pub fn phi(&self) -> f64 {
        let of_seconds = self.seconds.phi();
        if of_seconds > CLIPPED_ABOVE { of_seconds.max(self.spans.phi_at_most()) } else { of_seconds }
    }

    /// Adds what was counted between two looks; a tick ends with the first look a second after it began.
    pub fn learn(&mut self, count: u64, from: Uptime, to: Uptime) {
        self.seconds.learn(TICK, count, from, to);
        self.spans.learn(LONG_TICK, count, from, to);
    }

    /// What comes next is not compared with what came before.
    pub fn skip(&mut self) {
        self.seconds.skip();
        self.spans.skip();
    }
}

/// Faded sums over the differences of neighbouring ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Differences {
    squares: f64,
    sums: f64,
    since: Option<Uptime>,
    count: u64,
    previous: Option<(u64, f64)>,
    /// How many ticks that is, faded as they are.
    #[serde(default)]
    ticks: f64,
}

impl Differences {
    fn phi(&self) -> f64 {
        ((self.squares + DOUBT) / (self.sums + DOUBT)).max(1.0)
    }

    /// The estimate and about a standard error more.
    fn phi_at_most(&self) -> f64 {
        self.phi() * (1.0 + self.ticks.max(1.0).sqrt().recip())
    }

    fn learn(&mut self, tick: Duration, count: u64, from: Uptime, to: Uptime) {
        let since = *self.since.get_or_insert(from);
        self.count += count;
        let mut since = since;
        if count == 0 && to.since(since) > 2 * tick {
            // Nothing came for a while: what had come lies in the first tick, and a tick of nothing follows.
            for _ in 0..2 {
                self.close(tick);
                since = since.plus(tick);
            }
            let ticks = (to.since(since).as_millis() / tick.as_millis()) as u32;
            self.fade((tick * ticks).as_secs_f64());
            if ticks > 0 {
                self.previous = Some((0, tick.as_secs_f64()));
            }
            self.since = Some(since.plus(tick * ticks));
        } else if to.since(since) >= tick {
            self.close(to.since(since));
            self.since = Some(to);
        }
    }

    fn skip(&mut self) {
        (self.since, self.count, self.previous) = (None, 0, None);
    }

    fn close(&mut self, length: Duration) {
        let length_s = length.as_secs_f64();
        self.fade(length_s);
        let count = std::mem::take(&mut self.count);
        if let Some((before, before_s)) = self.previous.replace((count, length_s)) {
            let (now, before) = (count as f64, before as f64);
            self.squares += length_s * before_s * (now / length_s - before / before_s).powi(2);
            self.sums += now * before_s / length_s + before * length_s / before_s;
            self.ticks += 1.0;
        }
    }

    fn fade(&mut self, seconds: f64) {
        let kept = (-seconds / HALF_LIFE_S).exp2();
        self.squares *= kept;
        self.sums *= kept;
        self.ticks *= kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learn_seconds(dispersion: &mut Dispersion, counts: impl Iterator<Item = u64>) {
        for (second, count) in counts.enumerate() {
            let from = Uptime(second as u64 * 1000);
            dispersion.learn(count, from, from.plus(TICK));
        }
    }

    /// The formula as the specification writes it, for ticks of a second.
    fn by_the_book(counts: &[u64]) -> f64 {
        let (mut q, mut s) = (0.0, 0.0);
        for (index, count) in counts.iter().enumerate() {
            (q, s) = (q * 2f64.powf(-1.0 / 300.0), s * 2f64.powf(-1.0 / 300.0));
            if index > 0 {
                let (now, before) = (*count as f64, counts[index - 1] as f64);
                (q, s) = (q + (now - before).powi(2), s + now + before);
            }
        }
        1.0 + f64::max(0.0, (q + 20.0) / (s + 20.0) - 1.0)
    }

    #[test]
    fn seconds_are_counted_by_the_book() {
        let counts = [3, 0, 1, 7, 2, 2, 9, 0, 0, 5, 40, 1];
        let mut dispersion = Dispersion::default();
        learn_seconds(&mut dispersion, counts.into_iter());
        assert!((dispersion.seconds.phi() - by_the_book(&counts)).abs() < 1e-12, "{}", dispersion.phi());
    }

    #[test]
    fn tenths_of_a_second_make_the_same_seconds() {
        let (mut tenths, mut whole) = (Dispersion::default(), Dispersion::default());
        for second in 0..30_u64 {
            let count = second * second % 11;
            whole.learn(count, Uptime(second * 1000), Uptime((second + 1) * 1000));
            for tenth in 0..10 {
                let from = Uptime(second * 1000 + tenth * 100);
                let part = count / 10 + u64::from(tenth < count % 10);
                tenths.learn(part, from, from.plus(TICK / 10));
            }
        }
        assert!((tenths.phi() - whole.phi()).abs() < 1e-12);
    }

    #[test]
    fn idle_seconds_count_as_seconds_of_nothing() {
        let counts = [4, 0, 0, 0, 0, 0, 6];
        let mut every = Dispersion::default();
        learn_seconds(&mut every, counts.into_iter());
        let mut rests = Dispersion::default();
        rests.learn(4, Uptime(0), Uptime(900));
        rests.learn(0, Uptime(900), Uptime(6000));
        rests.learn(6, Uptime(6000), Uptime(7000));
        assert!((every.phi() - rests.phi()).abs() < 1e-12, "{} {}", every.phi(), rests.phi());
    }

    #[test]
    fn clumps_of_three_have_a_dispersion_of_three() {
        // A clump of three about every third second, by a fixed pseudo-random sequence.
        let mut state = 7_u64;
        let mut clumped = Dispersion::default();
        let mut single = Dispersion::default();
        for second in 0..20_000_u64 {
            let mut draw = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as f64 / (1_u64 << 31) as f64
            };
            let hits = (0..10).filter(|_| draw() < 0.033).count() as u64;
            let (from, to) = (Uptime(second * 1000), Uptime((second + 1) * 1000));
            clumped.learn(3 * hits, from, to);
            single.learn(hits, from, to);
        }
        assert!((2.2..4.0).contains(&clumped.phi()), "{}", clumped.phi());
        assert!(single.phi() < 1.3, "{}", single.phi());
    }

    #[test]
    fn clumps_across_seconds_are_seen_whole() {
        // Clumps of five begin anywhere in a second, about every fourth, and take one.
        let mut state = 11_u64;
        let mut draw = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f64 / (1_u64 << 31) as f64
        };
        let mut counts = vec![0_u64; 20_001];
        for second in 0..20_000 {
            if draw() < 0.25 {
                let begins = draw();
                (0..5).for_each(|_| counts[second + usize::from(begins + draw() >= 1.0)] += 1);
            }
        }
        let mut dispersion = Dispersion::default();
        learn_seconds(&mut dispersion, counts.into_iter());
        assert!((2.0..3.8).contains(&dispersion.seconds.phi()), "{}", dispersion.seconds.phi());
        assert!((3.6..6.0).contains(&dispersion.phi()), "{}", dispersion.phi());
    }

    #[test]
    fn a_skipped_difference_is_not_seen() {
        let mut dispersion = Dispersion::default();
        learn_seconds(&mut dispersion, [5, 5, 5].into_iter());
        dispersion.skip();
        dispersion.learn(500, Uptime(10_000), Uptime(11_000));
        assert_eq!(dispersion.phi(), 1.0);
    }

    #[test]
    fn a_floor_is_a_floor_and_clips_nothing() {
        let floor = DispersionRule::Estimated { at_least: 3.0 };
        assert_eq!(floor.damping(1.0), Damping { phi: 3.0, clips: false });
        assert_eq!(floor.damping(4.0), Damping { phi: 4.0, clips: true });
        assert_eq!(DispersionRule::Constant(2.0).damping(9.0), Damping { phi: 2.0, clips: false });
    }
}
