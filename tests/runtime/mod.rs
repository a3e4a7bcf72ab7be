//! Functions from zips: real processes by the Runtime API, apart from the daemon, within their limits.

mod bounds;
mod cgroups;
mod daemon;
mod errors;
mod escapes;
mod isolation;
mod pools;
mod python;
mod reach;
