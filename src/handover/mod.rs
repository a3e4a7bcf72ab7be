//! One serin takes over from another on the same machine: what they say to each other, and what is handed over.
//!
//! The process that runs starts the new one with one end of a socket pair as its standard input (`successor`). Over it
//! go the listening sockets (`wire`), the routing table as the edits that build it, and a few words (`message`) in which
//! the two agree on who accepts and who owns the store. Deliberately absent: when any of this is done, which is
//! `daemon`'s business.

mod image;
mod inheritance;
mod last_table;
mod message;
mod successor;
mod wire;

pub use image::Image;
pub use inheritance::{Gone, Inheritance, Line};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use last_table::table_of;
pub use last_table::{Keeper, LastTable};
pub use message::{Asked, ToPredecessor, ToSuccessor};
pub use successor::{Heard, Sockets, Successor};
