//! What serin knows and decides: pure functions and the types they speak in.
//!
//! Nothing here is async, reads a clock, draws a number, opens a file or logs: the manifest of this crate has nothing
//! to do it with. Facts come in, changes and effects go out as data, and whoever drives this crate does the rest: the
//! daemon with threads, simulations with virtual time.

#![forbid(unsafe_code)]
// A new variant of an enum must be thought of wherever one is told from another.
#![warn(clippy::wildcard_enum_match_arm)]

pub mod model;

pub mod lambda;

pub mod analysis;
pub mod plan;
pub mod rollout;

pub mod journal;
pub mod ports;

pub mod world;

pub mod commands;

pub mod engine;
