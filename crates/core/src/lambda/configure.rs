//! Changing what a function is: the members of CreateFunction and UpdateFunctionConfiguration, and what a rule says.

use std::sync::Arc;

use crate::lambda::function::{Configuration, Target};
use crate::lambda::process::Runtime;
use crate::lambda::settings::{FileSystem, Logging, Vpc};

/// How much the environment variables may take as JSON, in bytes: 4 KiB, as on AWS.
pub const ENVIRONMENT_BYTES_MAX: usize = 4096;

/// What a client wants changed; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigurationChange {
    /// The execution role.
    pub role: Option<String>,
    /// Free text.
    pub description: Option<String>,
    /// What starts the code.
    pub runtime: Option<Runtime>,
    /// What of the code is called.
    pub handler: Option<String>,
    /// The time limit, in seconds.
    pub timeout_s: Option<u32>,
    /// The memory limit, in MB.
    pub memory_mb: Option<u32>,
    /// All environment variables, in the order they were given.
    pub environment: Option<Vec<(String, String)>>,
    /// Whether the environment is shown where it has no variables.
    pub keeps_empty_environment: bool,
    /// Where failed events go; `Some(None)` takes it away.
    pub dead_letter: Option<Option<String>>,
    /// ARNs of layer versions.
    pub layers: Option<Vec<String>>,
    /// The VPC; `Some(None)` detaches.
    pub vpc: Option<Option<Vpc>>,
    /// Whether X-Ray would sample.
    pub tracing_is_active: Option<bool>,
    /// The size of `/tmp`, in MB.
    pub ephemeral_storage_mb: Option<u32>,
    /// How logs would be written.
    pub logging: Option<Logging>,
    /// Whether versions would start from snapshots.
    pub snap_start: Option<bool>,
    /// File systems.
    pub file_systems: Option<Vec<FileSystem>>,
    /// The key of the environment; `Some(None)` takes it away.
    pub kms_key_arn: Option<Option<String>>,
}

/// Why a change cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigurationFault {
    /// The environment is too large. The text is AWS's.
    #[error(
        "Lambda was unable to configure your environment variables because the environment variables you have provided \
         exceeded the 4KB limit. String measured: {0}"
    )]
    EnvironmentTooLarge(String),
    /// Names that the runtime keeps for itself. The text is AWS's.
    #[error(
        "Lambda was unable to configure your environment variables because the environment variables you have provided \
         contains reserved keys that are currently not supported for modification. Reserved keys used in this request: {0}"
    )]
    ReservedVariables(String),
    /// An HTTP version has no such settings.
    #[error(
        "function {function} is an HTTP service at {url}: {member} is for functions that run from a zip, and serin cannot \
         impose it on the service"
    )]
    NotForServices {
        /// The function.
        function: String,
        /// Where it answers.
        url: String,
        /// The member.
        member: &'static str,
    },
}

/// Environment variables that AWS keeps for the runtime.
const RESERVED_VARIABLES: [&str; 18] = [
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_DEFAULT_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SECRET_KEY",
    "AWS_SESSION_TOKEN",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
    "_HANDLER",
];

impl ConfigurationChange {
    /// The configuration as it becomes.
    pub fn applied(&self, function: &str, to: &Configuration) -> Result<Configuration, ConfigurationFault> {
        let mut next = to.clone();
        match &mut next.target {
            Target::Http { url, .. } => {
                if let Some(member) = self.first_for_processes() {
                    let (function, url) = (function.to_owned(), url.to_string());
                    return Err(ConfigurationFault::NotForServices { function, url, member });
                }
            }
            Target::Process(process) => {
                let process = Arc::make_mut(process);
                set(&mut process.runtime, self.runtime.as_ref());
                set(&mut process.handler, self.handler.as_ref());
                set(&mut process.timeout_s, self.timeout_s.as_ref());
                set(&mut process.memory_mb, self.memory_mb.as_ref());
                if let Some(environment) = &self.environment {
                    check_environment(environment)?;
                    process.environment = environment.iter().cloned().collect();
                    next.settings.has_empty_environment =
                        environment.is_empty() && self.keeps_empty_environment;
                }
            }
        }
        set(&mut next.role, self.role.as_ref());
        set(&mut next.description, self.description.as_ref());
        set(&mut next.dead_letter, self.dead_letter.as_ref());
        let settings = &mut next.settings;
        set(&mut settings.layers, self.layers.as_ref());
        if let Some(vpc) = &self.vpc {
            settings.was_in_vpc = vpc.is_none() && (settings.was_in_vpc || settings.vpc.is_some());
            settings.vpc.clone_from(vpc);
        }
        set(&mut settings.tracing_is_active, self.tracing_is_active.as_ref());
        if let Some(size) = self.ephemeral_storage_mb {
            settings.ephemeral_storage_mb = Some(size);
        }
        if let Some(logging) = &self.logging {
            settings.logging = Some(logging.clone());
        }
        set(&mut settings.snap_start, self.snap_start.as_ref());
        set(&mut settings.file_systems, self.file_systems.as_ref());
        set(&mut settings.kms_key_arn, self.kms_key_arn.as_ref());
        Ok(next)
    }

    /// The first member named that only functions from zips have.
    fn first_for_processes(&self) -> Option<&'static str> {
        let named = [
            ("Runtime", self.runtime.is_some()),
            ("Handler", self.handler.is_some()),
            ("Timeout", self.timeout_s.is_some()),
            ("MemorySize", self.memory_mb.is_some()),
            ("Environment", self.environment.as_ref().is_some_and(|variables| !variables.is_empty())),
        ];
        named.iter().find(|(_, is_named)| *is_named).map(|(member, _)| *member)
    }
}

fn set<T: Clone>(place: &mut T, value: Option<&T>) {
    if let Some(value) = value {
        *place = value.clone();
    }
}

fn check_environment(environment: &[(String, String)]) -> Result<(), ConfigurationFault> {
    let member = |(name, value): &(String, String)| (name.clone(), serde_json::Value::from(value.as_str()));
    let measured = serde_json::Value::Object(environment.iter().map(member).collect()).to_string();
    if measured.len() > ENVIRONMENT_BYTES_MAX {
        return Err(ConfigurationFault::EnvironmentTooLarge(measured));
    }
    let is_reserved = |name: &&str| RESERVED_VARIABLES.contains(name);
    let reserved: Vec<&str> = environment.iter().map(|(name, _)| name.as_str()).filter(is_reserved).collect();
    if reserved.is_empty() { Ok(()) } else { Err(ConfigurationFault::ReservedVariables(reserved.join(", "))) }
}
