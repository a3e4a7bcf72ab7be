//! What was seen: counts and latencies of the traffic, kept apart by alias, weight epoch and version.
//!
//! `recorder` counts what the router carries, in the histogram shape of `domain::histogram`. Nothing here judges:
//! verdicts are the domain's.

pub mod recorder;
