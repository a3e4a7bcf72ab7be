//! A function or version as Lambda shows it: FunctionConfiguration.
//!
//! An HTTP version has no zip and no runtime. It is shown as PackageType `Image`, the one type of Lambda's that has
//! neither, without the members serin does not decide for it (Handler, Timeout, MemorySize); its CodeSha256 is its
//! URL's digest in hex, as images have it.

use serde_json::{Map, Value, json};

use crate::api::Api;
use serin_core::lambda::function::{Configuration, Revision, Target};
use serin_core::lambda::process::{Architecture, ProcessTarget};
use serin_core::lambda::settings::Settings;
use serin_core::model::arn::{FunctionName, Place, VersionId};
use serin_core::model::time::Timestamp;
use serin_core::world::{FunctionState, RevisionOf, World};

/// What of a function is shown.
pub struct Shown<'a> {
    /// Its name.
    pub function: &'a FunctionName,
    /// What its ARN ends with, if anything.
    pub qualifier: Option<String>,
    /// `$LATEST` or the version.
    pub version: VersionId,
    /// What it is.
    pub configuration: &'a Configuration,
    /// The change that made it so.
    pub revision: Revision,
    /// When that was.
    pub at: Timestamp,
}

/// What is said of its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing, as in lists.
    Listed,
    /// It is being made.
    Creating,
    /// It is being changed.
    Updating,
    /// It is what it is.
    Settled,
}

impl<'a> Shown<'a> {
    /// `$LATEST` of a function; `qualifier` is how the client called it.
    pub fn latest(state: &'a FunctionState, qualifier: Option<String>) -> Shown<'a> {
        let function = &state.function;
        Shown {
            function: &function.name,
            qualifier,
            version: VersionId::Latest,
            configuration: &function.latest,
            revision: function.revision,
            at: function.modified_at,
        }
    }

    /// `$LATEST` or a version, if it is there; `qualifier` is how the client called it.
    pub fn find(
        state: &'a FunctionState,
        version: VersionId,
        qualifier: Option<String>,
    ) -> Option<Shown<'a>> {
        let VersionId::Number(number) = version else { return Some(Shown::latest(state, qualifier)) };
        let version = state.versions.get(&number)?;
        Some(Shown {
            function: &version.function,
            qualifier,
            version: number.into(),
            configuration: &version.configuration,
            revision: version.revision,
            at: version.published_at,
        })
    }

    /// FunctionConfiguration.
    pub fn shape(&self, api: &Api, world: &World, place: &Place, stage: Stage) -> Map<String, Value> {
        let name = self.function.as_str();
        let mut shape = Map::new();
        let mut put = |key: &str, value: Value| _ = shape.insert(key.to_owned(), value);
        put("FunctionName", json!(name));
        let arn = self
            .qualifier
            .as_ref()
            .map_or_else(|| place.function_arn(name), |qualifier| place.qualified_arn(name, qualifier));
        put("FunctionArn", json!(arn));
        let configuration = self.configuration;
        put("Role", json!(configuration.role));
        put("Description", json!(configuration.description));
        put("LastModified", json!(lambda_time(self.at)));
        put("CodeSha256", json!(configuration.code_sha256()));
        put("Version", json!(self.version));
        match &configuration.target {
            Target::Process(process) => {
                let has_empty_environment = configuration.settings.has_empty_environment;
                process_members(process, has_empty_environment, place, stage, &mut put);
            }
            Target::Http { .. } => {
                put("CodeSize", json!(0));
                put("PackageType", json!("Image"));
                put("Architectures", json!([Architecture::default().to_string()]));
            }
        }
        if let Some(target) = &configuration.dead_letter {
            put("DeadLetterConfig", json!({ "TargetArn": target }));
        }
        settings_members(&configuration.settings, name, &mut put);
        let of = match (self.version, stage) {
            (VersionId::Latest, Stage::Creating | Stage::Updating) => RevisionOf::Unsettled,
            (VersionId::Latest, Stage::Listed | Stage::Settled) => RevisionOf::Latest,
            // A version's becoming active changes none.
            (VersionId::Number(_), _) => RevisionOf::Version,
        };
        put("RevisionId", json!(world.revision_id(of, self.revision)));
        state_members(api, configuration, stage, &mut put);
        in_order(shape)
    }
}

/// The members of FunctionConfiguration, in the order in which AWS has them.
const MEMBERS: [&str; 32] = [
    "FunctionName",
    "FunctionArn",
    "Runtime",
    "Role",
    "Handler",
    "CodeSize",
    "Description",
    "Timeout",
    "MemorySize",
    "LastModified",
    "CodeSha256",
    "Version",
    "VpcConfig",
    "DeadLetterConfig",
    "Environment",
    "KMSKeyArn",
    "TracingConfig",
    "RevisionId",
    "Layers",
    "State",
    "StateReason",
    "StateReasonCode",
    "LastUpdateStatus",
    "LastUpdateStatusReason",
    "LastUpdateStatusReasonCode",
    "FileSystemConfigs",
    "PackageType",
    "Architectures",
    "EphemeralStorage",
    "SnapStart",
    "RuntimeVersionConfig",
    "LoggingConfig",
];

fn in_order(mut shape: Map<String, Value>) -> Map<String, Value> {
    let taken = MEMBERS.into_iter().filter_map(|name| Some((name.to_owned(), shape.remove(name)?)));
    let ordered: Map<String, Value> = taken.collect();
    debug_assert!(shape.is_empty(), "every member has its place: {shape:?}");
    ordered
}

/// A time as FunctionConfiguration writes it.
pub fn lambda_time(at: Timestamp) -> String {
    at.to_string().replace('Z', "+0000")
}

fn process_members(
    process: &ProcessTarget,
    has_empty_environment: bool,
    place: &Place,
    stage: Stage,
    put: &mut impl FnMut(&str, Value),
) {
    put("Runtime", json!(process.runtime));
    put("Handler", json!(process.handler));
    put("CodeSize", json!(process.code_bytes));
    put("Timeout", json!(process.timeout_s));
    put("MemorySize", json!(process.memory_mb));
    if !process.environment.is_empty() || has_empty_environment {
        put("Environment", json!({ "Variables": process.environment }));
    }
    put("PackageType", json!("Zip"));
    put("Architectures", json!([process.architecture.to_string()]));
    if stage != Stage::Listed {
        put("RuntimeVersionConfig", json!({ "RuntimeVersionArn": process.runtime.version_arn(place) }));
    }
}

fn settings_members(settings: &Settings, name: &str, put: &mut impl FnMut(&str, Value)) {
    if settings.was_in_vpc && settings.vpc.is_none() {
        let none: [&str; 0] = [];
        put(
            "VpcConfig",
            json!({ "SubnetIds": none, "SecurityGroupIds": none, "VpcId": "", "Ipv6AllowedForDualStack": false }),
        );
    }
    if let Some(vpc) = &settings.vpc {
        put(
            "VpcConfig",
            json!({
                "SubnetIds": vpc.subnet_ids,
                "SecurityGroupIds": vpc.security_group_ids,
                "VpcId": "",
                "Ipv6AllowedForDualStack": vpc.allows_ipv6,
            }),
        );
    }
    if let Some(key) = &settings.kms_key_arn {
        put("KMSKeyArn", json!(key));
    }
    put(
        "TracingConfig",
        json!({ "Mode": if settings.tracing_is_active { "Active" } else { "PassThrough" } }),
    );
    if !settings.layers.is_empty() {
        let layers: Vec<Value> =
            settings.layers.iter().map(|arn| json!({ "Arn": arn, "CodeSize": 0 })).collect();
        put("Layers", json!(layers));
    }
    put("EphemeralStorage", json!({ "Size": settings.ephemeral_storage_mb.unwrap_or(512) }));
    let apply_on = if settings.snap_start { "PublishedVersions" } else { "None" };
    put("SnapStart", json!({ "ApplyOn": apply_on, "OptimizationStatus": "Off" }));
    if !settings.file_systems.is_empty() {
        let systems: Vec<Value> = settings
            .file_systems
            .iter()
            .map(|system| json!({ "Arn": system.arn, "LocalMountPath": system.mount_path }))
            .collect();
        put("FileSystemConfigs", json!(systems));
    }
    let logging = settings.logging.clone().unwrap_or_default();
    let mut shown = Map::new();
    shown.insert("LogFormat".to_owned(), json!(if logging.is_json { "JSON" } else { "Text" }));
    if logging.is_json {
        let level = |level: Option<String>| level.unwrap_or_else(|| "INFO".to_owned());
        shown.insert("ApplicationLogLevel".to_owned(), json!(level(logging.application_level)));
        shown.insert("SystemLogLevel".to_owned(), json!(level(logging.system_level)));
    }
    let group = logging.group.unwrap_or_else(|| format!("/aws/lambda/{name}"));
    shown.insert("LogGroup".to_owned(), json!(group));
    put("LoggingConfig", Value::Object(shown));
}

/// Where it stands; whatever serin has to do is done before it answers, so a state is in between for one answer only.
fn state_members(api: &Api, configuration: &Configuration, stage: Stage, put: &mut impl FnMut(&str, Value)) {
    const REASON: &str = "The function is being created.";
    match stage {
        Stage::Listed => {}
        Stage::Creating => {
            put("State", json!("Pending"));
            put("StateReason", json!(REASON));
            put("StateReasonCode", json!("Creating"));
        }
        Stage::Updating | Stage::Settled => {
            match unrunnable(api, configuration) {
                None => put("State", json!("Active")),
                Some((code, reason)) => {
                    put("State", json!("Failed"));
                    put("StateReason", json!(reason));
                    put("StateReasonCode", json!(code));
                }
            }
            if stage == Stage::Updating {
                put("LastUpdateStatus", json!("InProgress"));
                put("LastUpdateStatusReason", json!(REASON));
                put("LastUpdateStatusReasonCode", json!("Creating"));
            } else {
                put("LastUpdateStatus", json!("Successful"));
            }
        }
    }
}

/// Why this machine cannot run a version, by AWS's code and in words.
fn unrunnable(api: &Api, configuration: &Configuration) -> Option<(&'static str, String)> {
    let process = configuration.target.process()?;
    if let Err(why) = api.runtimes.availability(process) {
        return Some(("InvalidRuntime", format!("serin cannot run the function here: {why}.")));
    }
    if !api.code.has(process.code_sha256) {
        let text = "The code is missing from serin's data directory; upload it again.".to_owned();
        return Some(("InvalidZipFileException", text));
    }
    None
}
