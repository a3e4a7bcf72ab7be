//! What was seen: counts and latencies of the traffic, kept apart by alias, weight epoch and version.
//!
//! `recorder` counts what the router carries, in the histogram shape of `serin_core::model::histogram`; `outside` asks Prometheus
//! and web hooks; `connections` counts those of clients, `upstreams` has the places of versions. Nothing here judges: verdicts are the domain's.

pub mod certificate;
pub mod connections;
pub mod outside;
pub mod recorder;
pub mod tunnels;
pub mod upstreams;
