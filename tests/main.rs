//! The one integration binary: a folder per part of the house, and what they share in `support`.

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
