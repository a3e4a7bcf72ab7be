//! The words that everything else is made of: shares, times, names, and who acts.

pub mod actor;
pub mod arn;
pub mod histogram;
pub mod rollout_id;
pub mod span;
pub mod time;
pub mod weight;
