//! Names of rollouts, which sort by the time they were made.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Names a rollout; sorts by the time it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RolloutId(pub uuid::Uuid);

impl RolloutId {
    /// The last four characters, for people; unique enough beside an alias's name.
    pub fn short(self) -> String {
        let text = self.0.simple().to_string();
        text[text.len() - 4..].to_owned()
    }
}

impl RolloutId {
    /// The same name, moved behind `last` where the clock that made it was behind.
    ///
    /// The first 48 bits of a name are milliseconds (UUID version 7), the rest is chance.
    pub fn behind(self, last: Option<RolloutId>) -> RolloutId {
        const CHANCE_BITS: u32 = 80;
        match last {
            Some(last) if self <= last => {
                let millis = (last.0.as_u128() >> CHANCE_BITS).saturating_add(1);
                let chance = self.0.as_u128() & ((1 << CHANCE_BITS) - 1);
                RolloutId(uuid::Uuid::from_u128((millis << CHANCE_BITS) | chance))
            }
            _ => self,
        }
    }
}

impl fmt::Display for RolloutId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
