//! What serin knows and decides: pure functions and the types they speak in.
//!
//! Nothing here is async, reads a clock, draws a number, opens a file or logs. The rest of the house is made of doors
//! to this floor.

// A new variant of an enum must be thought of wherever one is told from another.
#![warn(clippy::wildcard_enum_match_arm)]

pub mod actor;
pub mod alias;
pub mod analysis;
pub mod arn;
pub mod async_event;
pub mod concurrency;
pub mod configure;
pub mod event_filter;
pub mod event_source;
pub mod function;
pub mod health;
pub mod histogram;
pub mod journal;
pub mod log;
pub mod narrate;
pub mod plan;
pub mod policy;
pub mod process;
pub mod rollout;
pub mod settings;
pub mod time;
pub mod timeouts;
pub mod watching;
pub mod weight;
