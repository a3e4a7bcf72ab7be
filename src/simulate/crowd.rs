//! Users with tickets of their own, as a plan with affinity draws them.

use rand::rngs::SmallRng;

use super::traffic::Crowd;
use crate::simulate::draws::uniform;

/// The users of one simulation.
#[derive(Debug)]
pub(super) struct Users {
    /// Sums of how often users come, in their order.
    sums: Vec<f64>,
    tickets: Vec<f64>,
    is_failing: Vec<bool>,
    failures: f64,
}

/// One request of a user.
#[derive(Clone, Copy, Debug)]
pub(super) struct Visit {
    pub user: u64,
    pub ticket: f64,
    /// The share of the user's requests that fail on either version.
    pub failures: f64,
}

impl Users {
    pub fn new(crowd: &Crowd, chance: &mut SmallRng) -> Users {
        let mut sum = 0.0;
        let mut more = |rank: u32| {
            sum += 1.0 / f64::from(rank);
            sum
        };
        let count = crowd.users.max(1);
        let sums: Vec<f64> = (1..=count).map(&mut more).collect();
        let tickets = (0..count).map(|_| uniform(chance)).collect();
        let is_failing = (0..count).map(|_| uniform(chance) < crowd.failing).collect();
        Users { sums, tickets, is_failing, failures: crowd.failures }
    }

    /// Who comes next.
    pub fn next(&self, chance: &mut SmallRng) -> usize {
        let at = uniform(chance) * self.sums.last().copied().unwrap_or_default();
        self.sums.partition_point(|sum| *sum <= at).min(self.sums.len() - 1)
    }

    /// A request of one of them.
    pub fn visit(&self, user: usize) -> Visit {
        let failures = if self.is_failing[user] { self.failures } else { 0.0 };
        Visit { user: hash_of(user), ticket: self.tickets[user], failures }
    }
}

/// Spreads users over a map as a hash does.
fn hash_of(user: usize) -> u64 {
    let mixed = (user as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 13
}
