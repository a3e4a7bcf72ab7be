//! The data plane, over real sockets on loopback.

mod bound;
mod counting;
mod faults;
mod forward;
mod health;
mod http2;
mod invoke;
mod lifecycle;
mod limits;
mod mirror;
mod multiplex;
mod places;
mod process;
mod proxy;
mod smuggling;
mod steering;
mod streaming;
mod tls;
mod upgrades;
