//! The data plane, over real sockets on loopback.

mod bound;
mod counting;
mod faults;
mod forward;
mod grpc;
mod health;
mod http2;
mod invoke;
mod kept;
mod lifecycle;
mod limits;
mod mirror;
mod multiplex;
mod names;
mod origin;
mod places;
mod process;
mod proxy;
mod resets;
mod smuggling;
mod steering;
mod streaming;
mod tls;
mod tunnels;
mod upgrades;
mod waits;
