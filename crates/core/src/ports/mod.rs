//! What stands between deciding and the rest of the house, in words that both know.

pub mod change;
pub mod loaded;

pub use change::{Commit, IdempotentReply, PinnedPlan, Write};
pub use loaded::{Aside, EntryFilter, Loaded, RolloutFilter, StoredAlias, StoredRollout};
