//! Evidence: counts in, verdict out.
//!
//! Two questions are asked of every canary, by two processes that never look at a clock and stay valid however often
//! anybody looks at them. `harm`: should it be rolled back? `proof`: may the next weight be let in? Both are products
//! of likelihood ratios against the nearest point of their null hypothesis (`boundary`), with a baseline learnt from
//! the stable arm's past (`past`, `baseline`). `latency` asks the same of slow answers, `ceiling` guards against a fixed
//! rate where there is no arm to compare with; `dispersion` and `clip` damp what correlated failures would pretend,
//! `patience` compares how often clients give up where latency is not judged, `spells` allows what stable does to itself now
//! and then, `mirror` says what copies prove, `split` watches the weights,
//! `stable` the stable version's own health. Where users stick to a version, `users` judges users instead of requests, as `marks` tells them.
//! `watch` guards the hour after a promotion, `feasibility` says how long a plan will take. `ratio` is for people to look
//! at, `evidence` puts them together. Each file derives what it computes.
//!
//! What is a theorem here: with known weights, independent failures, and counts taken by dispatch, a canary within its
//! limits is rolled back with probability at most alpha over a whole rollout, and one outside its proof margin is let
//! in with probability at most beta at each step. What is a heuristic is said where it stands.

pub mod baseline;
pub mod bound;
pub mod boundary;
pub mod capital;
pub mod ceiling;
pub mod clip;
pub mod cohort;
pub mod dispersion;
pub mod evidence;
pub mod exact;
pub mod floor;
pub mod harm;
pub mod latency;
pub mod latency_span;
pub mod ledger;
pub mod marks;
pub mod mirror;
pub mod mixture;
pub mod past;
pub mod patience;
pub mod proof;
pub mod ratio;
pub mod spells;
pub mod split;
pub mod stable;
pub mod users;
#[cfg(test)]
mod vectors;
pub mod warmup;
pub mod watch;

use serde::{Deserialize, Serialize};

/// Requests of one version in one block, and how many of them failed.
///
/// Requests are counted when dispatched and failures when known, so a block may hold more failures than requests: an
/// earlier request, counted as a success until then, has turned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Requests dispatched.
    pub requests: u64,
    /// Failures that became known.
    pub failures: u64,
}

impl Counts {
    /// What was counted since `earlier`; never negative, whatever a reader saw halfway.
    pub fn since(self, earlier: Counts) -> Counts {
        Counts {
            requests: self.requests.saturating_sub(earlier.requests),
            failures: self.failures.saturating_sub(earlier.failures),
        }
    }

    /// Both sums.
    pub fn plus(self, more: Counts) -> Counts {
        Counts {
            requests: self.requests.saturating_add(more.requests),
            failures: self.failures.saturating_add(more.failures),
        }
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        *self == Counts::default()
    }

    /// Successes; negative where earlier ones turned.
    fn successes(self) -> f64 {
        self.requests as f64 - self.failures as f64
    }
}

/// Both arms over the same stretch of time at the same weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arms {
    /// The additional version.
    pub canary: Counts,
    /// The function version.
    pub stable: Counts,
}

impl Arms {
    /// What was counted since `earlier`.
    pub fn since(self, earlier: Arms) -> Arms {
        Arms { canary: self.canary.since(earlier.canary), stable: self.stable.since(earlier.stable) }
    }

    /// Both sums.
    pub fn plus(self, more: Arms) -> Arms {
        Arms { canary: self.canary.plus(more.canary), stable: self.stable.plus(more.stable) }
    }

    /// The canary's share of the requests as they were counted; zero without any.
    pub fn share(self) -> f64 {
        let requests = self.canary.requests + self.stable.requests;
        if requests == 0 { 0.0 } else { self.canary.requests as f64 / requests as f64 }
    }

    /// Whether nothing was counted.
    pub fn is_empty(self) -> bool {
        self.canary.is_empty() && self.stable.is_empty()
    }
}

/// `ln(exp(a) + exp(b))` without overflow; `-inf` is nothing.
fn ln_add(a: f64, b: f64) -> f64 {
    let (high, low) = if a >= b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

/// `ln` of a sum of terms given by their logarithms.
fn ln_sum(terms: impl Iterator<Item = f64> + Clone) -> f64 {
    let high = terms.clone().fold(f64::NEG_INFINITY, f64::max);
    if high == f64::NEG_INFINITY {
        return high;
    }
    high + terms.map(|term| (term - high).exp()).sum::<f64>().ln()
}

fn logit(p: f64) -> f64 {
    (p / (1.0 - p)).ln()
}

fn expit(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}
