//! The one integration binary: a folder per part of the house, and what they share in `support`.

// What cannot be had ends the run, and says where.
#![allow(clippy::unwrap_used)]

mod access;
mod api;
mod cli;
mod crash;
mod lambda;
mod logs;
mod plans;
mod replay;
mod rollouts;
mod router;
mod runtime;
mod simulate;
mod store;
mod support;
mod tidy;
mod upgrade;
