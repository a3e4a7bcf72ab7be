//! The command line: what it draws, from values made by hand, and what it does, as the real binary.

mod aliases;
mod calibrate;
mod client;
mod counts;
mod crowds;
mod demo;
mod functions;
mod health;
mod history;
mod lint;
mod pictures;
mod races;
mod rollouts;
mod scenes;
mod serve;
mod service;
mod simulate;
mod sinks;
mod states;
mod store;
mod tokens;
mod tunnels;
mod tutorial;
mod usage;
