//! The environment of a process: Lambda's variables and the function's own, and nothing of the daemon's.

use std::collections::BTreeMap;
use std::path::Path;

use super::RuntimeConfig;
use serin_core::lambda::process::{ProcessTarget, Runtime};
use serin_core::model::arn::{FunctionName, VersionId};

/// What differs between processes of one version.
pub(super) struct Facts<'a> {
    pub(super) function: &'a FunctionName,
    pub(super) version: VersionId,
    pub(super) target: &'a ProcessTarget,
    /// `host:port` of its Runtime API.
    pub(super) api: String,
    /// Where its code is.
    pub(super) root: &'a Path,
    /// Where it may write.
    pub(super) scratch: &'a Path,
    /// The log stream's name.
    pub(super) stream: &'a str,
    /// Whether it is kept ready rather than started on demand.
    pub(super) is_provisioned: bool,
}

/// All variables of a process; the function's own never hide Lambda's.
pub(super) fn environment(facts: &Facts<'_>, config: &RuntimeConfig) -> BTreeMap<String, String> {
    let Facts { function, version, target, api, root, scratch, stream, is_provisioned } = facts;
    let (root, scratch) = (root.display().to_string(), scratch.display().to_string());
    let region = &config.place.region;
    let mut all = target.environment.clone();
    all.entry("TMPDIR".to_owned()).or_insert_with(|| scratch.clone());
    all.entry("HOME".to_owned()).or_insert(scratch);
    all.entry("LANG".to_owned()).or_insert_with(|| "en_US.UTF-8".to_owned());
    all.entry("TZ".to_owned()).or_insert_with(|| ":UTC".to_owned());
    all.entry("PATH".to_owned()).or_insert_with(|| "/usr/local/bin:/usr/bin:/bin:/opt/bin".to_owned());
    all.entry("LD_LIBRARY_PATH".to_owned()).or_insert_with(|| format!("{root}:{root}/lib:/opt/lib"));
    let initialization = if *is_provisioned { "provisioned-concurrency" } else { "on-demand" };
    let mut set = |name: &str, value: String| all.insert(name.to_owned(), value);
    set("_HANDLER", target.handler.clone());
    set("AWS_LAMBDA_FUNCTION_NAME", function.to_string());
    set("AWS_LAMBDA_FUNCTION_VERSION", version.to_string());
    set("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", target.memory_mb.to_string());
    set("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{function}"));
    set("AWS_LAMBDA_LOG_STREAM_NAME", (*stream).to_owned());
    set("AWS_LAMBDA_INITIALIZATION_TYPE", initialization.to_owned());
    set("AWS_LAMBDA_RUNTIME_API", api.clone());
    set("AWS_REGION", region.clone());
    set("AWS_DEFAULT_REGION", region.clone());
    set("LAMBDA_TASK_ROOT", root);
    set("LAMBDA_RUNTIME_DIR", "/var/runtime".to_owned());
    if matches!(target.runtime, Runtime::Python(_) | Runtime::Node(_)) {
        // AWS sets it for its own runtimes alone.
        set("AWS_EXECUTION_ENV", format!("AWS_Lambda_{}", target.runtime));
    }
    all
}
