//! The data plane, over real sockets on loopback.

mod bound;
mod counting;
mod faults;
mod forward;
mod invoke;
mod lifecycle;
mod smuggling;
mod steering;
mod streaming;
mod upgrades;
