//! The data plane: carries requests to versions by weight, and counts what becomes of them.

pub mod pick;
pub mod table;
