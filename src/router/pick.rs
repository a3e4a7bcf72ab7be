//! Draws the version of one request: a uniform ticket against a threshold.
//!
//! Pure and without memory: each request is drawn on its own, so the share holds over any set of requests, and the
//! error against the exact share is below 2⁻⁶⁴.

use crate::metrics::recorder::Arm;
use serin_core::lambda::alias::Routing;
use serin_core::model::weight::Weight;

/// How an alias's requests are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// All of them go one way; no ticket is needed.
    All(Arm),
    /// A ticket below the bound goes to the additional version.
    Below(u64),
}

impl Split {
    /// The split that a routing asks for.
    pub fn of(routing: &Routing) -> Split {
        match routing.additional.map(|additional| additional.weight) {
            None | Some(Weight::ZERO) => Split::All(Arm::Primary),
            Some(Weight::FULL) => Split::All(Arm::Additional),
            Some(weight) => Split::Below(weight.ticket_bound()),
        }
    }

    /// Draws one request; `ticket` is uniform over all 64-bit numbers, and asked for only where it decides.
    pub fn pick(self, ticket: impl FnOnce() -> u64) -> Arm {
        match self {
            Split::All(arm) => arm,
            Split::Below(bound) if ticket() < bound => Arm::Additional,
            Split::Below(_) => Arm::Primary,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::RngExt;

    use super::*;
    use crate::chance;
    use serin_core::model::arn::VersionNumber;

    fn split(ppm: u32) -> Split {
        Split::of(&Routing::split(VersionNumber(1), VersionNumber(2), Weight::from_ppm(ppm).unwrap()))
    }

    #[test]
    fn ends_need_no_ticket() {
        let no_ticket = || panic!("nothing to draw");
        assert_eq!(split(0).pick(no_ticket), Arm::Primary);
        assert_eq!(split(1_000_000).pick(no_ticket), Arm::Additional);
        assert_eq!(Split::of(&Routing::only(VersionNumber(1))).pick(no_ticket), Arm::Primary);
    }

    #[test]
    fn the_share_holds_at_small_weights() {
        for (ppm, draws) in [(30_000, 2_000_000_u32), (1_000, 20_000_000), (100, 20_000_000)] {
            let (split, mut tickets) = (split(ppm), chance::seeded(0x5e71));
            let drawn =
                (0..draws).filter(|_| split.pick(|| tickets.random()) == Arm::Additional).count() as f64;
            let share = f64::from(ppm) / 1e6;
            let (expected, sigma) =
                (share * f64::from(draws), (share * (1.0 - share) * f64::from(draws)).sqrt());
            assert!(
                (drawn - expected).abs() <= 4.0 * sigma,
                "{ppm} ppm: {drawn} of {draws}, expected {expected} ± {sigma}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_ticket_is_additional_exactly_below_the_share(ppm in 1..1_000_000_u32, ticket: u64) {
            // ticket / 2⁶⁴ < ppm / 10⁶, in whole numbers; the bound is rounded down by less than one ticket.
            let below = u128::from(ticket) * 1_000_000 < u128::from(ppm) << 64;
            let last = u128::from(ticket) == (u128::from(ppm) << 64) / 1_000_000;
            prop_assume!(!last);
            prop_assert_eq!(split(ppm).pick(|| ticket) == Arm::Additional, below);
        }

        #[test]
        fn more_weight_never_takes_a_ticket_away(low in 0..=1_000_000_u32, high in 0..=1_000_000_u32, ticket: u64) {
            let (low, high) = (low.min(high), low.max(high));
            if split(low).pick(|| ticket) == Arm::Additional {
                prop_assert_eq!(split(high).pick(|| ticket), Arm::Additional);
            }
        }
    }
}
