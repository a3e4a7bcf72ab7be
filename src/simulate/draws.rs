//! Draws from distributions, by a generator that is handed in.

use rand::RngExt;
use rand::rngs::SmallRng;

/// An exponentially distributed number with mean 1.
pub(super) fn exponential(chance: &mut SmallRng) -> f64 {
    -(1.0 - chance.random::<f64>()).ln()
}

/// A number between 0 and 1.
pub(super) fn uniform(chance: &mut SmallRng) -> f64 {
    chance.random::<f64>()
}

/// How many events of a Poisson process with this mean happen.
pub(super) fn poisson(chance: &mut SmallRng, mean: f64) -> u64 {
    // A sum of Poisson numbers is one; parts of thirty keep exp(-mean) and the search in good range.
    let (mut left, mut sum) = (mean, 0);
    while left > 0.0 {
        let part = left.min(30.0);
        left -= part;
        let (mut density, mut count) = ((-part).exp(), 0_u64);
        let mut rest = chance.random::<f64>();
        while rest > density && count < 400 {
            rest -= density;
            count += 1;
            density *= part / count as f64;
        }
        sum += count;
    }
    sum
}

/// How many of `count` independent events of this probability happen.
pub(super) fn binomial(chance: &mut SmallRng, count: u64, probability: f64) -> u64 {
    if count == 0 || probability <= 0.0 {
        return 0;
    }
    if probability >= 1.0 {
        return count;
    }
    if probability > 0.5 {
        return count - binomial(chance, count, 1.0 - probability);
    }
    // A sum of binomial numbers is one; parts keep the first density and the search in good range.
    let (mut left, mut sum) = (count, 0);
    let part_max = (30.0 / probability).min(1e6) as u64;
    while left > 0 {
        let part = left.min(part_max);
        left -= part;
        let (mut density, mut happened) = ((part as f64 * (-probability).ln_1p()).exp(), 0);
        let odds = probability / (1.0 - probability);
        let mut rest = chance.random::<f64>();
        while rest > density && happened < part {
            rest -= density;
            density *= odds * (part - happened) as f64 / (happened + 1) as f64;
            happened += 1;
        }
        sum += happened;
    }
    sum
}
