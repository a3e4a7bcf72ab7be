//! The fewest canary requests that any valid test needs, on average, to tell a canary from a harmless one.
//!
//! A test that crosses `1/alpha` with probability at most alpha under every harmless pair of rates gains, per request,
//! at most the divergence `g` of the true rates from the nearest harmless ones: `g = w*kl(p_c||y_c) +
//! (1-w)*kl(p_s||y_s)`. So it needs about `ln(1/alpha)/g` requests of both versions, `w` of them the canary's. For
//! comparison only; nothing is decided by it.

use super::boundary::{LogFactors, Margin, above};

/// The floor for a canary failing at `canary` beside a stable version failing at `stable`, at one weight.
///
/// Rates, weight and alpha are shares between 0 and 1. `None` where the canary is within the margin: no valid test may
/// tell it from a harmless one.
pub fn canary_requests(weight: f64, canary: f64, stable: f64, margin: Margin, alpha: f64) -> Option<f64> {
    let stable = stable.max(f64::MIN_POSITIVE);
    if canary <= margin.at(stable) || weight <= 0.0 || weight >= 1.0 {
        return None;
    }
    let factors: LogFactors = above(weight, canary, stable, margin);
    // Nothing times an infinite logarithm is nothing: an outcome that never comes gains nothing.
    let part = |share: f64, ln: f64| if share > 0.0 { share * ln } else { 0.0 };
    let of_canary = part(canary, factors.canary_failure) + part(1.0 - canary, factors.canary_success);
    let of_stable = part(stable, factors.stable_failure) + part(1.0 - stable, factors.stable_success);
    let gain = weight * of_canary + (1.0 - weight) * of_stable;
    Some(weight * -alpha.ln() / gain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: Margin = Margin { ratio: 1.0, added: 0.0 };

    /// The two figures of the specification, section 5.
    #[test]
    fn broken_and_doubled_cost_what_they_must() {
        let broken = canary_requests(0.03, 1.0, 0.001, STRICT, 0.01).unwrap();
        assert!((broken - 1.06).abs() < 0.005, "{broken}");
        let doubled = canary_requests(0.03, 0.02, 0.01, STRICT, 0.01).unwrap();
        assert!((doubled - 1223.6).abs() < 0.5, "{doubled}");
    }

    #[test]
    fn what_is_harmless_cannot_be_told() {
        assert_eq!(canary_requests(0.03, 0.01, 0.01, STRICT, 0.01), None);
        assert_eq!(canary_requests(0.03, 0.012, 0.01, Margin { ratio: 1.2, added: 0.0005 }, 0.01), None);
        assert_eq!(canary_requests(1.0, 0.5, 0.01, STRICT, 0.01), None);
        assert!(canary_requests(0.03, 0.5, 0.0, STRICT, 0.01).unwrap().is_finite());
    }
}
