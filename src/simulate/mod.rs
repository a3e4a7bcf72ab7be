//! The production control core in virtual time, with made-up traffic: a month of rollouts in seconds.
//!
//! Nothing is imitated but the outside: requests arrive by chance, are drawn by the weights the core committed, fail and
//! answer late as the scenario says; the core sees counters and a clock, as it does in the daemon. The same seed gives
//! the same run. `replay` puts recorded counts through the same evidence.

mod arrivals;
mod clients;
mod crowd;
mod draws;
#[cfg(test)]
mod impatience;
mod log;
mod many;
mod recorded;
pub mod replay;
mod run;
mod spells;
mod traffic;

pub use clients::{Bursts, Clients, Retries};
pub use many::{Spread, many, run_first_recorded};
pub use recorded::{Series, Stretch};
pub use run::{Alarm, Run, Script, agreeable, run, run_asking, run_recorded};
pub use serin_core::world::plans::{ReadPlan, read_plan};
pub use spells::{Spell, Spells};
pub use traffic::{Arm, Cold, Crowd, Drift, Incident, Manners, Traffic};
