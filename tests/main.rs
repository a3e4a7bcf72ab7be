//! The one integration binary: folders here mirror `src`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod plans;
mod support;
