//! Rollout plans: YAML text in, a `Plan` that is valid once built out.
//!
//! `load` reads a plan (and the defaults it `use`s) and answers with the plan or with *all* its faults, each with a
//! place in a file. Nothing outside this folder can build a faulty plan, so nothing outside checks one again. It never
//! opens a file: whoever calls brings the text.
//!
//! The way of a plan: bytes → `syntax.rs` and `tree.rs` → a tree with places → `merge.rs` lays it over its defaults →
//! `read/` → `model.rs`, and back through `document/`. `keys.rs` lists every key there is, `in_force.rs` those without
//! an engine yet. A new key begins in `keys.rs`.

mod calendar;
mod defaults;
mod diagnose;
mod document;
mod evidence;
pub mod feasibility;
mod in_force;
mod keys;
mod merge;
mod model;
mod presets;
mod read;

mod suggest;
mod syntax;
mod tree;
mod variables;
mod words;

pub use calendar::*;
pub use diagnose::{Fault, Related, Severity, Source};
pub use document::{json_schema, resolved_yaml};
pub use model::*;
pub use read::{LoadedPlan, check_defaults, is_defaults, load, used_defaults};
pub use syntax::PLAN_BYTES_MAX;
pub use variables::WantedVariable;
