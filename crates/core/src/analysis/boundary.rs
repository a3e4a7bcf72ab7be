//! The nearest point of a null hypothesis, and the log-likelihood ratios against it.
//!
//! A null hypothesis is the line `p_canary = rho * p_stable + delta` and everything on its harmless (harm) or harmful
//! (proof) side, where `p_stable` may be anything and may wander. A request goes to the canary with known probability
//! `w`, so one request's outcome is (arm, failed) with probabilities `w*p_c`, `w*(1-p_c)`, `(1-w)*p_s`,
//! `(1-w)*(1-p_s)`. For an alternative `(tc, ts)` outside the null, let `(yc, ys)` minimise the expected
//! log-likelihood ratio `w*kl(tc||y) + (1-w)*kl(ts||x)` over the null (the reverse information projection). The null's
//! outcome distributions are a convex set for every fixed `w`, and for a projection `Q` of `P` onto a convex set
//! `E_R[dP/dQ] <= 1` holds for *every* member `R`. So the ratio `P/Q` of one outcome has expectation at most 1 whatever
//! the true, wandering rates are, and products of such ratios with tables fixed before each outcome are
//! supermartingales. The factors `w` and `1-w` stand in `P` and `Q` alike and cancel: that is why random but known
//! weights suffice.

/// The limit a canary's failure rate is held against: `ratio * stable + added`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Margin {
    /// rho, at least 1 in plans.
    pub ratio: f64,
    /// delta, as a share.
    pub added: f64,
}

impl Margin {
    /// The limit at a stable rate.
    pub fn at(self, stable: f64) -> f64 {
        self.ratio * stable + self.added
    }
}

/// What each kind of outcome adds to the logarithm of one alternative's capital.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LogFactors {
    /// A failed canary request.
    pub canary_failure: f64,
    /// A good canary request.
    pub canary_success: f64,
    /// A failed stable request.
    pub stable_failure: f64,
    /// A good stable request.
    pub stable_success: f64,
}

impl LogFactors {
    fn between(canary: f64, stable: f64, nearest_canary: f64, nearest_stable: f64) -> LogFactors {
        LogFactors {
            canary_failure: (canary / nearest_canary).ln(),
            canary_success: (-canary).ln_1p() - (-nearest_canary).ln_1p(),
            stable_failure: (stable / nearest_stable).ln(),
            stable_success: (-stable).ln_1p() - (-nearest_stable).ln_1p(),
        }
    }

    /// What a block of both arms adds.
    pub fn of(&self, arms: super::Arms) -> f64 {
        arms.canary.failures as f64 * self.canary_failure
            + arms.canary.successes() * self.canary_success
            + arms.stable.failures as f64 * self.stable_failure
            + arms.stable.successes() * self.stable_success
    }
}

/// Log factors for an alternative *above* the margin (harm); all zero where it does not lie above.
pub fn above(weight: f64, canary: f64, stable: f64, margin: Margin) -> LogFactors {
    if canary <= margin.at(stable) {
        return LogFactors::default();
    }
    let high = ((canary - margin.added) / margin.ratio).min((1.0 - margin.added) / margin.ratio);
    project(weight, canary, stable, margin, stable, high)
}

/// Log factors for an alternative *below* the margin (proof); all zero where it does not lie below.
pub fn below(weight: f64, canary: f64, stable: f64, margin: Margin) -> LogFactors {
    if canary >= margin.at(stable) {
        return LogFactors::default();
    }
    let low = ((canary - margin.added) / margin.ratio).max(0.0);
    let high = stable.min((1.0 - margin.added) / margin.ratio);
    project(weight, canary, stable, margin, low, high)
}

/// Bisects the projection's stationarity condition, which increases in the stable rate `x`.
fn project(weight: f64, canary: f64, stable: f64, margin: Margin, low: f64, high: f64) -> LogFactors {
    let slope = |x: f64| {
        let y = margin.at(x);
        let pull = |toward: f64, at: f64| toward / at - (1.0 - toward) / (1.0 - at);
        -weight * margin.ratio * pull(canary, y) - (1.0 - weight) * pull(stable, x)
    };
    if margin.ratio == 1.0 && margin.added == 0.0 {
        // Both arms fail alike there, and the root is their mean.
        let nearest = weight * canary + (1.0 - weight) * stable;
        return LogFactors::between(canary, stable, nearest, nearest);
    }
    let (mut low, mut high) = (low, high);
    // 200 halvings end at neighbouring floats from any start; the loop leaves as soon as they meet.
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        if slope(middle) < 0.0 {
            low = middle;
        } else {
            high = middle;
        }
    }
    let nearest = 0.5 * (low + high);
    LogFactors::between(canary, stable, margin.at(nearest), nearest)
}
