//! What was seen: counts and latencies of the traffic, kept apart by alias, weight epoch and version.
//!
//! `recorder` counts what the router carries; `histogram` is the shape latencies are kept in. Nothing here judges:
//! verdicts are the domain's.

pub mod histogram;
pub mod recorder;
