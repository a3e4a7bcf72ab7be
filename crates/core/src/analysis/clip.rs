//! Clipping: no second says more than two nats, however many failures fall into it.
//!
//! Where failures come in clumps, a division by the mean dispersion leaves the odd large clump. So each component of a
//! mixture is granted at most `min(X, 2)` of what its raw log factors `X` sum to within a second, however many looks
//! the second is made of. Cutting from above never breaks the bound: within a second the raw factor `exp(X)` is a
//! supermartingale, `min(exp(X), e^2)` of a supermartingale is one (a minimum with a constant is concave and rises with
//! its argument), and a product of such seconds is one again. Where a second begins does not matter, so a restart in
//! the midst of one costs nothing but a new beginning.

/// What one component may gain in a second, in nats.
const GRANTED_MAX: f64 = 2.0;

/// What the components of a mixture were granted in the present second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clip<const N: usize> {
    second: u64,
    raw: [f64; N],
    granted: [f64; N],
}

impl<const N: usize> Default for Clip<N> {
    fn default() -> Clip<N> {
        Clip { second: 0, raw: [0.0; N], granted: [0.0; N] }
    }
}

impl<const N: usize> Clip<N> {
    /// Goes to a second; each has a budget of its own.
    pub fn enter(&mut self, second: u64) {
        if second != self.second {
            *self = Clip { second, ..Clip::default() };
        }
    }

    /// What is left of a growth that a component would have.
    pub fn grant(&mut self, component: usize, ln_growth: f64) -> f64 {
        self.raw[component] += ln_growth;
        let granted = self.raw[component].min(GRANTED_MAX);
        granted - std::mem::replace(&mut self.granted[component], granted)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However a second is cut into looks, it grants the same: the sum, and two at most.
        #[test]
        fn a_second_grants_the_same_however_often_it_is_looked_at(growths in proptest::collection::vec(-3.0..3.0_f64, 1..40)) {
            let mut clip = Clip::<1>::default();
            clip.enter(1);
            let granted: f64 = growths.iter().map(|growth| clip.grant(0, *growth)).sum();
            prop_assert!((granted - growths.iter().sum::<f64>().min(2.0)).abs() < 1e-9);
        }
    }

    #[test]
    fn every_second_has_a_budget() {
        let mut clip = Clip::<2>::default();
        let mut total = 0.0;
        for second in 0..5 {
            clip.enter(second);
            total += clip.grant(1, 9.0) + clip.grant(1, 9.0);
        }
        assert_eq!(total, 10.0);
    }
}
