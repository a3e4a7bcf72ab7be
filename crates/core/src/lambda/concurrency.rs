//! How many invocations of a function may run at once, and how events to it are retried: what its owner asked for.

use serde::{Deserialize, Serialize};

use crate::model::time::Timestamp;

/// How many invocations may run at once in the whole house unless a function reserves some: AWS's default.
pub const ACCOUNT_CONCURRENCY: u32 = 1000;
/// How much of it must stay unreserved.
pub const UNRESERVED_MIN: u32 = 100;

/// Processes that are kept ready for a version or an alias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Provisioned {
    /// How many, at least 1.
    pub executions: u32,
    /// When it was asked for.
    pub modified_at: Timestamp,
}

/// How asynchronous events to a function, version or alias are handled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventInvoke {
    /// How often a failed event is tried again, 0 to 2; AWS's default is 2.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retries: Option<u32>,
    /// How old an event may become, 60 to 21 600 s; AWS's default is 6 hours.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub age_s_max: Option<u32>,
    /// The ARN that hears of events that succeeded.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub on_success: Option<String>,
    /// The ARN that hears of events that failed for good.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub on_failure: Option<String>,
    /// When it was last changed.
    pub modified_at: Timestamp,
}

impl EventInvoke {
    /// Retries of events to which no configuration applies.
    pub const RETRIES: u32 = 2;
    /// The greatest age of events to which no configuration applies, in seconds.
    pub const AGE_S_MAX: u32 = 21_600;
}
