//! The world that decisions are made in: what is, what would be, and the evidence that it is judged by.
//!
//! `draft` is a tentative world that decisions are made on; `judge` has the evidence of one rollout, `watcher` and
//! `watched` that of aliases which no rollout moves; `plans` are the plans as they are in their directory; `boot` makes a
//! world of what was stored.

pub mod boot;
pub mod draft;
pub mod judge;
pub mod notice;
pub mod plans;
mod state;
pub mod tally;
pub mod watched;
pub mod watcher;

pub use state::*;
