//! What drives decisions: rounds over a world, and the times that plans are to start at.

pub mod core;
pub mod triggers;
