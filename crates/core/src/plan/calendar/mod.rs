//! When plans may act: time zones, cron schedules, windows and freezes, right across daylight-saving changes.
//!
//! Everything here is a function of an instant and a zone. Zones come from the database built into the binary, never
//! from the machine, so that one plan means the same on a laptop, in CI and on the daemon's host.

mod cron;
mod windows;
mod zone;

pub use cron::*;
pub use windows::*;
pub use zone::*;
