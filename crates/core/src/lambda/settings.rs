//! What of a Lambda function's configuration has no effect in serin, and is kept and given back as it came.
//!
//! A client that sets one of these finds it again; a version freezes them, and changing one makes a new version. What
//! serin could not keep its word on in the least (container images, code signing) is refused at the door instead.

use serde::{Deserialize, Serialize};

/// The settings; each as AWS has it when a client names none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Settings {
    /// ARNs of layer versions, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<String>,
    /// The VPC the function would be attached to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vpc: Option<Vpc>,
    /// Whether X-Ray would sample; not set means `PassThrough`.
    #[serde(skip_serializing_if = "is_false")]
    pub tracing_is_active: bool,
    /// The size of `/tmp` in MB, where it is not AWS's 512.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ephemeral_storage_mb: Option<u32>,
    /// How and where logs would be written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logging: Option<Logging>,
    /// Whether published versions would start from snapshots.
    #[serde(skip_serializing_if = "is_false")]
    pub snap_start: bool,
    /// File systems that would be mounted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub file_systems: Vec<FileSystem>,
    /// The key that would encrypt the environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kms_key_arn: Option<String>,
    /// Whether it was made with an environment that has no variables, which is shown as such.
    #[serde(skip_serializing_if = "is_false")]
    pub has_empty_environment: bool,
    /// Whether it was attached to a VPC and no longer is, which is shown as one without subnets.
    #[serde(skip_serializing_if = "is_false")]
    pub was_in_vpc: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// Where in a VPC a function would run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Vpc {
    /// Subnets.
    pub subnet_ids: Vec<String>,
    /// Security groups.
    pub security_group_ids: Vec<String>,
    /// Whether IPv6 may be used.
    pub allows_ipv6: bool,
}

/// How a function would log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Logging {
    /// JSON instead of text.
    pub is_json: bool,
    /// The least level of the function's own lines; JSON only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application_level: Option<String>,
    /// The least level of the service's lines; JSON only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_level: Option<String>,
    /// The log group, where it is not `/aws/lambda/FUNCTION`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// A file system and where it would be mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileSystem {
    /// The access point's ARN.
    pub arn: String,
    /// `/mnt/…`.
    pub mount_path: String,
}
