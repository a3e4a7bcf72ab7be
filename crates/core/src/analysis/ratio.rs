//! The ratio of the two arms' failure rates, with an interval that stays valid while people watch.
//!
//! Given that a request failed in an epoch of weight `w`, it was the canary's with probability `q(theta) = w*theta /
//! (w*theta + 1-w)`, where theta is the ratio of the rates: the common, wandering baseline cancels. A mixture over
//! theta against each single theta is a likelihood ratio, so the set of theta it does not refute at `1/alpha` covers
//! the true one at all times with probability at least `1-alpha`. For display only.

use super::ln_sum;

const POINTS: usize = 41;
const SPREAD: f64 = 4.0;

/// Failures of both arms while one weight was served.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FailureSplit {
    /// The canary's share.
    pub weight: f64,
    /// Its failures.
    pub canary: u64,
    /// The stable arm's failures.
    pub stable: u64,
}

/// The interval of ratios not refuted; a missing end is unbounded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RatioInterval {
    /// The least ratio.
    pub low: Option<f64>,
    /// The greatest ratio.
    pub high: Option<f64>,
}

fn ln_likelihood(splits: &[FailureSplit], ln_ratio: f64) -> f64 {
    let of = |split: &FailureSplit| {
        let odds = (split.weight / (1.0 - split.weight)).ln() + ln_ratio;
        // ln q and ln(1-q) from the log-odds, exact in both tails.
        let ln_q = -(-odds).exp().ln_1p();
        let ln_rest = -odds.exp().ln_1p();
        split.canary as f64 * ln_q + split.stable as f64 * ln_rest
    };
    splits.iter().filter(|split| split.weight > 0.0 && split.weight < 1.0).map(of).sum()
}

/// The log-evidence against a ratio: large means refuted.
pub fn ln_evidence_against(splits: &[FailureSplit], ratio: f64) -> f64 {
    ln_mixture(splits) - ln_likelihood(splits, ratio.ln())
}

/// The mixture: 41 points, a normal density over `ln theta` of standard deviation ln 4, out to four of them.
fn ln_mixture(splits: &[FailureSplit]) -> f64 {
    let half = (POINTS - 1) as f64 / 2.0;
    let at = |index: usize| (index as f64 - half) / half * SPREAD;
    let ln_weight = |index: usize| -0.5 * at(index) * at(index);
    let ln_norm = ln_sum((0..POINTS).map(ln_weight));
    ln_sum((0..POINTS).map(|index| ln_weight(index) - ln_norm + ln_likelihood(splits, at(index) * 4f64.ln())))
}

/// The ratios not refuted at `alpha`; `None` while no failure says anything.
pub fn interval(splits: &[FailureSplit], alpha: f64) -> Option<RatioInterval> {
    let counts = splits.iter().filter(|split| split.weight > 0.0 && split.weight < 1.0);
    let (canary, stable) = counts.fold((0, 0), |sum, split| (sum.0 + split.canary, sum.1 + split.stable));
    if canary + stable == 0 {
        return None;
    }
    let ln_mixture = ln_mixture(splits);
    let refuted = |ln_ratio: f64| ln_mixture - ln_likelihood(splits, ln_ratio) >= (1.0 / alpha).ln();
    // The likelihood has one peak in ln(theta); with failures on one arm only it lies at an end.
    let reach = 60.0;
    let peak = match (canary, stable) {
        (0, _) => -reach,
        (_, 0) => reach,
        _ => peak(splits, reach),
    };
    let edge = |outside: f64| {
        if !refuted(outside) {
            return None;
        }
        let (mut inside, mut outside) = (peak, outside);
        for _ in 0..200 {
            let middle = f64::midpoint(inside, outside);
            if refuted(middle) { outside = middle } else { inside = middle }
        }
        Some(f64::midpoint(inside, outside).exp())
    };
    Some(RatioInterval { low: edge(-reach), high: edge(reach) })
}

fn peak(splits: &[FailureSplit], reach: f64) -> f64 {
    let (mut low, mut high) = (-reach, reach);
    for _ in 0..200 {
        let (left, right) = (low + (high - low) / 3.0, high - (high - low) / 3.0);
        if ln_likelihood(splits, left) < ln_likelihood(splits, right) { low = left } else { high = right }
    }
    f64::midpoint(low, high)
}
