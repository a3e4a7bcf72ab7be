//! The control plane: the only writer of state.
//!
//! `door` decides what is asked for, `core` what is due, both without IO; `scheduler` is the thread that drives them:
//! it sleeps to the least deadline, wakes on commands and canary failures, commits, publishes to the router, and only
//! then answers (`commit`). Plans come in by `watch` and `triggers`. Everybody else looks at snapshots.

// A new variant of an enum must be thought of wherever one is told from another.
#![warn(clippy::wildcard_enum_match_arm)]

pub mod boot;
mod commit;
pub mod core;
pub mod data_plane;
pub mod door;
pub mod draft;
mod errands;
#[cfg(test)]
mod exhaustive;
pub mod handle;
pub mod judge;
pub mod meter;
pub mod plans;
mod publish;
mod pulse;
mod scheduler;
#[cfg(test)]
mod simulation;
pub mod target;
mod triggers;
pub mod watch;
pub mod watched;
pub mod watcher;
pub mod world;
