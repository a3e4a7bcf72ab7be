//! What two processes say while one takes over from the other.

use serde::{Deserialize, Serialize};

use crate::config::Secrets;
use crate::metrics::recorder::Late;
use crate::router::table::Edit;
use serin_core::model::actor::Actor;

/// What the table's edits look like; raised whenever an older or newer binary would misread them.
///
/// A field that may be missing, or that an older binary may ignore, does not raise it.
pub(super) const TABLE_FORMAT: u32 = 1;

/// Who wanted the upgrade, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Who.
    pub actor: Actor,
    /// Why, in their words.
    pub reason: Option<String>,
}

/// The first thing that is said; its shape never changes, so that any two binaries understand it.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Greeting {
    /// The format of the table that follows.
    pub(super) table_format: u32,
    /// The version of the process that hands over.
    pub(super) serin: String,
    /// Its process id.
    pub(super) pid: u32,
    /// How many of the router's listening sockets follow; the API's follows them.
    pub(super) routers: usize,
    /// Who wanted it; `None` when a process that lost its successor starts another.
    pub(super) asked: Option<Asked>,
    /// The secrets that the process before took out of its environment.
    #[serde(default)]
    pub(super) secrets: Secrets,
    /// By what it asks who asks.
    #[serde(default)]
    pub(super) asks_for: Vec<String>,
}

/// What the process that hands over says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "camelCase")]
pub enum ToSuccessor {
    /// The table, at first whole, and later as it changes.
    Table {
        /// In their order.
        edits: Vec<Edit>,
    },
    /// What requests came to after the evidence was stored.
    Late {
        /// Epoch by epoch.
        counts: Vec<Late>,
    },
    /// The store is nobody's.
    Released,
    /// You are the daemon now; I only end what I began.
    Farewell,
    /// Another process has taken over instead: end what you began, and then yourself.
    Leave,
}

/// What the process that takes over says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "camelCase")]
pub enum ToPredecessor {
    /// I accept connections and answer by your table.
    Serving {
        /// By what I ask who asks.
        #[serde(default)]
        asks_for: Vec<String>,
    },
    /// I cannot read your table: give me the store first.
    NeedsStore {
        /// As above.
        #[serde(default)]
        asks_for: Vec<String>,
    },
    /// I cannot be the daemon, though I may serve on for now.
    Failed {
        /// Why, in a sentence.
        why: String,
    },
    /// I have the store, and decide.
    Settled,
}
