//! The command line: what it draws, from values made by hand, and what it does, as the real binary.

mod pictures;
mod scenes;
