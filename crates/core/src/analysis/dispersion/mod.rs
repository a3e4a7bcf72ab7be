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
//! `e + e'`. The two twenties are the doubt of who has seen little.
//!
//! State that is bound to one arm *recurs*; an outage of a second that hits whoever is asked does not, and must not damp
//! for a quarter of an hour. So the sums are kept in blocks of information: a block closes once it is half a minute
//! long and holds an S of 30, the last twenty and the open one count (none older than a day), and of these a quarter is
//! left out, those with the largest `Q - S`. Leaving them out loses a part of true clumps; doubling the excess pays for it,
//! and costs nothing where the rest says 1:
//!
//! ```text
//! phi = 1 + 2 max(0, (sum Q + 20)/(sum S + 20) - 1)
//! ```
//!
//! It forgets by failures seen, not by the clock: in ten minutes at a failure a second, in hours at one a minute.
//!
//! With fewer than four blocks there is no quarter to leave out, and a stable version that hardly ever fails has so few
//! for hours. There the largest *episode*, five differences of seconds in a row, is left out instead, if it is large
//! (`EPISODE_SUMS`) and the rest by itself says nothing of clumps (`CALM_BELOW`): what came once has not come again yet. A
//! second one, even if it is much smaller, says that they recur, and all of it damps.
//!
//! A clump that takes a second falls into two ticks as often as not, and then looks like two smaller ones. So the same
//! is estimated over ticks of five seconds, and where seconds already say that failures come in clumps (above
//! `CLIPPED_ABOVE`), the larger of the two counts. Where seconds say nothing of clumps, longer ticks are not asked: their
//! noise would damp evidence that needs no damping.
//!
//! Who has seen half a minute sees chance as well: with a failure a second, 35 s of independent ones give more than 1.25
//! in one case of four, and then a canary that fails a fifth costs twenty failures instead of three. For independent
//! counts of mean `l` a summand of `Q - S` has the variance `8 l^2` and `2 l^2` in common with either neighbour, and `S` is
//! `2 l` a second, so in `n` seconds the deviation is about `S sqrt(3/n)`. An estimate above `CLIPPED_ABOVE` counts as such
//! where `Q - S` of all blocks is more than two of these, and as `CLIPPED_ABOVE` elsewhere. Clumps of three are known so
//! within half a minute.
//!
//! What several places share is bound to no arm. Where stable has three places or more, `learn_places` is told of each
//! second what came of every place: given the failures `e` of all, `X = sum_g (e_g - e n_g/n)^2 / (n_g/n)` has the
//! expectation `(G-1) e` if failures fall on places as requests do. The same blocks, left out by `X - (G-1) e`, give a
//! second estimate, and the smaller one damps: bursts that all places share leave it at 1, clumps in one place do not.
//!
//! A difference across a change of weight, or of the latency that counts as an excess, compares two different things
//! and is left out.
//!
//! Heuristic, and not a theorem: dividing log factors by phi makes a quasi-likelihood, whose products are
//! supermartingales only as far as clumps look alike on both arms and fit into a tick. Few failures teach phi nothing:
//! below some 20 failures it stays near 1. A plan's `minDispersion` is a floor for those who know.

mod episode;
mod learnt;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::episode::{Episode, Episodes};
pub use self::learnt::Learnt;
use super::Counts;
use crate::model::time::Uptime;

/// A block is closed once it is this long and holds this much.
const BLOCK_S: f64 = 30.0;
const BLOCK_SUMS: f64 = 30.0;
/// So many closed blocks count.
const BLOCKS: usize = 20;
const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);
/// One block in so many is left out.
const LEFT_OUT: usize = 4;
/// What leaving blocks out costs true clumps, about.
const EXCESS_FACTOR: f64 = 2.0;
/// Places tell something where there are so many.
const PLACES_MIN: usize = 3;
const TICK: Duration = Duration::from_secs(1);
const LONG_TICK: Duration = Duration::from_secs(5);
const DOUBT: f64 = 20.0;
/// Independent failures seldom vary by more standard deviations than these.
const DEVIATIONS: f64 = 2.0;

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
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dispersion {
    second: Tick,
    span: Tick,
    open: Block,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    closed: Vec<Block>,
    #[serde(skip_serializing_if = "Episodes::is_empty")]
    episodes: Episodes,
    /// What releases before blocks have stored: sums that faded.
    #[serde(skip_serializing)]
    squares: f64,
    #[serde(skip_serializing)]
    sums: f64,
}

/// What was learnt while some thirty failures came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "StoredBlock", into = "StoredBlock")]
struct Block {
    until: Uptime,
    length_s: f64,
    seconds: Sums,
    spans: Sums,
    places: Sums,
    /// Failures of which it is known in which place they were.
    placed: f64,
}

/// Zeroes at the end are not worth storing for ten thousand aliases, nor more than seven digits.
type StoredBlock = (u64, f32, [f32; 4], [f32; 3]);

impl From<StoredBlock> for Block {
    fn from((until, length_s, sums, places): StoredBlock) -> Block {
        let [q, s, q5, s5] = sums.map(f64::from);
        let [x, expected, placed] = places.map(f64::from);
        Block {
            until: Uptime(until),
            length_s: length_s.into(),
            seconds: Sums { squares: q, expected: s },
            spans: Sums { squares: q5, expected: s5 },
            places: Sums { squares: x, expected },
            placed,
        }
    }
}

impl From<Block> for StoredBlock {
    fn from(block: Block) -> StoredBlock {
        let Block { seconds, spans, places, .. } = block;
        let sums = [seconds.squares, seconds.expected, spans.squares, spans.expected];
        let of_places = [places.squares, places.expected, block.placed];
        (block.until.0, block.length_s as f32, sums.map(|sum| sum as f32), of_places.map(|sum| sum as f32))
    }
}

/// Squares, and what they would be if failures were independent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sums {
    squares: f64,
    expected: f64,
}

impl Sums {
    fn add(&mut self, more: Sums) {
        self.squares += more.squares;
        self.expected += more.expected;
    }

    fn without(self, part: Sums) -> Sums {
        Sums { squares: self.squares - part.squares, expected: self.expected - part.expected }
    }

    fn excess(self) -> f64 {
        self.squares - self.expected
    }

    /// The estimate that they make.
    fn phi(self) -> f64 {
        let excess = (self.squares + DOUBT) / (self.expected + DOUBT) - 1.0;
        1.0 + EXCESS_FACTOR * excess.max(0.0)
    }
}

impl Dispersion {
    /// The estimate, at least 1.
    pub fn phi(&self) -> f64 {
        let over_time = self.phi_over_time();
        if over_time > 1.0 && self.knows_places() {
            return over_time.min(self.phi_of(|block| block.places, None));
        }
        over_time
    }

    /// The estimate by time alone, whatever places say.
    fn phi_over_time(&self) -> f64 {
        let of_seconds = self.phi_of(|block| block.seconds, Some(&self.episodes.seconds));
        if of_seconds <= CLIPPED_ABOVE {
            of_seconds
        } else if self.is_beyond_chance() {
            of_seconds.max(self.phi_of(|block| block.spans, Some(&self.episodes.spans)))
        } else {
            CLIPPED_ABOVE
        }
    }

    /// Whether failures that are independent would hardly ever vary as much as they did.
    fn is_beyond_chance(&self) -> bool {
        let (mut seconds, mut length_s) = (Sums::default(), 0.0);
        for block in self.blocks() {
            seconds.add(block.seconds);
            length_s += block.length_s;
        }
        let deviation = seconds.expected * (3.0 / length_s.max(1.0)).sqrt();
        seconds.excess() > DEVIATIONS * deviation
    }

    /// Whether places are known of nearly all failures that count. S counts each failure in two differences.
    fn knows_places(&self) -> bool {
        let of = |pick: fn(&Block) -> f64| self.blocks().map(pick).sum::<f64>();
        let placed = of(|block| block.placed);
        placed > 0.0 && placed >= 0.9 * of(|block| block.seconds.expected) / 2.0
    }

    fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.closed.iter().chain([&self.open])
    }

    fn phi_of(&self, sums: impl Fn(&Block) -> Sums, episode: Option<&Episode>) -> f64 {
        self.total_of(sums, episode).phi()
    }

    /// The sums of all blocks without those that are left out.
    fn total_of(&self, sums: impl Fn(&Block) -> Sums, episode: Option<&Episode>) -> Sums {
        let mut kept = [Sums::default(); BLOCKS + 1];
        let count = self.closed.len() + 1;
        for (kept, block) in kept.iter_mut().zip(self.blocks()) {
            *kept = sums(block);
        }
        let kept = &mut kept[..count];
        kept.sort_unstable_by(|a, b| a.excess().total_cmp(&b.excess()));
        let (mut total, left_out) = (Sums::default(), count / LEFT_OUT);
        kept[..count - left_out].iter().for_each(|sums| total.add(*sums));
        if left_out == 0
            && let Some(episode) = episode
        {
            total = episode.left_out_of(total);
        }
        total
    }

    /// Adds what was counted between two looks; a tick ends with the first look a second after it began.
    pub fn learn(&mut self, count: u64, from: Uptime, to: Uptime) {
        self.take_over(to);
        let (seconds, second_s) = self.second.learn(TICK, count, from, to);
        let (spans, length_s) = self.span.learn(LONG_TICK, count, from, to);
        if second_s > 0.0 {
            self.episodes.learn_second(seconds, to);
        }
        if length_s > 0.0 {
            self.episodes.learn_span(spans, to);
        }
        self.open.seconds.add(seconds);
        self.open.spans.add(spans);
        self.open.length_s += length_s;
        self.open.until = to;
        if length_s > 0.0 && self.open.length_s >= BLOCK_S && self.open.seconds.expected >= BLOCK_SUMS {
            if self.closed.len() >= BLOCKS {
                self.closed.remove(0);
            }
            self.closed.push(std::mem::take(&mut self.open));
        }
        if self.closed.first().is_some_and(|oldest| to.since(oldest.until) > KEPT_FOR) {
            self.episodes.forget(self.closed.remove(0).until);
        }
    }

    /// Adds requests and failures of every place that answers a tenth of stable's requests or more, over one second.
    pub fn learn_places(&mut self, places: &[Counts]) {
        let sum = places.iter().fold(Counts::default(), |sum, place| sum.plus(*place));
        if places.len() < PLACES_MIN || sum.requests == 0 {
            return;
        }
        let (failures, requests) = (sum.failures as f64, sum.requests as f64);
        let square = |place: &Counts| {
            let share = place.requests as f64 / requests;
            (place.failures as f64 - failures * share).powi(2) / share
        };
        // A place without a request had none that could fail; its failures are late ones of another second.
        let asked = || places.iter().filter(|place| place.requests > 0);
        let squares = asked().map(square).sum();
        self.open.places.add(Sums { squares, expected: (asked().count() - 1) as f64 * failures });
        self.open.placed += failures;
    }

    /// What comes next is not compared with what came before.
    pub fn skip(&mut self) {
        self.second.skip();
        self.span.skip();
        self.episodes.skip();
    }

    /// What an earlier release learnt becomes a block.
    fn take_over(&mut self, at: Uptime) {
        let (squares, sums) = (std::mem::take(&mut self.squares), std::mem::take(&mut self.sums));
        if sums > 0.0 {
            let seconds = Sums { squares, expected: sums };
            self.closed.push(Block {
                until: at,
                length_s: BLOCK_S,
                seconds,
                spans: seconds,
                ..Block::default()
            });
        }
    }
}

/// The tick under way and the one before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Tick {
    since: Option<Uptime>,
    count: u64,
    previous: Option<(u64, f64)>,
}

impl Tick {
    /// Adds a count; answers what the ticks that ended brought, and how long they were.
    fn learn(&mut self, tick: Duration, count: u64, from: Uptime, to: Uptime) -> (Sums, f64) {
        let mut since = *self.since.get_or_insert(from);
        self.count += count;
        let (mut sums, mut length_s) = (Sums::default(), 0.0);
        if count == 0 && to.since(since) > 2 * tick {
            // Nothing came for a while: what had come lies in the first tick, and a tick of nothing follows.
            for _ in 0..2 {
                sums.add(self.close(tick));
                since = since.plus(tick);
            }
            let ticks = (to.since(since).as_millis() / tick.as_millis()) as u32;
            if ticks > 0 {
                self.previous = Some((0, tick.as_secs_f64()));
            }
            length_s = (tick * (ticks + 2)).as_secs_f64();
            self.since = Some(since.plus(tick * ticks));
        } else if to.since(since) >= tick {
            length_s = to.since(since).as_secs_f64();
            sums = self.close(to.since(since));
            self.since = Some(to);
        }
        (sums, length_s)
    }

    fn skip(&mut self) {
        *self = Tick::default();
    }

    fn close(&mut self, length: Duration) -> Sums {
        let length_s = length.as_secs_f64();
        let count = std::mem::take(&mut self.count);
        let Some((before, before_s)) = self.previous.replace((count, length_s)) else {
            return Sums::default();
        };
        let (now, before) = (count as f64, before as f64);
        Sums {
            squares: length_s * before_s * (now / length_s - before / before_s).powi(2),
            expected: now * before_s / length_s + before * length_s / before_s,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::analysis::vectors;

    fn learn_seconds(dispersion: &mut Dispersion, counts: impl Iterator<Item = u64>) {
        for (second, count) in counts.enumerate() {
            let from = Uptime(second as u64 * 1000);
            dispersion.learn(count, from, from.plus(TICK));
        }
    }

    #[derive(Deserialize)]
    struct Run {
        name: String,
        stable_failures_per_second: Vec<u64>,
        expect: Vec<Expected>,
    }

    #[derive(Deserialize)]
    struct Expected {
        second: usize,
        blocks: usize,
        phi: f64,
        clips: bool,
    }

    #[test]
    fn blocks_of_information_by_the_book() {
        for run in vectors::of::<Vec<Run>>("dispersion") {
            for expected in &run.expect {
                let mut dispersion = Dispersion::default();
                let counts = &run.stable_failures_per_second[..expected.second];
                learn_seconds(&mut dispersion, counts.iter().copied());
                let what = format!("{} after {} s", run.name, expected.second);
                assert_eq!(dispersion.closed.len(), expected.blocks, "{what}");
                vectors::assert_close(dispersion.phi(), expected.phi, &what);
                let damping = DispersionRule::Estimated { at_least: 1.0 }.damping(dispersion.phi());
                assert_eq!(damping.clips, expected.clips, "{what}");
                let text = serde_json::to_string(&dispersion).unwrap();
                let again: Dispersion = serde_json::from_str(&text).unwrap();
                assert!((again.phi() - dispersion.phi()).abs() < 1e-4, "{what}: {text}");
            }
        }
    }

    #[derive(Deserialize)]
    struct Places {
        name: String,
        seconds: Vec<PlacesSecond>,
        expect: PlacesExpected,
    }

    #[derive(Deserialize)]
    struct PlacesSecond {
        requests: Vec<u64>,
        failures: Vec<u64>,
    }

    #[derive(Deserialize)]
    struct PlacesExpected {
        #[serde(rename = "X")]
        squares: f64,
        #[serde(rename = "S")]
        expected: f64,
        phi: f64,
    }

    #[test]
    fn places_by_the_book() {
        for run in vectors::of::<Vec<Places>>("places") {
            let mut dispersion = Dispersion::default();
            for second in &run.seconds {
                let counts = second.requests.iter().zip(&second.failures);
                let counts: Vec<Counts> = counts
                    .map(|(requests, failures)| Counts { requests: *requests, failures: *failures })
                    .collect();
                dispersion.learn_places(&counts);
            }
            vectors::assert_close(dispersion.open.places.squares, run.expect.squares, &run.name);
            vectors::assert_close(dispersion.open.places.expected, run.expect.expected, &run.name);
            vectors::assert_close(dispersion.phi_of(|block| block.places, None), run.expect.phi, &run.name);
        }
    }

    /// Bursts of ten each five seconds: time alone takes them for clumps, and places know better.
    #[test]
    fn what_all_places_share_damps_nothing() {
        for (in_one_place, low, high) in [(false, 1.0, 1.6), (true, 5.0, 30.0)] {
            let (mut dispersion, mut draw) = (Dispersion::default(), draws(3));
            for second in 0..600_u64 {
                let failures = if second % 5 == 0 { 10 } else { 0 };
                let mut places = [Counts { requests: 25, failures: 0 }; 4];
                let place = (draw() * 4.0) as usize;
                (0..failures).for_each(|_| {
                    let place = if in_one_place { place } else { (draw() * 4.0) as usize };
                    places[place].failures += 1;
                });
                dispersion.learn_places(&places);
                dispersion.learn(failures, Uptime(second * 1000), Uptime((second + 1) * 1000));
            }
            assert!(dispersion.phi_over_time() > 5.0);
            assert!((low..high).contains(&dispersion.phi()), "{in_one_place}: {}", dispersion.phi());
        }
    }

    #[test]
    fn what_an_earlier_release_learnt_is_a_block() {
        let stored = r#"{"squares":300.0,"sums":100.0,"since":5000,"count":1,"previous":[2,1.0],"ticks":40.0,
                         "spans":{"squares":1.0,"sums":1.0,"since":null,"count":0,"previous":null,"ticks":1.0}}"#;
        let mut dispersion: Dispersion = serde_json::from_str(stored).unwrap();
        dispersion.learn(0, Uptime(5_000), Uptime(5_100));
        assert!(dispersion.phi() > 3.0, "{}", dispersion.phi());
    }

    fn draws(seed: u64) -> impl FnMut() -> f64 {
        let mut state = seed;
        move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f64 / (1_u64 << 31) as f64
        }
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
    fn clumps_of_three_are_seen_and_singles_are_not() {
        // A clump of three about every third second, by a fixed pseudo-random sequence.
        let mut draw = draws(7);
        let (mut clumped, mut single) = (Dispersion::default(), Dispersion::default());
        for second in 0..20_000_u64 {
            let hits = (0..10).filter(|_| draw() < 0.033).count() as u64;
            let (from, to) = (Uptime(second * 1000), Uptime((second + 1) * 1000));
            clumped.learn(3 * hits, from, to);
            single.learn(hits, from, to);
        }
        assert!((2.2..6.0).contains(&clumped.phi()), "{}", clumped.phi());
        assert!(single.phi() < 1.3, "{}", single.phi());
    }

    #[test]
    fn chance_is_not_taken_for_clumps_after_half_a_minute() {
        let mut draw = draws(5);
        let (mut singles, mut clumps) = (0, 0);
        for _ in 0..500 {
            let hits: Vec<u64> =
                (0..35).map(|_| (0..30).filter(|_| draw() < 1.0 / 30.0).count() as u64).collect();
            let clips = |clump: u64| {
                let mut dispersion = Dispersion::default();
                learn_seconds(&mut dispersion, hits.iter().map(|hits| clump * hits));
                dispersion.phi() > CLIPPED_ABOVE
            };
            singles += usize::from(clips(1));
            clumps += usize::from(clips(3));
        }
        // By the estimate alone the singles were 117.
        assert!(singles <= 20 && clumps >= 475, "{singles} singles, {clumps} clumps of 500");
    }

    #[test]
    fn clumps_across_seconds_are_seen_whole() {
        // Clumps of five begin anywhere in a second, about every fourth, and take one.
        let mut draw = draws(11);
        let mut counts = vec![0_u64; 20_001];
        for second in 0..20_000 {
            if draw() < 0.25 {
                let begins = draw();
                (0..5).for_each(|_| counts[second + usize::from(begins + draw() >= 1.0)] += 1);
            }
        }
        let mut dispersion = Dispersion::default();
        learn_seconds(&mut dispersion, counts.into_iter());
        assert!((3.6..10.0).contains(&dispersion.phi()), "{}", dispersion.phi());
    }

    /// One failure a second, and one second in which everything failed: damped for no longer than that second.
    #[test]
    fn a_second_of_outage_damps_nothing_afterwards() {
        let mut dispersion = Dispersion::default();
        let counts = (0..600_u64).map(|second| if second == 530 { 100 } else { second % 2 });
        learn_seconds(&mut dispersion, counts);
        assert!(dispersion.phi() < CLIPPED_ABOVE, "{}", dispersion.phi());
    }

    /// Nothing fails but in outages of some seconds, which fall on ticks as they like: the first one damps nothing, and a
    /// second one of its kind says that they come again.
    #[test]
    fn an_outage_of_a_version_that_never_fails_damps_only_when_it_comes_again() {
        let outages: [&[u64]; 4] = [&[100], &[40, 60], &[60, 100, 40], &[10]];
        for outage in outages {
            for between in [20, 600, 7200] {
                let calm = || std::iter::repeat_n(0, between);
                let once: Vec<u64> = calm().chain(outage.iter().copied()).chain(calm()).collect();
                let twice: Vec<u64> =
                    once.iter().copied().chain(outage.iter().copied()).chain(calm()).collect();
                let phi = |counts: &[u64]| {
                    let mut dispersion = Dispersion::default();
                    learn_seconds(&mut dispersion, counts.iter().copied());
                    let text = serde_json::to_string(&dispersion).unwrap();
                    let stored: Dispersion = serde_json::from_str(&text).unwrap();
                    assert!(
                        (stored.phi() / dispersion.phi() - 1.0).abs() < 1e-4,
                        "{outage:?} {between}: {text}"
                    );
                    dispersion.phi()
                };
                assert!(phi(&once) <= 1.0, "{outage:?} {between}: {}", phi(&once));
                assert!(phi(&twice) > 2.0, "{outage:?} {between}: {}", phi(&twice));
                let smaller: Vec<u64> = once.iter().copied().chain([5]).chain(calm()).collect();
                assert!(phi(&smaller) > 2.0, "{outage:?} {between}: {}", phi(&smaller));
            }
        }
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
