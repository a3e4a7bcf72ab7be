//! The only source of randomness.
//!
//! Tickets and identifiers are drawn here, so that a simulation can seed everything else and nothing in the house
//! decides by luck unseen.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use uuid::Uuid;

use serin_core::model::time::Timestamp;

/// A fast generator of uniform 64-bit tickets, seeded by the operating system; one a thread.
#[expect(clippy::disallowed_methods, reason = "the owner of chance")]
pub fn ticket_source() -> SmallRng {
    SmallRng::from_rng(&mut rand::rng())
}

/// The same generator from a seed: same seed, same tickets.
pub fn seeded(seed: u64) -> SmallRng {
    SmallRng::seed_from_u64(seed)
}

/// Random bytes that nobody can guess.
#[expect(clippy::disallowed_methods, reason = "the owner of chance")]
pub fn secret_bytes() -> [u8; 32] {
    rand::rng().random()
}

/// A new identifier that sorts by the time it was made (UUID version 7).
#[expect(clippy::disallowed_methods, reason = "the owner of chance")]
pub fn new_id(at: Timestamp) -> Uuid {
    #[cfg(test)]
    let random: [u8; 10] = simulated::random().unwrap_or_else(|| rand::rng().random());
    #[cfg(not(test))]
    let random: [u8; 10] = rand::rng().random();
    let millis = u64::try_from(at.0).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

/// The chance of a simulation, which is all the chance there is on its thread.
#[cfg(test)]
pub(crate) mod simulated {
    use std::cell::RefCell;

    use rand::RngExt;
    use rand::rngs::SmallRng;

    thread_local! {
        static SOURCE: RefCell<Option<SmallRng>> = const { RefCell::new(None) };
    }

    pub(crate) fn random() -> Option<[u8; 10]> {
        SOURCE.with_borrow_mut(|source| source.as_mut().map(|source| source.random()))
    }

    /// Draws from this seed on this thread, or from the machine again.
    pub(crate) fn set(seed: Option<u64>) {
        SOURCE.set(seed.map(super::seeded));
    }
}
