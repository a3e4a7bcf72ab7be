//! What is known of the stable arm from the past: how often it fails, how unevenly, and how long it takes.
//!
//! It is learnt all the time, before a rollout from the alias's ordinary traffic, and only from what has already been
//! judged. Tables are computed from it, and nothing in it is evidence.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Counts;
use super::baseline::Baseline;
use super::dispersion::Dispersion;
use super::spells::{Kind, Spells};
use crate::analysis::latency_span::{LatencySpan, PROCESSES, QUANTILES};
use crate::model::histogram::BUCKETS;
use crate::model::time::Uptime;

const LATENCY_HALF_LIFE_S: f64 = 300.0;
/// The weight of "as many as the quantile says" in the share of stable's requests that exceed.
const PRIOR_REQUESTS: f64 = 20.0;

/// How often clients of the stable arm give up, and how unevenly.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct PatiencePast {
    often: Baseline,
    dispersion: Dispersion,
}

/// How requests of the stable arm ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// Requests, and how many failed.
    pub counts: Counts,
    /// How many were refused.
    pub refused: u64,
    /// How many were given up by their clients.
    pub gave_up: u64,
}

impl Ends {
    /// Both sums.
    pub fn plus(self, more: Ends) -> Ends {
        Ends {
            counts: self.counts.plus(more.counts),
            refused: self.refused + more.refused,
            gave_up: self.gave_up + more.gave_up,
        }
    }
}

/// What is known of the stable arm.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Past {
    /// How often it fails.
    pub failures: Baseline,
    /// How unevenly it fails.
    pub dispersion: Dispersion,
    /// Its own bad spells.
    #[serde(default)]
    pub spells: Spells,
    /// How often it refuses requests.
    #[serde(default)]
    pub refusals: Baseline,
    /// How unevenly it does.
    #[serde(default)]
    pub refusals_dispersion: Dispersion,
    /// How often and how unevenly its clients give up; nothing until the first one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    patience: Option<Box<PatiencePast>>,
    /// How long it takes.
    pub latency: LatencyPast,
    refreshed: Option<Uptime>,
}

impl Past {
    /// Starts from faded counts known already.
    pub fn warmed(failures: f64, requests: f64) -> Past {
        Past { failures: Baseline::warmed(failures, requests), ..Past::default() }
    }

    /// Learns how requests ended between two moments.
    pub fn learn(&mut self, stable: Ends, from: Uptime, to: Uptime) {
        let Ends { counts: stable, refused, gave_up } = stable;
        let span = to.since(from);
        self.failures.learn(stable, span);
        self.dispersion.learn(stable.failures, from, to);
        self.spells.learn(Kind::Failures, stable, from, to);
        self.refusals.learn(Counts { requests: stable.requests, failures: refused }, span);
        self.refusals_dispersion.learn(refused, from, to);
        if gave_up > 0 || self.patience.is_some() {
            let patience = self.patience.get_or_insert_default();
            patience.often.learn(Counts { requests: stable.requests, failures: gave_up }, span);
            patience.dispersion.learn(gave_up, from, to);
        }
    }

    /// Learns how many of so many requests exceeded a frozen edge between two moments; `add` learnt their latencies.
    pub fn learn_excesses(&mut self, index: usize, counts: Counts, from: Uptime, to: Uptime) {
        self.latency.dispersion[index].learn(counts.failures, from, to);
        if self.latency.edges[index].is_some() {
            self.latency.spells[index].learn(Kind::Excesses, counts, from, to);
        }
    }

    /// How often its clients give up.
    pub fn giving_up(&self) -> f64 {
        self.patience.as_ref().map_or_else(Baseline::default, |patience| patience.often).rate()
    }

    /// How unevenly they do.
    pub fn giving_up_phi(&self) -> f64 {
        self.patience.as_ref().map_or(1.0, |patience| patience.dispersion.phi())
    }

    /// What comes next is another weight, and not to be compared with what came before.
    pub fn skip(&mut self) {
        self.dispersion.skip();
        self.refusals_dispersion.skip();
        if let Some(patience) = &mut self.patience {
            patience.dispersion.skip();
        }
        self.latency.dispersion.iter_mut().for_each(Dispersion::skip);
    }

    /// Freezes anew what latency is compared at.
    pub fn refresh(&mut self, at: Uptime) {
        let since_s = self.refreshed.map_or(0.0, |refreshed| at.since(refreshed).as_secs_f64());
        self.refreshed = Some(at);
        self.latency.refresh(since_s);
    }

    /// Freezes anew where it was not done for a while.
    pub fn refresh_after(&mut self, period: Duration, at: Uptime) {
        if self.refreshed.is_none_or(|refreshed| at.since(refreshed) >= period) {
            self.refresh(at);
        }
    }
}

/// How long the stable arm takes: a fading histogram, and the edges frozen out of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatencyPast {
    #[serde(with = "sparse")]
    seen: [f64; BUCKETS],
    edges: [Option<usize>; PROCESSES],
    /// How unevenly the requests beyond each edge come.
    pub dispersion: [Dispersion; PROCESSES],
    /// Bad spells of requests beyond each edge.
    #[serde(default)]
    pub spells: [Spells; PROCESSES],
}

impl Default for LatencyPast {
    fn default() -> LatencyPast {
        LatencyPast {
            seen: [0.0; BUCKETS],
            edges: [None; PROCESSES],
            dispersion: Default::default(),
            spells: Default::default(),
        }
    }
}

impl LatencyPast {
    /// Adds what came since the last look.
    pub fn add(&mut self, span: LatencySpan<'_>) {
        if span.is_empty() {
            return;
        }
        for (bucket, seen) in self.seen.iter_mut().enumerate() {
            *seen += span.now.hits(bucket).saturating_sub(span.before.hits(bucket)) as f64;
        }
    }

    /// The buckets whose upper edges are the frozen quantiles.
    pub fn edges(&self) -> [Option<usize>; PROCESSES] {
        self.edges
    }

    /// Fades what is known by the seconds since the last time, and freezes the edges anew.
    pub fn refresh(&mut self, since_s: f64) {
        let kept = (-since_s / LATENCY_HALF_LIFE_S).exp2();
        self.seen.iter_mut().for_each(|seen| *seen *= kept);
        let total: f64 = self.seen.iter().sum();
        for (index, quantile) in QUANTILES.into_iter().enumerate() {
            let mut sum = 0.0;
            let reached = self.seen.iter().position(|seen| {
                sum += seen;
                sum >= quantile * total
            });
            // Less than one request, or a quantile beyond the last edge, says nothing.
            let edge = reached.filter(|bucket| total >= 1.0 && *bucket < BUCKETS - 1);
            if edge != self.edges[index] {
                self.edges[index] = edge;
                self.dispersion[index].skip();
                self.spells[index].skip();
            }
        }
    }

    /// The bucket whose upper edge is the frozen quantile; `None` while nothing is known.
    pub fn edge(&self, index: usize) -> Option<usize> {
        self.edges[index]
    }

    /// The share of requests that probably lies above the frozen edge.
    pub fn rate_above(&self, index: usize) -> f64 {
        let Some(edge) = self.edges[index] else { return 0.0 };
        let above: f64 = self.seen[edge + 1..].iter().sum();
        let total: f64 = self.seen.iter().sum();
        let prior = PRIOR_REQUESTS * (1.0 - QUANTILES[index]);
        ((above + prior) / (total + PRIOR_REQUESTS)).clamp(1e-6, 0.9)
    }
}

/// Most buckets of a histogram are empty, and three digits are more than its edges deserve.
mod sparse {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::model::histogram::BUCKETS;

    pub fn serialize<S: Serializer>(seen: &[f64; BUCKETS], to: S) -> Result<S::Ok, S::Error> {
        let filled = seen.iter().enumerate().filter(|(_, count)| **count > 1e-3);
        filled.map(|(bucket, count)| (bucket, *count as f32)).collect::<Vec<_>>().serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[f64; BUCKETS], D::Error> {
        let mut seen = [0.0; BUCKETS];
        for (bucket, count) in Vec::<(usize, f32)>::deserialize(from)? {
            if let Some(known) = seen.get_mut(bucket) {
                *known = f64::from(count);
            }
        }
        Ok(seen)
    }
}
