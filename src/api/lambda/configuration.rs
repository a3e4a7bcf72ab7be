//! The members that CreateFunction and UpdateFunctionConfiguration share: read, held to their constraints, or refused
//! by name where serin cannot keep them.

use super::error::LambdaError;
use super::request::Body;
use super::validate::{self, Violations};
use serin_core::lambda::configure::ConfigurationChange;
use serin_core::lambda::process::Runtime;
use serin_core::lambda::settings::{FileSystem, Logging, Vpc};

const ROLE_PATTERN: &str = r"arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+";
const HANDLER_PATTERN: &str = r"[^\s]+";
const LAYER_PATTERN: &str = r"((arn:(aws[a-zA-Z-]*)?:lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:layer:[a-zA-Z0-9-_]+:[0-9]+)|(arn:[a-zA-Z0-9-]+:lambda:::awslayer:[a-zA-Z0-9-_]+))";
const ARN_PATTERN: &str = r"(arn:(aws[a-zA-Z-]*)?:[a-z0-9-.]+:.*)|()";
const VARIABLE_PATTERN: &str = "[a-zA-Z]([a-zA-Z0-9_])+";

/// The runtimes of AWS's own list, as its refusal prints them.
const RUNTIMES: &str = "nodejs20.x, provided.al2023, python3.12, java17, nodejs22.x, java21, python3.13, java25, \
                        provided.al2, dotnet8, dotnet10, python3.10, python3.11, python3.14, python3.9, ruby3.2, \
                        ruby3.3, ruby3.4, nodejs18.x, nodejs24.x, java8.al2, java11";

/// The runtimes with which AWS no longer makes or changes functions.
const DEPRECATED: [&str; 19] = [
    "nodejs",
    "nodejs4.3",
    "nodejs4.3-edge",
    "nodejs6.10",
    "nodejs8.10",
    "nodejs10.x",
    "nodejs12.x",
    "nodejs14.x",
    "python2.7",
    "python3.6",
    "python3.7",
    "dotnetcore1.0",
    "dotnetcore2.0",
    "dotnetcore2.1",
    "dotnetcore3.1",
    "ruby2.5",
    "ruby2.7",
    "java8",
    "go1.x",
];

/// Members that serin refuses, and what to do instead.
const REFUSED: [(&str, &str); 10] = [
    ("ImageConfig", "serin runs functions from zips, not from container images"),
    ("CodeSigningConfigArn", "serin checks no code signatures"),
    ("CapacityProviderConfig", "serin runs functions on its own machine alone"),
    ("DurableConfig", "serin has no durable executions"),
    ("TenancyConfig", "serin keeps no tenants apart"),
    ("RuntimeConfig", "serin runs the runtimes that its machine has"),
    ("AcceleratorConfig", "serin assigns no accelerators"),
    ("PublishTo", "serin publishes numbered versions alone"),
    ("SourceKMSKeyArn", "serin decrypts no zips; upload it in the clear"),
    ("S3ObjectStorageMode", "serin reads code from ZipFile alone"),
];

/// Refuses members that serin has no use for and could not keep its word on.
pub fn refuse_foreign(body: &Body) -> Result<(), LambdaError> {
    match REFUSED.iter().find(|(member, _)| body.has(member)) {
        None => Ok(()),
        Some((member, why)) => Err(LambdaError::invalid(format!("{member} is not supported: {why}."))),
    }
}

/// Reads the members and notes what breaks its constraint. The runtime is checked later: AWS reports it alone.
pub fn read(body: &Body, violations: &mut Violations) -> Result<ConfigurationChange, LambdaError> {
    let mut change = ConfigurationChange {
        role: body.text("Role")?,
        handler: body.text("Handler")?,
        description: body.text("Description")?,
        ..ConfigurationChange::default()
    };
    if let Some(role) = &change.role
        && !is_role(role)
    {
        violations.pattern("role", role, ROLE_PATTERN);
    }
    if let Some(handler) = &change.handler {
        violations.length("handler", handler, 0, 128);
        if handler.is_empty() || handler.chars().any(char::is_whitespace) {
            violations.pattern("handler", handler, HANDLER_PATTERN);
        }
    }
    if let Some(description) = &change.description {
        violations.length("description", description, 0, 256);
    }
    change.timeout_s = number(body, "Timeout", "timeout", 1, 900, violations)?;
    change.memory_mb = number(body, "MemorySize", "memorySize", 128, 10_240, violations)?;
    if let Some(environment) = body.object("Environment")? {
        let variables = environment.pairs("Variables")?.unwrap_or_default();
        check_variables(&variables, violations);
        change.environment = Some(variables);
    }
    if let Some(dead_letter) = body.object("DeadLetterConfig")? {
        // One that names no target changes nothing; an empty target takes the queue away.
        if let Some(target) = dead_letter.text("TargetArn")? {
            check_arn("deadLetterConfig.targetArn", &target, violations);
            change.dead_letter = Some((!target.is_empty()).then_some(target));
        }
    }
    if let Some(key) = body.text("KMSKeyArn")? {
        check_arn("kmsKeyArn", &key, violations);
        change.kms_key_arn = Some((!key.is_empty()).then_some(key));
    }
    read_settings(body, &mut change, violations)?;
    Ok(change)
}

fn read_settings(
    body: &Body,
    change: &mut ConfigurationChange,
    violations: &mut Violations,
) -> Result<(), LambdaError> {
    change.layers = body.texts("Layers")?;
    for layer in change.layers.iter().flatten() {
        if !is_layer(layer) {
            violations.pattern("layers", &format!("[{layer}]"), LAYER_PATTERN);
        }
    }
    if let Some(vpc) = body.object("VpcConfig")? {
        let subnet_ids = vpc.texts("SubnetIds")?.unwrap_or_default();
        let security_group_ids = vpc.texts("SecurityGroupIds")?.unwrap_or_default();
        check_ids("vpcConfig.subnetIds", &subnet_ids, 16, "subnet-", "subnet-[0-9a-z]*", violations);
        check_ids("vpcConfig.securityGroupIds", &security_group_ids, 5, "sg-", "sg-[0-9a-zA-Z]*", violations);
        let allows_ipv6 = vpc.flag("Ipv6AllowedForDualStack")?.unwrap_or_default();
        let is_none = subnet_ids.is_empty() && security_group_ids.is_empty();
        change.vpc = Some((!is_none).then_some(Vpc { subnet_ids, security_group_ids, allows_ipv6 }));
    }
    if let Some(tracing) = body.object("TracingConfig")? {
        let modes = &["Active", "PassThrough"];
        let mode = choice(&tracing, "Mode", "tracingConfig.mode", modes, violations)?;
        change.tracing_is_active = mode.map(|mode| mode == "Active");
    }
    if let Some(storage) = body.object("EphemeralStorage")? {
        let size = number(&storage, "Size", "ephemeralStorage.size", 512, 10_240, violations)?;
        if size.is_none() {
            violations.missing("ephemeralStorage.size");
        }
        change.ephemeral_storage_mb = size;
    }
    if let Some(snap_start) = body.object("SnapStart")? {
        let values = &["PublishedVersions", "None"];
        let apply_on = choice(&snap_start, "ApplyOn", "snapStart.applyOn", values, violations)?;
        change.snap_start = apply_on.map(|apply_on| apply_on == "PublishedVersions");
    }
    if let Some(logging) = body.object("LoggingConfig")? {
        change.logging = Some(read_logging(&logging, violations)?);
    }
    change.file_systems = match body.objects("FileSystemConfigs")? {
        None => None,
        Some(systems) => Some(read_file_systems(&systems, violations)?),
    };
    Ok(())
}

fn read_logging(logging: &Body, violations: &mut Violations) -> Result<Logging, LambdaError> {
    let format = choice(logging, "LogFormat", "loggingConfig.logFormat", &["JSON", "Text"], violations)?;
    let levels = &["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
    let application = "loggingConfig.applicationLogLevel";
    let group = logging.text("LogGroup")?;
    if let Some(group) = &group {
        violations.length("loggingConfig.logGroup", group, 1, 512);
        if !group.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_/#".contains(&byte)) {
            violations.pattern("loggingConfig.logGroup", group, r"[\.\-_/#A-Za-z0-9]+");
        }
    }
    let read = Logging {
        is_json: format.as_deref() == Some("JSON"),
        application_level: choice(logging, "ApplicationLogLevel", application, levels, violations)?,
        system_level: choice(
            logging,
            "SystemLogLevel",
            "loggingConfig.systemLogLevel",
            &["DEBUG", "INFO", "WARN"],
            violations,
        )?,
        group,
    };
    if !read.is_json && (read.application_level.is_some() || read.system_level.is_some()) {
        return Err(LambdaError::invalid("Log level is not supported when the LogFormat is set to Text."));
    }
    Ok(read)
}

fn read_file_systems(systems: &[Body], violations: &mut Violations) -> Result<Vec<FileSystem>, LambdaError> {
    let mut read = Vec::new();
    if systems.len() > 1 {
        let constraint = "Member must have length less than or equal to 1";
        violations.add("fileSystemConfigs", &format!("[{} items]", systems.len()), constraint);
    }
    for system in systems {
        let (arn, mount_path) = (system.text("Arn")?, system.text("LocalMountPath")?);
        let (Some(arn), Some(mount_path)) = (arn, mount_path) else {
            violations.missing("fileSystemConfigs.1.member");
            continue;
        };
        check_arn("fileSystemConfigs.1.member.arn", &arn, violations);
        violations.length("fileSystemConfigs.1.member.arn", &arn, 1, 256);
        let is_mount = mount_path.strip_prefix("/mnt/").is_some_and(|name| {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        });
        if !is_mount {
            let pattern = "/mnt/[a-zA-Z0-9-_.]+";
            violations.pattern("fileSystemConfigs.1.member.localMountPath", &mount_path, pattern);
        }
        read.push(FileSystem { arn, mount_path });
    }
    Ok(read)
}

/// A runtime that AWS knows and serin runs.
pub fn runtime(text: &str) -> Result<Runtime, LambdaError> {
    if DEPRECATED.contains(&text) {
        return Err(LambdaError::invalid(format!(
            "The runtime parameter of {text} is no longer supported for creating or updating AWS Lambda functions. We \
             recommend you use a supported runtime while creating or updating functions."
        )));
    }
    if let Ok(runtime) = text.parse() {
        return Ok(runtime);
    }
    let is_known = RUNTIMES.split(", ").any(|known| known == text)
        || ["java", "dotnet", "ruby", "go1.x", "nodejs", "python2", "provided"]
            .iter()
            .any(|family| text.starts_with(family));
    if is_known {
        return Err(LambdaError::invalid(format!(
            "The runtime {text} is not supported: serin runs provided.al2, provided.al2023, python3.N and nodejsN.x."
        )));
    }
    Err(LambdaError::invalid(format!(
        "Value {text} at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [{RUNTIMES}] or be a \
         valid ARN"
    )))
}

fn number(
    body: &Body,
    name: &str,
    member: &str,
    min: i64,
    max: i64,
    violations: &mut Violations,
) -> Result<Option<u32>, LambdaError> {
    let Some(number) = body.integer(name)? else { return Ok(None) };
    violations.range(member, number, min, max);
    Ok(u32::try_from(number).ok())
}

fn choice(
    body: &Body,
    name: &str,
    member: &str,
    values: &[&str],
    violations: &mut Violations,
) -> Result<Option<String>, LambdaError> {
    let text = body.text(name)?;
    if let Some(text) = &text {
        violations.one_of(member, text, values);
    }
    Ok(text)
}

fn check_variables(variables: &[(String, String)], violations: &mut Violations) {
    let is_name = |name: &String| {
        let mut chars = name.chars();
        chars.next().is_some_and(|first| first.is_ascii_alphabetic())
            && name.len() >= 2
            && chars.all(|char| char.is_ascii_alphanumeric() || char == '_')
    };
    if let Some((name, _)) = variables.iter().find(|(name, _)| !is_name(name) && name.as_str() != "_HANDLER")
    {
        violations.add(
            "environment.variables",
            &format!("{{{name}=…}}"),
            &format!("Map keys must satisfy constraint: [Member must satisfy regular expression pattern: {VARIABLE_PATTERN}]"),
        );
    }
}

fn check_ids(
    member: &str,
    ids: &[String],
    max: usize,
    prefix: &str,
    pattern: &str,
    violations: &mut Violations,
) {
    let shown = || format!("[{}]", ids.join(", "));
    if ids.len() > max {
        violations.add(member, &shown(), &format!("Member must have length less than or equal to {max}"));
    }
    let is_id = |id: &String| {
        id.strip_prefix(prefix).is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_alphanumeric()))
    };
    if !ids.iter().all(is_id) {
        let constraint = format!(
            "Member must satisfy constraint: [Member must have length less than or equal to 1024, Member must have length \
             greater than or equal to 0, Member must satisfy regular expression pattern: {pattern}, Member must not be null]"
        );
        violations.add(member, &shown(), &constraint);
    }
}

fn check_arn(member: &str, arn: &str, violations: &mut Violations) {
    if !arn.is_empty() && !validate::is_arn(arn) {
        violations.pattern(member, arn, ARN_PATTERN);
    }
    violations.length(member, arn, 0, 10_000);
}

/// Whether a text is the ARN of an IAM role.
fn is_role(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    match parts.as_slice() {
        ["arn", partition, "iam", "", account, role] => {
            let name = role.strip_prefix("role").unwrap_or_default();
            let name = name.strip_prefix('/').unwrap_or(name);
            (partition.is_empty() || partition.starts_with("aws"))
                && validate::is_account(account)
                && !name.is_empty()
                && role.starts_with("role")
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@-/".contains(&byte))
        }
        _ => false,
    }
}

fn is_layer(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    match parts.as_slice() {
        ["arn", partition, "lambda", region, account, "layer", name, version] => {
            partition.starts_with("aws")
                && !region.is_empty()
                && validate::is_account(account)
                && validate::is_word(name)
                && !version.is_empty()
                && version.bytes().all(|byte| byte.is_ascii_digit())
        }
        ["arn", _, "lambda", "", "", "awslayer", name] => validate::is_word(name),
        _ => false,
    }
}
