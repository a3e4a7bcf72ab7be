//! Users: evidence where a user's requests stick to one version.
//!
//! With affinity a user has a ticket, and it decides all the user's requests at once. So requests are no draws: one user
//! who always fails, on whichever version, would look like a canary that fails. What is drawn is the *user*, once in a
//! rollout.
//!
//! **Harm.** Suppose that no outcome depends on the version. Look only at each user's *first failure*. The order in
//! which these come is fixed by the outcomes, and each is a canary user's with probability exactly `w`, independently of
//! the others, because nothing has used that user's ticket before. With `q(th) = w th/(w th + 1 - w)` and `q_0 = q(rho)`,
//!
//! ```text
//! W_k *= q(th_k)/q_0 for a canary user,  (1 - q(th_k))/(1 - q_0) for a stable one
//! ```
//!
//! is a martingale, however unequal users are and however their failures hang together. Successes never enter: they
//! would count one draw again and again. For ratios below `rho` it is a supermartingale, since a factor rises with "canary".
//!
//! *Better canaries.* If a user's hazard on the canary is `th < 1` times that on stable, with cumulated hazard H on
//! stable, first failures come from the canary with odds at most those of `w` iff `th e^(-th H) <= e^(-H)`, that is `H <=
//! ln(1/th)/(1-th)`, which holds for all `th` if `H <= 1`. So users must not be used up. A *start* ends at half (`H` is .7
//! there), when half of the requests come from users who have failed already, on either version, and with each weight; the
//! next one begins with a capital of 1 and nobody marked. When a start ends hangs on outcomes alone, not on tickets.
//! The r-th start rolls back at `ln(1/alpha') + ln((r+1)(r+2))`: the alphas `alpha'/((r+1)(r+2))` sum to `alpha'`. It is
//! a union and no mean, for the starts have different filtrations.
//!
//! **When they show.** First failures are those of requests in the order of their dispatch, by cohorts as everything else
//! (`bound`): they enter once all requests of both versions have ended, and over those that are open stable's pending ones
//! are taken for as many first failures. A stable one has a factor below 1 and no request none, so that is below what final
//! outcomes come to. Of two failing requests of a user the first to show counts, which is the first to be dispatched but for
//! those that overtake each other.
//!
//! **Collisions.** Users are marked in a bitmap, one for both versions together (`marks`). Users who share a bit are one
//! unit, whose version is that of the first of them to fail: still the canary's with probability `w`. So it is valid at
//! any fill, and a full map only loses power. A bitmap for each version would not be: the fuller one swallows more.
//!
//! **Proof** means here that the share of *users* who meet a failure in this step is within `rho` times stable's plus
//! `delta_j`; it says nothing about the requests of heavy users. A user is a unit once in a step, so it is looked at only
//! after `bake`, `2 bake`, `4 bake`, … of the step, and look j from 0 has `beta/((j+1)(j+2))` of beta. Because looks are few
//! and their times fixed, each is an exact test of both versions' counts (`exact`) and needs no capital. The capital of one
//! block of counts, `ln_proof`, is valid too and costs more than twice as many users.

use serde::{Deserialize, Serialize};

use super::boundary::Margin;
use super::dispersion::Damping;
use super::proof::{Proof, ProofTable};
use super::{Arms, Counts, ln_add, ln_sum};

/// The alternatives: by how much more often than allowed canary users fail first.
const RATIOS: [f64; 9] = [1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0, 1000.0];
const RESERVE: f64 = 0.25;
const PAYOUT_PERIODS_MIN: u64 = 64;
/// Over so many requests it is asked whether users are used up.
pub const WINDOW: u64 = 200;

/// Whether users are used up: of `WINDOW` requests so many came from users who have failed in the present start.
pub fn are_used_up(of_marked: u64) -> bool {
    2 * of_marked > WINDOW
}

/// `ln` of what the capital of a start must reach, for all starts together to err with probability `alpha` at most.
pub fn ln_limit(alpha: f64, start: u32) -> f64 {
    let start = f64::from(start);
    -alpha.ln() + ((start + 1.0) * (start + 2.0)).ln()
}

/// What was counted of users in one weight epoch: stable's, the canary's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UserTally {
    /// How many starts have ended in it.
    pub start: u64,
    /// The cohort in which the present one began, as the counters number them.
    pub began: u64,
    /// Users seen.
    pub seen: [u64; 2],
    /// Users who met a failure at all.
    pub failing: [u64; 2],
}

impl UserTally {
    /// Users seen and failing.
    pub fn users(&self) -> Users {
        let of = |arm: usize| Counts { requests: self.seen[arm], failures: self.failing[arm] };
        Arms { stable: of(0), canary: of(1) }
    }
}

/// The evidence that users of the canary meet failures sooner than users of stable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UsersHarm {
    ln_capital: [f64; RATIOS.len()],
    reserve: f64,
    periods: u64,
    /// Which start it is, from 0.
    start: u32,
    found: bool,
}

impl Default for UsersHarm {
    fn default() -> UsersHarm {
        UsersHarm::begin(0)
    }
}

impl UsersHarm {
    fn begin(start: u32) -> UsersHarm {
        let each = (1.0 - RESERVE) / RATIOS.len() as f64;
        UsersHarm { ln_capital: [each.ln(); RATIOS.len()], reserve: RESERVE, periods: 0, start, found: false }
    }

    /// Begins the next start: nobody has failed, and the limit is higher. What was found stays found.
    pub fn start_anew(&mut self) {
        *self = UsersHarm { found: self.found, ..UsersHarm::begin(self.start.saturating_add(1)) };
    }

    /// Pays out of the reserve for one more period of ten seconds.
    pub fn pay_out(&mut self) {
        self.periods += 1;
        let paid = self.reserve / self.periods.max(PAYOUT_PERIODS_MIN) as f64;
        self.reserve -= paid;
        let ln_each = (paid / RATIOS.len() as f64).ln();
        self.ln_capital.iter_mut().for_each(|ln_capital| *ln_capital = ln_add(*ln_capital, ln_each));
    }

    /// Judges first failures at a weight: stable's, the canary's; `ratio` is rho.
    pub fn update(&mut self, weight: f64, ratio: f64, alpha: f64, [stable, canary]: [u64; 2]) {
        if weight > 0.0 && weight < 1.0 {
            for (ln_capital, times) in self.ln_capital.iter_mut().zip(RATIOS) {
                let odds = |theta: f64| weight * theta / (weight * theta + 1.0 - weight);
                let (q, null) = (odds(ratio * times), odds(ratio));
                *ln_capital +=
                    canary as f64 * (q / null).ln() + stable as f64 * ((-q).ln_1p() - (-null).ln_1p());
            }
        }
        self.found |= self.ln() >= ln_limit(alpha, self.start);
    }

    /// The logarithm of the present start's capital.
    pub fn ln(&self) -> f64 {
        ln_add(self.reserve.ln(), ln_sum(self.ln_capital.iter().copied()))
    }

    /// Which start it is, from 0.
    pub fn start(&self) -> u32 {
        self.start
    }

    /// Whether any start reached its limit.
    pub fn is_found(&self) -> bool {
        self.found
    }
}

/// Users of both versions who were seen since a step began, and how many of them met a failure.
///
/// `Counts::requests` are users here, and `Counts::failures` failing ones.
pub type Users = Arms;

/// Whether more than the limit of the canary's users fail; without it the margin of the plan would mean nothing.
pub fn exceeds(users: Users, margin: Margin) -> bool {
    let share = |counts: Counts| counts.failures as f64 / (counts.requests.max(1)) as f64;
    share(users.canary) > margin.at(share(users.stable))
}

/// The logarithm of the capital for the canary at one look; `stable_rate` is known from before the step.
pub fn ln_proof(users: Users, stable_rate: f64, margin: Margin) -> f64 {
    let table = ProofTable::new(users.share(), stable_rate, margin);
    let mut proof = Proof::without_reserve();
    proof.update(&table, users, Damping::NONE, 0);
    proof.ln()
}

/// So many users of the canary show harm nearly always; fewer are worth too little, whatever they meet.
pub const FOR_HARM: u64 = 10;

/// About so many users of the canary, none of whom met a failure, prove it at the first look, at the usual beta.
pub fn for_proof(margin: Margin) -> u64 {
    const CLEAN_USERS_TIMES_MARGIN: f64 = 3.8;
    (CLEAN_USERS_TIMES_MARGIN / margin.added).round() as u64
}

/// Which bit of a bitmap a user has; `bits` is a power of two.
///
/// The key is hashed by whoever has it, with a salt other than the one that draws the user's version.
pub fn bit_of(hash: u64, bits: usize) -> usize {
    (hash as usize) & (bits - 1)
}

/// Bits of the map of users who have failed: 8 KiB.
pub const FAILED_BITS: usize = 1 << 16;
/// Bits of the map of users who were seen: 128 KiB.
pub const SEEN_BITS: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::Value;

    use super::*;
    use crate::analysis::vectors;

    #[derive(Deserialize)]
    struct Run {
        name: String,
        rho: f64,
        events: Vec<Vec<Value>>,
        expect_ln_m: Vec<f64>,
    }

    fn first(is_canary: bool) -> [u64; 2] {
        [(!is_canary).into(), is_canary.into()]
    }

    #[test]
    fn first_failures_by_the_book() {
        for run in vectors::of::<Vec<Run>>("users_harm") {
            let mut harm = UsersHarm::default();
            for (index, (event, expected)) in run.events.iter().zip(&run.expect_ln_m).enumerate() {
                match event.as_slice() {
                    [_, weight, arm] => {
                        harm.update(weight.as_f64().unwrap(), run.rho, 0.005, first(arm == "c"));
                    }
                    _ => harm.pay_out(),
                }
                vectors::assert_close(harm.ln(), *expected, &format!("{} event {index}", run.name));
            }
        }
    }

    #[derive(Deserialize)]
    struct Threshold {
        alpha: f64,
        restart: u32,
        expect_ln: f64,
    }

    #[test]
    fn limits_by_the_book() {
        for case in vectors::of::<Vec<Threshold>>("users_thresholds") {
            vectors::assert_close(ln_limit(case.alpha, case.restart), case.expect_ln, "limit");
        }
    }

    #[derive(Deserialize)]
    struct ProofCase {
        ts: f64,
        rho: f64,
        delta: f64,
        canary_users: u64,
        canary_failed: u64,
        stable_users: u64,
        stable_failed: u64,
        look: u32,
        expect: ProofExpected,
    }

    #[derive(Deserialize)]
    struct ProofExpected {
        w: f64,
        ln_e: f64,
        ln_limit: f64,
    }

    #[test]
    fn proof_by_the_book() {
        for case in vectors::of::<Vec<ProofCase>>("users_proof") {
            let of = |requests, failures| Counts { requests, failures };
            let users = Arms {
                canary: of(case.canary_users, case.canary_failed),
                stable: of(case.stable_users, case.stable_failed),
            };
            vectors::assert_close(users.share(), case.expect.w, "w");
            let margin = Margin { ratio: case.rho, added: case.delta };
            vectors::assert_close(ln_proof(users, case.ts, margin), case.expect.ln_e, "ln E");
            vectors::assert_close(ln_limit(0.05, case.look), case.expect.ln_limit, "limit");
        }
    }

    fn draws(seed: u64) -> impl FnMut() -> f64 {
        let mut state = seed;
        move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f64 / (1_u64 << 31) as f64
        }
    }

    /// Users by Zipf, with tickets of their own; one in fifty fails alike on both versions, a fifth of the time.
    struct World {
        weights: Vec<f64>,
        tickets: Vec<f64>,
        is_bad: Vec<bool>,
        marked: Vec<bool>,
    }

    impl World {
        fn new(users: usize, draw: &mut impl FnMut() -> f64) -> World {
            let mut sum = 0.0;
            let weights: Vec<f64> = (1..=users)
                .map(|rank| {
                    sum += 1.0 / rank as f64;
                    sum
                })
                .collect();
            World {
                weights,
                tickets: (0..users).map(|_| draw()).collect(),
                is_bad: (0..users).map(|_| draw() < 0.02).collect(),
                marked: vec![false; users],
            }
        }

        /// One request; `canary_fails` is how often the canary fails its users beyond that.
        fn request(
            &mut self,
            weight: f64,
            canary_fails: f64,
            draw: &mut impl FnMut() -> f64,
        ) -> ([u64; 2], bool) {
            let at = draw() * self.weights.last().unwrap();
            let user = self.weights.partition_point(|sum| *sum < at);
            let is_canary = self.tickets[user] < weight;
            let rate = if is_canary { canary_fails } else { 0.0 } + if self.is_bad[user] { 0.2 } else { 0.0 };
            let was_marked = self.marked[user];
            let fails = draw() < rate && !was_marked;
            self.marked[user] |= fails;
            ([(fails && !is_canary).into(), (fails && is_canary).into()], was_marked)
        }
    }

    /// How many failing users it took, or nothing if the canary was not rolled back.
    fn rolled_back(users: usize, requests: u64, canary_fails: f64, seed: u64) -> Option<u64> {
        let mut draw = draws(seed);
        let (mut world, mut harm, mut failing) = (World::new(users, &mut draw), UsersHarm::default(), 0);
        for weight in [0.03, 0.05, 0.25, 0.5] {
            let mut marked = 0;
            for request in 0..requests {
                let (first, was_marked) = world.request(weight, canary_fails, &mut draw);
                (failing, marked) = (failing + first[1], marked + u64::from(was_marked));
                harm.update(weight, 1.0, 0.005, first);
                if harm.is_found() {
                    return Some(failing);
                }
                if request % 1000 == 999 {
                    harm.pay_out();
                }
                if request % WINDOW == WINDOW - 1 && are_used_up(std::mem::take(&mut marked)) {
                    harm.start_anew();
                    world.marked.fill(false);
                }
            }
            harm.start_anew();
            world.marked.fill(false);
        }
        None
    }

    #[test]
    fn users_who_fail_alike_on_both_are_no_harm() {
        let found = (0..60).filter(|seed| rolled_back(1000, 20_000, 0.0, 1000 + seed).is_some()).count();
        assert!(found <= 1, "{found} of 60");
    }

    #[test]
    fn a_canary_broken_for_its_users_is_found_by_a_few_of_them() {
        let mut failing: Vec<u64> =
            (0..60).map(|seed| rolled_back(1000, 20_000, 1.0, seed).unwrap_or(u64::MAX)).collect();
        failing.sort_unstable();
        assert!(failing[30] <= 4 && failing[54] < 12, "{failing:?}");
    }

    #[test]
    fn a_new_start_has_a_higher_limit_and_forgets_nothing_that_was_found() {
        let mut harm = UsersHarm::default();
        harm.update(0.03, 1.2, 0.005, [0, 9]);
        assert!(harm.is_found());
        harm.start_anew();
        assert_eq!((harm.start(), harm.is_found(), harm.ln().abs() < 1e-12), (1, true, true));
        assert!(!are_used_up(100) && are_used_up(101));
    }
}
