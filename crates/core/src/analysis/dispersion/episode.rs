//! Episodes: what failed together once, and has not come again yet.
//!
//! They are what is left out where there are too few blocks to leave a quarter of them out; the parent says when and why.

use serde::{Deserialize, Serialize};

use super::Sums;
use crate::model::time::Uptime;

/// An episode is so many differences of seconds in a row, those of an outage that takes up to four, or so many of spans.
const EPISODE_SECONDS: usize = 5;
const EPISODE_SPANS: usize = 3;
/// An episode that says less may be a clump like any other.
const EPISODE_SUMS: f64 = 16.0;
/// Below this an estimate says nothing of clumps: that of few failures, two of which came together once or twice by chance.
const CALM_BELOW: f64 = 1.5;

/// The largest episodes that the blocks hold, over seconds and over spans.
///
/// The few differences before now are not stored: an episode that a restart cuts in two counts with its larger part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Episodes {
    pub(super) seconds: Episode,
    pub(super) spans: Episode,
}

impl Episodes {
    /// Adds the difference of two seconds.
    pub(super) fn learn_second(&mut self, difference: Sums, to: Uptime) {
        self.seconds.learn(difference, to, EPISODE_SECONDS);
    }

    /// Adds the difference of two spans.
    pub(super) fn learn_span(&mut self, difference: Sums, to: Uptime) {
        self.spans.learn(difference, to, EPISODE_SPANS);
    }

    /// Forgets what ended by then.
    pub(super) fn forget(&mut self, until: Uptime) {
        for episode in [&mut self.seconds, &mut self.spans] {
            if episode.until <= until {
                episode.largest = Sums::default();
            }
        }
    }

    /// What comes next is not compared with what came before.
    pub(super) fn skip(&mut self) {
        for episode in [&mut self.seconds, &mut self.spans] {
            episode.newest = Default::default();
        }
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        [self.seconds, self.spans].iter().all(|episode| episode.largest == Sums::default())
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "StoredEpisode", into = "StoredEpisode")]
pub(super) struct Episode {
    until: Uptime,
    largest: Sums,
    /// The newest differences, in a ring.
    newest: [Sums; EPISODE_SECONDS],
    at: usize,
}

type StoredEpisode = (u64, f32, f32);

impl From<StoredEpisode> for Episode {
    fn from((until, squares, expected): StoredEpisode) -> Episode {
        let largest = Sums { squares: squares.into(), expected: expected.into() };
        Episode { until: Uptime(until), largest, ..Episode::default() }
    }
}

impl From<Episode> for StoredEpisode {
    fn from(Episode { until, largest, .. }: Episode) -> StoredEpisode {
        (until.0, largest.squares as f32, largest.expected as f32)
    }
}

impl Episode {
    fn learn(&mut self, difference: Sums, to: Uptime, differences: usize) {
        self.newest[self.at] = difference;
        self.at = (self.at + 1) % differences;
        let mut sum = Sums::default();
        self.newest.iter().for_each(|difference| sum.add(*difference));
        if sum.excess() > self.largest.excess() {
            (self.largest, self.until) = (sum, to);
        }
    }

    /// What is left of the sums of all blocks without it, where it is large and stands alone.
    pub(super) fn left_out_of(&self, all: Sums) -> Sums {
        let rest = all.without(self.largest);
        let stands_alone = rest.phi() < CALM_BELOW;
        if self.largest.expected >= EPISODE_SUMS && stands_alone { rest } else { all }
    }
}
