//! An exact test of two shares, for looks that are few and at fixed times.
//!
//! Of `n_c` canary users `e_c` met a failure, of `n_s` stable ones `e_s`; is the canary's share within `rho x + delta`, where
//! `x` is stable's? The null is that it is not: `y >= rho x + delta`. Outcomes are ordered by how far they lie from it,
//!
//! ```text
//! D(e_c, e_s) = min over x of  n_c kl(e_c/n_c || rho x + delta) + n_s kl(e_s/n_s || x)
//! ```
//!
//! where `e_c/n_c` is below the margin, and 0 elsewhere (`boundary::below`, whose projection this is). The farther, the
//! more is against the null. How often so far an outcome comes by chance hangs on `x`, which nobody knows. So let `[l, h]` be
//! stable's interval by Clopper and Pearson that `x` is outside of with probability `g` at most; the canary is proven at a
//! level b if `g + sup over x in [l, h] of P_x(D >= D found) <= b` (Berger and Boos, 1994). It stays below b whatever `x` is.
//!
//! *The supremum is bounded, not searched.* `D` falls with `e_c` and rises with `e_s`. So on a part `[a, a']` of the interval
//! `P_x(D >= d)` is at most what stable at `a'` and the canary at `rho a + delta` come to; parts are narrow, and the
//! largest of these bounds counts. It covers canaries beyond the margin as well as those on it.
//!
//! A test of the canary against stable's lower end alone is exact, too, and does well where stable has twenty times as many
//! users. Where both have as many it throws half of what they tell away: of 2500 users each, of whom .5 % meet a failure on
//! both, it passes one in four good canaries before 100 %, and this one three in four.
//!
//! *Unequal users.* Both counts are sums of independent outcomes that are not alike, given the times at which things
//! fail. Such sums are less spread than a binomial of the same mean, so `D` is as far seldomer. For one sum that is
//! Hoeffding's theorem (1956); for both together it is a heuristic, as it was not proven.

use std::ops::{Range, RangeInclusive};

use super::boundary::Margin;
use super::{Arms, Counts};

/// The part of a level that stable's interval has.
const OF_INTERVAL: f64 = 0.05;
/// Parts of that interval.
const PARTS: usize = 40;
/// Halvings until an end is known to a millionth of itself.
const BISECTIONS: u32 = 30;
/// Counts farther from their mean than so many standard deviations, and some, are taken for the farthest.
const DEVIATIONS: f64 = 8.0;
const AND_SOME: f64 = 20.0;
/// They weigh less than this.
const WEIGHT_BEYOND: f64 = 1e-13;

/// The probability that a canary at or beyond the margin looks so good, at a look that has `level` of beta.
pub fn chance_beyond(arms: Arms, margin: Margin, level: f64) -> f64 {
    let Arms { stable, canary } = arms;
    if canary.requests == 0 || stable.requests == 0 {
        return 1.0;
    }
    let found = distance(arms, margin);
    if found <= 0.0 {
        return 1.0;
    }
    let spent = level * OF_INTERVAL;
    let (low, high) = (lower_end(stable, spent / 2.0), upper_end(stable, spent / 2.0));
    let window = around(stable.requests, low).0..=around(stable.requests, high).1;
    let allowed = allowed(arms, margin, found, window);
    let at = |part: usize| low + (high - low) * part as f64 / PARTS as f64;
    let worst = (0..PARTS)
        .map(|part| so_far(arms, &allowed, at(part + 1), margin.at(at(part)).clamp(0.0, 1.0)))
        .fold(0.0, f64::max);
    (worst + spent).min(1.0)
}

/// How far an outcome lies from the null; 0 where it does not lie below the margin.
fn distance(Arms { stable, canary }: Arms, margin: Margin) -> f64 {
    let share = |counts: Counts| counts.failures as f64 / counts.requests as f64;
    let (found, of_stable) = (share(canary), share(stable));
    if found >= margin.at(of_stable) {
        return 0.0;
    }
    let at =
        |x: f64| canary.requests as f64 * kl(found, margin.at(x)) + stable.requests as f64 * kl(of_stable, x);
    // It is convex, and the nearest point lies between the line below the canary's share and stable's own.
    let (mut low, mut high) = (
        ((found - margin.added) / margin.ratio).max(0.0),
        of_stable.min((1.0 - margin.added) / margin.ratio),
    );
    let slope = |x: f64| {
        let y = margin.at(x);
        let pull = |share: f64, at: f64| (1.0 - share) / (1.0 - at) - share / at;
        canary.requests as f64 * margin.ratio * pull(found, y) + stable.requests as f64 * pull(of_stable, x)
    };
    for _ in 0..BISECTIONS {
        let middle = f64::midpoint(low, high);
        if middle <= low || middle >= high {
            break;
        }
        if slope(middle) < 0.0 { low = middle } else { high = middle }
    }
    at(f64::midpoint(low, high))
}

/// The divergence of two coins; without end where one never falls so.
fn kl(share: f64, at: f64) -> f64 {
    let part = |share: f64, at: f64| if share > 0.0 { share * (share / at).ln() } else { 0.0 };
    part(share, at) + part(1.0 - share, 1.0 - at)
}

/// For each number of stable's failures, how many numbers of the canary's, from none up, lie as far as what was found.
struct Allowed {
    first: u64,
    counts: Vec<u64>,
}

fn allowed(arms: Arms, margin: Margin, found: f64, window: RangeInclusive<u64>) -> Allowed {
    // What was found must count itself, whatever the last bits say.
    let limit = found * (1.0 - 1e-9);
    let all = arms.canary.requests + 1;
    let is_as_far = |canary: u64, stable: u64| {
        let of = |counts: Counts, failures| Counts { failures, ..counts };
        distance(Arms { canary: of(arms.canary, canary), stable: of(arms.stable, stable) }, margin) >= limit
    };
    let first = *window.start();
    let (mut count, mut end) = (0, all);
    while count < end {
        let middle = u64::midpoint(count, end);
        if is_as_far(middle, first) { count = middle + 1 } else { end = middle }
    }
    let counts = window.map(|stable| {
        while count < all && is_as_far(count, stable) {
            count += 1;
        }
        count
    });
    Allowed { first, counts: counts.collect() }
}

/// The probability of an outcome that is allowed, at these shares of stable's users and the canary's.
fn so_far(arms: Arms, allowed: &Allowed, stable: f64, canary: f64) -> f64 {
    let (first, most) = (around(arms.canary.requests, canary).0, allowed.counts.last().copied());
    // The chance of fewer than so many, for each number from the first on.
    let mut sum = WEIGHT_BEYOND;
    let mut fewer = vec![sum];
    for density in densities(arms.canary.requests, canary, first..most.unwrap_or_default()) {
        sum += density;
        fewer.push(sum);
    }
    let (mut seen, mut far) = (0.0, 0.0);
    let window = allowed.first..allowed.first + allowed.counts.len() as u64;
    for (density, allowed) in densities(arms.stable.requests, stable, window).zip(&allowed.counts) {
        seen += density;
        far += density * fewer[allowed.saturating_sub(first) as usize];
    }
    far + (1.0 - seen).max(0.0)
}

/// Which counts are worth looking at.
fn around(draws: u64, share: f64) -> (u64, u64) {
    let mean = draws as f64 * share;
    let wide = DEVIATIONS * mean.sqrt() + AND_SOME;
    ((mean - wide).max(0.0) as u64, ((mean + wide) as u64).min(draws))
}

/// The probabilities of so many of `draws`, one number after another.
fn densities(draws: u64, share: f64, numbers: Range<u64>) -> impl Iterator<Item = f64> {
    let odds = (share / (1.0 - share)).ln();
    let mut ln = ln_density(draws, share, numbers.start);
    let first = numbers.start;
    numbers.map(move |number| {
        if number > first {
            ln += ((draws + 1).saturating_sub(number) as f64 / number as f64).ln() + odds;
        }
        if share < 1.0 { ln.exp() } else { f64::from(u8::from(number == draws)) }
    })
}

fn ln_density(draws: u64, share: f64, number: u64) -> f64 {
    if number > draws {
        return f64::NEG_INFINITY;
    }
    let of = |count: u64, ln: f64| if count > 0 { count as f64 * ln } else { 0.0 };
    let ways = ln_factorial(draws) - ln_factorial(number) - ln_factorial(draws - number);
    ways + of(number, share.ln()) + of(draws - number, (-share).ln_1p())
}

/// By Stirling's series, beyond the first few.
fn ln_factorial(number: u64) -> f64 {
    if number < 16 {
        return (2..=number).map(|factor| (factor as f64).ln()).sum();
    }
    let x = number as f64 + 1.0;
    let series = (1.0 / 12.0 - (1.0 / 360.0 - 1.0 / (1260.0 * x * x)) / (x * x)) / x;
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + series
}

/// The least share at which so many failures are not rarer than `level`.
fn lower_end(counts: Counts, level: f64) -> f64 {
    let Some(fewer) = counts.failures.checked_sub(1) else { return 0.0 };
    bisect((0.0, share(counts)), |at| 1.0 - at_most(fewer, counts.requests, at) < level)
}

/// The largest share at which so few are not rarer.
fn upper_end(counts: Counts, level: f64) -> f64 {
    if counts.failures >= counts.requests {
        return 1.0;
    }
    bisect((share(counts), 1.0), |at| at_most(counts.failures, counts.requests, at) >= level)
}

fn share(counts: Counts) -> f64 {
    counts.failures as f64 / counts.requests.max(1) as f64
}

/// Where something ends that is so at the low end.
fn bisect((mut low, mut high): (f64, f64), is_below: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..BISECTIONS {
        let middle = f64::midpoint(low, high);
        if is_below(middle) { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

/// The probability of so many successes at most among `draws`, each with a probability of `share`.
fn at_most(count: u64, draws: u64, share: f64) -> f64 {
    if share <= 0.0 || count >= draws {
        return 1.0;
    }
    let (odds, mean) = ((share / (1.0 - share)).ln(), draws as f64 * share);
    let mut ln = ln_density(draws, share, count);
    let mut sum = ln.exp();
    for number in (0..count).rev() {
        ln += ((number + 1) as f64 / (draws - number) as f64).ln() - odds;
        let density = ln.exp();
        sum += density;
        // Below the mean each is less than the one before, and soon nothing is left.
        if (number as f64) < mean && density < sum * 1e-16 {
            break;
        }
    }
    sum.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::users;

    fn of(requests: u64, failures: u64) -> Counts {
        Counts { requests, failures }
    }

    #[test]
    fn tails_of_a_binomial_are_exact() {
        assert!((ln_factorial(15) - ln_factorial(16) + 16.0_f64.ln()).abs() < 1e-11);
        let all: f64 = densities(40, 0.3, 0..41).sum();
        assert!((all - 1.0).abs() < 1e-12, "{all}");
        let middle: f64 = densities(100_000, 0.02, 1500..2500).sum();
        assert!((middle - 1.0).abs() < 1e-9, "{middle}");
        assert!((at_most(2000, 100_000, 0.02) - 0.50595).abs() < 1e-3, "{}", at_most(2000, 100_000, 0.02));
        assert!((at_most(0, 10, 0.1) - 0.9_f64.powi(10)).abs() < 1e-12);
        assert!((at_most(2, 4, 0.5) - 11.0 / 16.0).abs() < 1e-12);
        assert_eq!((at_most(4, 4, 0.5), at_most(0, 9, 0.0)), (1.0, 1.0));
        let one_of_a_thousand = lower_end(of(1000, 1), 0.05);
        assert!((one_of_a_thousand - 5.129e-5).abs() < 1e-8, "{one_of_a_thousand}");
        assert_eq!(lower_end(of(1000, 0), 0.05), 0.0);
        let of_none = upper_end(of(1000, 0), 0.05);
        assert!((of_none - (1.0 - 0.05_f64.powf(0.001))).abs() < 1e-8, "{of_none}");
        assert_eq!(upper_end(of(7, 7), 0.05), 1.0);
    }

    fn draws(seed: u64) -> impl FnMut() -> f64 {
        let mut state = seed;
        move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f64 / (1_u64 << 31) as f64
        }
    }

    #[test]
    fn the_farther_from_the_margin_the_less_it_is_by_chance() {
        let margin = Margin { ratio: 1.2, added: 0.02 };
        let chance =
            |failures| chance_beyond(Arms { stable: of(5000, 25), canary: of(300, failures) }, margin, 0.025);
        let all: Vec<f64> = (0..20).map(chance).collect();
        assert!(all.is_sorted(), "{all:?}");
        // None of 300 at 2.4 % or more is one in 1400, and so is what stable's interval is worth.
        assert!(all[0] > 0.0005 && all[0] < 0.003, "{}", all[0]);
        assert_eq!((all[8], all[19]), (1.0, 1.0), "nobody proves by eight of 300 what may be 2.6 %");
        let of_nobody = Arms { stable: of(0, 0), canary: of(300, 0) };
        assert_eq!(chance_beyond(of_nobody, margin, 0.025), 1.0);
        // The farthest ends do no harm.
        for (stable, canary) in
            [(of(9, 9), of(9, 0)), (of(9, 0), of(9, 9)), (of(1, 0), of(1, 0)), (of(9, 9), of(9, 9))]
        {
            let chance = chance_beyond(Arms { stable, canary }, margin, 0.025);
            assert!((0.0..=1.0).contains(&chance), "{stable:?} {canary:?}: {chance}");
        }
    }

    /// Where both versions have as many users, stable's lower end alone would pass one in four of these.
    #[test]
    fn half_of_the_users_prove_a_good_canary_before_it_gets_them_all() {
        let margin = Margin { ratio: 1.2, added: 0.005 };
        let mut draw = draws(7);
        let mut count = || of(2500, (0..2500).filter(|_| draw() < 0.005).count() as u64);
        let proven = (0..100)
            .filter(|_| chance_beyond(Arms { stable: count(), canary: count() }, margin, 0.025) <= 0.025)
            .count();
        assert!(proven >= 60, "{proven} of 100");
    }

    /// A canary at the margin, with users who fail as they come: how often a look at level 2.5 % takes it for proven.
    #[test]
    fn a_canary_at_the_margin_is_proven_no_oftener_than_allowed() {
        let margin = Margin { ratio: 1.2, added: 0.02 };
        let mut draw = draws(5);
        let mut count = |requests: u64, share: f64| {
            let failures = (0..requests).filter(|_| draw() < share).count() as u64;
            Counts { requests, failures }
        };
        let found = (0..2000)
            .filter(|_| {
                let users = Arms { stable: count(2000, 0.005), canary: count(300, margin.at(0.005)) };
                chance_beyond(users, margin, 0.025) <= 0.025
            })
            .count();
        assert!(found <= 70, "{found} of 2000");
        // With as many users on both, too.
        let found = (0..1000)
            .filter(|_| {
                let users = Arms { stable: count(400, 0.01), canary: count(400, margin.at(0.01)) };
                chance_beyond(users, margin, 0.025) <= 0.025
            })
            .count();
        assert!(found <= 40, "{found} of 1000");
        let good = (0..200)
            .filter(|_| {
                let users = Arms { stable: count(2000, 0.003), canary: count(300, 0.003) };
                chance_beyond(users, margin, 0.025) <= 0.025
            })
            .count();
        assert!(good >= 120, "{good} of 200 good ones");
    }

    /// When a user is seen for the first time, when the first failure comes, and whether the canary serves it.
    type Life = (f64, f64, bool);

    /// How many of so many good canaries are proven within four looks, with 10,000 users of whom the n-th comes 1/n times as
    /// often as the first, at 100 requests a second; and how many by the capital of `users::ln_proof`.
    fn proven(runs: u64, weight: f64, next: f64, mut life: impl FnMut(f64, f64) -> Life) -> [u64; 2] {
        let margin = Margin { ratio: 1.2, added: 0.005 / next };
        let sum: f64 = (1..=10_000).map(|rank| 1.0 / f64::from(rank)).sum();
        let mut found = [0, 0];
        for _ in 0..runs {
            let lives: Vec<Life> =
                (1..=10_000).map(|rank| life(100.0 / (f64::from(rank) * sum), weight)).collect();
            let mut is_proven = [false, false];
            for look in 0..4_u32 {
                let until_s = 300.0 * f64::from(1 << look);
                let mut arms = Arms::default();
                for (seen, failed, is_canary) in &lives {
                    let arm = if *is_canary { &mut arms.canary } else { &mut arms.stable };
                    arm.requests += u64::from(*seen <= until_s);
                    arm.failures += u64::from(*failed <= until_s);
                }
                let price = f64::from((look + 1) * (look + 2)).ln();
                let (level, rate) = (0.05 * (-price).exp(), share(arms.stable).max(1e-6));
                is_proven[0] |= chance_beyond(arms, margin, level) <= level;
                is_proven[1] |= users::ln_proof(arms, rate, margin) >= 20.0_f64.ln() + price;
            }
            found = [0, 1].map(|index: usize| found[index] + u64::from(is_proven[index]));
        }
        found
    }

    #[test]
    #[ignore = "takes a minute: four kinds of failures at four weights, 400 runs each; scripts/test-long runs this"]
    fn how_many_good_canaries_are_proven() {
        const RUNS: u64 = 400;
        for (of, share) in [("users", 0.001), ("users", 0.01), ("requests", 0.001), ("requests", 0.01)] {
            for (weight, next) in [(0.03, 0.05), (0.05, 0.25), (0.25, 0.5), (0.5, 1.0)] {
                let mut draw = draws(11);
                let mut after = |rate: f64| -(1.0 - draw()).ln() / rate.max(1e-12);
                let [now, by_capital] = proven(RUNS, weight, next, |rate, weight| {
                    // An exponential number is below -ln(1 - p) with probability p.
                    let is_canary = after(1.0) < -(-weight).ln_1p();
                    if of == "requests" {
                        let (good, bad) = (after(rate * (1.0 - share)), after(rate * share));
                        (good.min(bad), bad, is_canary)
                    } else {
                        let seen = after(rate);
                        let fails = after(1.0) < -(-share).ln_1p();
                        (seen, if fails { seen } else { f64::INFINITY }, is_canary)
                    }
                });
                let what = format!("{share} of {of} fail, at {weight}");
                assert!(now >= by_capital, "{what}: {now} of {RUNS}, and {by_capital} by capital");
                assert!(now >= RUNS / 2, "{what}: {now} of {RUNS}");
            }
        }
    }
}
