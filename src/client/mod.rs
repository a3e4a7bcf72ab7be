//! The typed client of `/v1`: one method per operation, blocking, with a timeout on every request.
//!
//! It knows the wire and nothing of terminals: what went wrong comes back as a `ClientError` that keeps the server's
//! kind and words. A change carries its idempotency key, so that a reply that got lost can be asked for once more
//! without doing the change twice.

mod counters;
mod events;
mod transport;

use std::collections::BTreeMap;
use std::fs::File;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use crate::api::wire::{
    AliasList, AliasView, CountsView, CreateAliasRequest, DeleteReply, EventList, Explanation, FunctionList,
    FunctionView, LogList, PlanList, PlanView, PromoteRequest, PublishReply, PublishRequest, ResumeRequest,
    RollbackRequest, RolloutList, RolloutStatus, StartRequest, UpdateAliasRequest, VerbReply, VerbRequest,
    VersionList, WouldStart,
};

pub use counters::Counters;
pub use events::Events;
pub use transport::{ClientError, Transport};

/// What stands unencoded in one segment of a path.
const SEGMENT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b':').remove(b'$');
/// A whole store is copied within this, or something is wrong.
const BACKUP_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// What every change carries: why, and a key that makes asking twice do it once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The idempotency key.
    pub key: String,
    /// Why.
    pub reason: Option<String>,
}

/// Which rollouts to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RolloutQuery<'a> {
    /// Only of this alias.
    pub target: Option<&'a str>,
    /// Only those that have not ended.
    pub live: bool,
    /// At most so many.
    pub limit: Option<u32>,
}

/// Which lines of a function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogQuery<'a> {
    /// Only what came after this line; without it, the newest.
    pub after: Option<i64>,
    /// Nothing older than this, RFC 3339.
    pub since: Option<&'a str>,
    /// At most so many.
    pub limit: Option<u32>,
}

/// Which part of a history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Only later than this sequence number, oldest first; without it, the newest.
    pub after: Option<u64>,
    /// At most so many.
    pub limit: Option<u32>,
}

/// The verbs that take a reason and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainVerb {
    /// Keep the weight, and wait.
    Pause,
    /// Approve the current approval step.
    Approve,
    /// End it, canary weight 0.
    Abort,
    /// Start a new rollout of the same plan and version.
    Retry,
}

impl PlainVerb {
    /// The verb as it is typed and as its path ends.
    pub fn name(self) -> &'static str {
        match self {
            PlainVerb::Pause => "pause",
            PlainVerb::Approve => "approve",
            PlainVerb::Abort => "abort",
            PlainVerb::Retry => "retry",
        }
    }
}

/// A daemon, as it is reached over HTTP.
pub struct Client {
    transport: Transport,
}

fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

fn query(pairs: &[(&str, Option<String>)]) -> String {
    let set = pairs.iter().filter_map(|(name, value)| Some(format!("{name}={}", segment(value.as_ref()?))));
    let set: Vec<String> = set.collect();
    if set.is_empty() { String::new() } else { format!("?{}", set.join("&")) }
}

impl Client {
    /// Talks through a transport.
    pub fn new(transport: Transport) -> Client {
        Client { transport }
    }

    /// Where the daemon is.
    pub fn url(&self) -> &str {
        self.transport.base()
    }

    /// Whether the daemon lives, or, with `ready`, can decide and store; what it says of that.
    pub fn health(&self, ready: bool) -> Result<String, ClientError> {
        self.transport.get_text(if ready { "/readyz" } else { "/livez" })
    }

    /// Rollouts, newest first.
    pub fn rollouts(&self, wanted: &RolloutQuery<'_>) -> Result<RolloutList, ClientError> {
        let query = query(&[
            ("target", wanted.target.map(str::to_owned)),
            ("live", wanted.live.then(|| "true".to_owned())),
            ("limit", wanted.limit.map(|limit| limit.to_string())),
        ]);
        self.transport.get(&format!("/v1/rollouts{query}"))
    }

    /// A rollout's status.
    pub fn status(&self, target: &str) -> Result<RolloutStatus, ClientError> {
        self.transport.get(&format!("/v1/rollouts/{}", segment(target)))
    }

    /// Why a rollout is where it is, what happens next and when.
    pub fn explain(&self, target: &str) -> Result<Explanation, ClientError> {
        self.transport.get(&format!("/v1/rollouts/{}/explain", segment(target)))
    }

    /// What happened in a rollout or on an alias; everywhere without a target. Oldest first.
    pub fn history(&self, target: Option<&str>, wanted: HistoryQuery) -> Result<EventList, ClientError> {
        let query = query(&[
            ("after", wanted.after.map(|after| after.to_string())),
            ("limit", wanted.limit.map(|limit| limit.to_string())),
        ]);
        match target {
            Some(target) => self.transport.get(&format!("/v1/rollouts/{}/events{query}", segment(target))),
            None => self.transport.get(&format!("/v1/history{query}")),
        }
    }

    /// What a rollout's versions were counted to have got, in blocks.
    pub fn counts(&self, target: &str) -> Result<CountsView, ClientError> {
        self.transport.get(&format!("/v1/rollouts/{}/counts", segment(target)))
    }

    /// The journal as it is written, from after a sequence number on; of one alias, or of everything.
    pub fn follow(&self, alias: Option<&str>, after: u64) -> Result<Events, ClientError> {
        let query = query(&[("after", Some(after.to_string())), ("target", alias.map(str::to_owned))]);
        self.transport.stream(&format!("/v1/events{query}")).map(Events::new)
    }

    /// Starts a rollout.
    pub fn start(&self, request: &StartRequest, change: &Change) -> Result<VerbReply, ClientError> {
        let request = StartRequest { reason: change.reason.clone(), dry_run: false, ..request.clone() };
        self.transport.change("POST", "/v1/rollouts", &request, change)
    }

    /// Says what starting a rollout would do.
    pub fn would_start(&self, request: &StartRequest, change: &Change) -> Result<WouldStart, ClientError> {
        let request = StartRequest { reason: change.reason.clone(), dry_run: true, ..request.clone() };
        self.transport.change("POST", "/v1/rollouts", &request, change)
    }

    /// Passes what the step waits for, once, or goes to the end; `step` is the one that was seen.
    pub fn promote(
        &self,
        target: &str,
        step: usize,
        full: bool,
        change: &Change,
    ) -> Result<VerbReply, ClientError> {
        let request = PromoteRequest { step, full, reason: change.reason.clone() };
        self.operate(target, "promote", &request, change)
    }

    /// Ends a pause; after drift the request says what of it to keep.
    pub fn resume(
        &self,
        target: &str,
        request: &ResumeRequest,
        change: &Change,
    ) -> Result<VerbReply, ClientError> {
        let request = ResumeRequest { reason: change.reason.clone(), ..request.clone() };
        self.operate(target, "resume", &request, change)
    }

    /// Goes back, one version or to the one named.
    pub fn rollback(
        &self,
        target: &str,
        to: Option<&str>,
        change: &Change,
    ) -> Result<VerbReply, ClientError> {
        let request = RollbackRequest { to: to.map(str::to_owned), reason: change.reason.clone() };
        self.operate(target, "rollback", &request, change)
    }

    /// Does what a verb without arguments says.
    pub fn act(&self, target: &str, verb: PlainVerb, change: &Change) -> Result<VerbReply, ClientError> {
        self.operate(target, verb.name(), &VerbRequest { reason: change.reason.clone() }, change)
    }

    fn operate(
        &self,
        target: &str,
        verb: &str,
        request: &impl Serialize,
        change: &Change,
    ) -> Result<VerbReply, ClientError> {
        self.transport.change("POST", &format!("/v1/rollouts/{}/{verb}", segment(target)), request, change)
    }

    /// All functions.
    pub fn functions(&self) -> Result<FunctionList, ClientError> {
        self.transport.get("/v1/functions")
    }

    /// One function.
    pub fn function(&self, name: &str) -> Result<FunctionView, ClientError> {
        self.transport.get(&format!("/v1/functions/{}", segment(name)))
    }

    /// A function's versions, newest first.
    pub fn versions(&self, function: &str) -> Result<VersionList, ClientError> {
        self.transport.get(&format!("/v1/functions/{}/versions", segment(function)))
    }

    /// Publishes a version, making the function if need be.
    pub fn publish(
        &self,
        function: &str,
        request: &PublishRequest,
        change: &Change,
    ) -> Result<PublishReply, ClientError> {
        let request = PublishRequest { reason: change.reason.clone(), ..request.clone() };
        self.transport.change(
            "POST",
            &format!("/v1/functions/{}/versions", segment(function)),
            &request,
            change,
        )
    }

    /// Deletes a function with its versions and aliases.
    pub fn delete_function(&self, name: &str, change: &Change) -> Result<DeleteReply, ClientError> {
        self.transport.delete(&format!("/v1/functions/{}", segment(name)), change)
    }

    /// Deletes a version that nothing needs.
    pub fn delete_version(
        &self,
        function: &str,
        version: &str,
        change: &Change,
    ) -> Result<DeleteReply, ClientError> {
        let path = format!("/v1/functions/{}/versions/{}", segment(function), segment(version));
        self.transport.delete(&path, change)
    }

    /// A function's aliases.
    pub fn aliases(&self, function: &str) -> Result<AliasList, ClientError> {
        self.transport.get(&format!("/v1/functions/{}/aliases", segment(function)))
    }

    /// One alias.
    pub fn alias(&self, function: &str, alias: &str) -> Result<AliasView, ClientError> {
        self.transport.get(&alias_path(function, alias))
    }

    /// Makes an alias.
    pub fn create_alias(
        &self,
        function: &str,
        alias: &str,
        request: &CreateAliasRequest,
        change: &Change,
    ) -> Result<AliasView, ClientError> {
        let request = CreateAliasRequest { reason: change.reason.clone(), ..request.clone() };
        self.transport.change("POST", &alias_path(function, alias), &request, change)
    }

    /// Changes an alias.
    pub fn update_alias(
        &self,
        function: &str,
        alias: &str,
        request: &UpdateAliasRequest,
        change: &Change,
    ) -> Result<AliasView, ClientError> {
        let request = UpdateAliasRequest { reason: change.reason.clone(), ..request.clone() };
        self.transport.change("PUT", &alias_path(function, alias), &request, change)
    }

    /// Deletes an alias.
    pub fn delete_alias(
        &self,
        function: &str,
        alias: &str,
        change: &Change,
    ) -> Result<DeleteReply, ClientError> {
        self.transport.delete(&alias_path(function, alias), change)
    }

    /// The files of the daemon's plans directory.
    pub fn plans(&self) -> Result<PlanList, ClientError> {
        self.transport.get("/v1/plans")
    }

    /// One file of the daemon's plans directory, with every default filled in.
    pub fn plan(&self, name: &str) -> Result<PlanView, ClientError> {
        self.transport.get(&format!("/v1/plans/{}", segment(name)))
    }

    /// What invocations of a function said: the newest lines, or what came after one.
    pub fn logs(&self, target: &str, wanted: &LogQuery<'_>) -> Result<LogList, ClientError> {
        let query = self::query(&[
            ("after", wanted.after.map(|after| after.to_string())),
            ("since", wanted.since.map(str::to_owned)),
            ("limit", wanted.limit.map(|limit| limit.to_string())),
        ]);
        self.transport.get(&format!("/v1/logs/{}{query}", segment(target)))
    }

    /// What the daemon has counted of each version of an alias since it started, by version.
    pub fn counters(&self, function: &str, alias: &str) -> Result<BTreeMap<String, Counters>, ClientError> {
        Ok(counters::read(&self.transport.get_text("/metrics")?, function, alias))
    }

    /// Takes a copy of the daemon's store, writes it, and tells how many bytes it has.
    pub fn back_up(&self, reason: Option<&str>, to: &mut File) -> Result<u64, ClientError> {
        #[derive(Serialize)]
        struct Request<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            reason: Option<&'a str>,
        }
        self.transport.download(BACKUP_TIMEOUT, "/v1/backup", &Request { reason }, to)
    }
}

fn alias_path(function: &str, alias: &str) -> String {
    format!("/v1/functions/{}/aliases/{}", segment(function), segment(alias))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_queries_are_encoded() {
        assert_eq!(segment("checkout:live"), "checkout:live");
        assert_eq!(segment("a b/é?"), "a%20b%2F%C3%A9%3F");
        assert_eq!(query(&[("a", None)]), "");
        assert_eq!(query(&[("a", Some("1".into())), ("b", None), ("c", Some("x&y".into()))]), "?a=1&c=x%26y");
    }
}
