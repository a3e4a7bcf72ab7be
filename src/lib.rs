//! serin: a progressive canary orchestrator. The floor plan, ground floor first.

pub mod access;
pub mod api;
pub mod chance;
pub mod cli;
pub mod client;
pub mod clock;
pub mod code;
pub mod config;
pub mod control;
pub mod daemon;
pub mod events;
#[doc(hidden)]
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod handover;
pub mod key_file;
pub mod log_queue;
pub mod metrics;
pub mod queues;
pub mod router;
pub mod runtime;
pub mod simulate;
pub mod sockets;
pub mod store;
