//! The control plane: the only writer of state.
//!
//! `door` decides what is asked for, `core` what is due, both without IO; `scheduler` is the thread that drives them:
//! it sleeps to the least deadline, wakes on commands and canary failures, commits, publishes to the router, and only
//! then answers (`commit`). Plans come in by `watch` and `triggers`. Everybody else looks at snapshots.

// A new variant of an enum must be thought of wherever one is told from another.
#![warn(clippy::wildcard_enum_match_arm)]

mod commit;
pub mod data_plane;
#[cfg(test)]
mod exhaustive;
mod external_checks;
pub mod handle;
pub mod meter;
mod notices;
mod publish;
mod pulse;
mod scheduler;
#[cfg(test)]
mod simulation;
mod start;
pub mod watch;
