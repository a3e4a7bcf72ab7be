//! The one integration binary: a folder per part of the house, and what they share in `support`.

mod router;
mod store;
mod support;
mod tidy;
