//! Event source mappings: a queue whose messages are handed to a function, a version or an alias.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::arn::{FunctionName, NameError, Qualifier};
use crate::model::time::Timestamp;

/// A mapping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventSource {
    /// Its identifier.
    pub id: Uuid,
    /// The queue's ARN.
    pub source: QueueArn,
    /// The function that gets the messages.
    pub function: FunctionName,
    /// The alias or version of it, as text; `None` is `$LATEST`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub qualifier: Option<String>,
    /// Whether it polls.
    pub is_enabled: bool,
    /// How many messages an invocation gets at most, 1 to 10 000.
    pub batch_size: u32,
    /// How long messages are gathered for a batch, 0 to 300 s.
    pub batching_window_s: u32,
    /// Whether the function says which messages of a batch failed.
    pub reports_item_failures: bool,
    /// How many batches may be under way at once, 2 to 1000.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub concurrency_max: Option<u32>,
    /// Patterns that messages must match, as JSON text; none means all do.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub filters: Vec<String>,
    /// Names and values that its owner gave it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub tags: BTreeMap<String, String>,
    /// When it was last changed.
    pub modified_at: Timestamp,
}

/// The ARN of a queue: `arn:aws:sqs:REGION:ACCOUNT:NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct QueueArn(String);

impl QueueArn {
    /// The queue's name.
    pub fn name(&self) -> &str {
        self.0.rsplit(':').next().unwrap_or_default()
    }

    /// The region it is in.
    pub fn region(&self) -> &str {
        self.0.split(':').nth(3).unwrap_or_default()
    }

    /// The account it belongs to: twelve digits.
    pub fn account(&self) -> &str {
        self.0.split(':').nth(4).unwrap_or_default()
    }

    /// Whether it keeps messages in order.
    pub fn is_fifo(&self) -> bool {
        self.0.ends_with(".fifo")
    }
}

impl fmt::Display for QueueArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for QueueArn {
    type Err = NameError;

    fn from_str(text: &str) -> Result<QueueArn, NameError> {
        let parts: Vec<&str> = text.split(':').collect();
        let is_queue = match parts.as_slice() {
            ["arn", partition, "sqs", region, account, name] => {
                partition.starts_with("aws")
                    && !region.is_empty()
                    && account.len() == 12
                    && account.bytes().all(|byte| byte.is_ascii_digit())
                    && (1..=80).contains(&name.len())
                    && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
            }
            _ => false,
        };
        is_queue
            .then(|| QueueArn(text.to_owned()))
            .ok_or(NameError("a queue is arn:aws:sqs:REGION:ACCOUNT:NAME"))
    }
}

impl From<QueueArn> for String {
    fn from(arn: QueueArn) -> String {
        arn.0
    }
}

impl TryFrom<String> for QueueArn {
    type Error = NameError;

    fn try_from(text: String) -> Result<QueueArn, NameError> {
        text.parse()
    }
}

impl EventSource {
    /// Whether it polls just as another does: tags are only words about it.
    pub fn polls_as(&self, other: &EventSource) -> bool {
        EventSource { tags: BTreeMap::new(), ..self.clone() }
            == EventSource { tags: BTreeMap::new(), ..other.clone() }
    }

    /// The alias or version that is invoked; `None` is `$LATEST`.
    pub fn invoked(&self) -> Option<Qualifier> {
        self.qualifier.as_deref().and_then(|text| text.parse().ok())
    }
}
