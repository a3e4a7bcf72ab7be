//! serin: a progressive canary orchestrator. The floor plan, ground floor first.

pub mod domain;

pub mod chance;
pub mod clock;

pub mod cli;
