//! The data plane: carries requests to versions by weight, and counts what becomes of them.
//!
//! A request: `server` accepts → `table` is looked up without a lock → `pick` draws a version → `exchange` counts
//! the dispatch, sends and counts what follows → `forward` (HTTP) or `invoke` (Lambda) words the answer. A thread a
//! core, each with its own listener, connections and counters; they share the table and nothing else.
//!
//! Deliberately absent: the store, the control plane, and any decision. If both stand still, traffic flows on by
//! the last table that was published.

mod address;
mod alarm;
mod answer;
mod answering;
mod authorize;
mod baseline;
pub mod bindings;
mod budget;
mod client_certificate;
mod connection;
mod download;
mod drain;
mod endpoint_health;
mod endpoints;
mod event_stream;
mod exchange;
mod forward;
pub mod forwarded;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzed;
mod grpc;
pub mod handle;
mod headers;
mod health;
mod http1;
mod http2;
mod invoke;
mod invoke_call;
mod invoke_error;
mod invoke_notes;
mod invoke_process;
mod invoke_stream;
mod lines;
mod location;
mod mirror;
mod multiplex;
mod multiplex_exchange;
pub mod names;
pub mod pick;
mod plain;
mod pool;
mod proxy;
mod recipe;
mod refusal;
mod route;
pub mod server;
pub mod settings;
mod source;
mod steer;
pub mod table;
mod tls;
mod tunnel;
mod tunnels;
mod turns;
mod upload;
mod worker;
