//! Functions, versions and aliases by AWS Lambda's rules, and what hangs on them.

pub mod alias;
pub mod async_event;
pub mod concurrency;
pub mod configure;
pub mod event_filter;
pub mod event_source;
pub mod function;
pub mod health;
pub mod log;
pub mod policy;
pub mod process;
pub mod settings;
pub mod timeouts;
