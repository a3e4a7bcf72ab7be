//! Versions that serin runs itself: code from a zip, by AWS Lambda's Runtime API.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::model::arn::Place;

/// What a version runs as a process: its code, how to start it, and its limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessTarget {
    /// Names the zip in the code directory.
    pub code_sha256: CodeSha256,
    /// The zip's length in bytes.
    pub code_bytes: u64,
    /// What starts the code.
    pub runtime: Runtime,
    /// What of the code is called; `provided` runtimes hand it to `bootstrap`.
    pub handler: String,
    /// How long one invocation may take, 1 to 900 s.
    pub timeout_s: u32,
    /// How much memory it may use, 128 to 10 240 MB.
    pub memory_mb: u32,
    /// The processor the code is made for.
    #[serde(default)]
    pub architecture: Architecture,
    /// Environment variables of the code, beside those of the runtime.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub environment: BTreeMap<String, String>,
}

impl ProcessTarget {
    /// The time limit of functions that name none, in seconds; AWS's.
    pub const TIMEOUT_S: u32 = 3;
    /// The memory limit of functions that name none, in MB; AWS's.
    pub const MEMORY_MB: u32 = 128;
}

/// SHA-256 of a zip. Lambda clients see it in base64; the file is named by its hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CodeSha256([u8; 32]);

impl CodeSha256 {
    /// The digest of a zip's bytes.
    pub fn of(zip: &[u8]) -> CodeSha256 {
        CodeSha256(Sha256::digest(zip).into())
    }

    /// 64 lower-case hex digits.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Reads 64 lower-case hex digits.
    pub fn from_hex(text: &str) -> Option<CodeSha256> {
        let mut bytes = [0; 32];
        let is_hex = text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        is_hex.then_some(CodeSha256(bytes))
    }
}

/// Writes base64, as AWS shows it.
impl fmt::Display for CodeSha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for CodeSha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CodeSha256({self})")
    }
}

impl From<CodeSha256> for String {
    fn from(digest: CodeSha256) -> String {
        digest.to_string()
    }
}

impl TryFrom<String> for CodeSha256 {
    type Error = &'static str;

    fn try_from(text: String) -> Result<CodeSha256, &'static str> {
        let bytes = STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(CodeSha256).ok_or("a code digest is 32 bytes in base64")
    }
}

/// What starts a function's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Runtime {
    /// `provided.al2`: the zip's own `bootstrap`.
    ProvidedAl2,
    /// `provided.al2023`: the zip's own `bootstrap`.
    ProvidedAl2023,
    /// `python3.N`, by its minor version: Python with AWS's runtime interface client.
    Python(u8),
    /// `nodejsN.x`, by its major version: Node.js with AWS's runtime interface client.
    Node(u8),
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Runtime::ProvidedAl2 => f.pad("provided.al2"),
            Runtime::ProvidedAl2023 => f.pad("provided.al2023"),
            Runtime::Python(minor) => f.pad(&format!("python3.{minor}")),
            Runtime::Node(major) => f.pad(&format!("nodejs{major}.x")),
        }
    }
}

impl Runtime {
    /// Its version, as logs name it: `python:3.12.v1`. There is one of each, the machine's.
    pub fn version(self) -> String {
        match self {
            Runtime::ProvidedAl2 => "provided:al2.v1".to_owned(),
            Runtime::ProvidedAl2023 => "provided:al2023.v1".to_owned(),
            Runtime::Python(minor) => format!("python:3.{minor}.v1"),
            Runtime::Node(major) => format!("nodejs:{major}.v1"),
        }
    }

    /// The ARN of that version.
    pub fn version_arn(self, place: &Place) -> String {
        let digest = CodeSha256::of(self.to_string().as_bytes()).hex();
        format!("arn:{}:lambda:{}::runtime:{digest}", place.partition(), place.region)
    }
}

/// A runtime that serin does not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("serin runs provided.al2, provided.al2023, python3.N and nodejsN.x, and not {0:?}")]
pub struct RuntimeError(pub String);

impl FromStr for Runtime {
    type Err = RuntimeError;

    fn from_str(text: &str) -> Result<Runtime, RuntimeError> {
        let runtime = match text {
            "provided.al2" => Some(Runtime::ProvidedAl2),
            "provided.al2023" => Some(Runtime::ProvidedAl2023),
            _ => {
                let python = text.strip_prefix("python3.").and_then(|minor| minor.parse().ok());
                let node = || text.strip_prefix("nodejs")?.strip_suffix(".x")?.parse().ok();
                python.map(Runtime::Python).or_else(|| node().map(Runtime::Node))
            }
        };
        // The way back refuses what only parses, such as `python3.+9`.
        runtime.filter(|runtime| runtime.to_string() == text).ok_or_else(|| RuntimeError(text.to_owned()))
    }
}

impl From<Runtime> for String {
    fn from(runtime: Runtime) -> String {
        runtime.to_string()
    }
}

impl TryFrom<String> for Runtime {
    type Error = RuntimeError;

    fn try_from(text: String) -> Result<Runtime, RuntimeError> {
        text.parse()
    }
}

/// The processor a zip's code is made for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Architecture {
    /// What AWS takes unless told otherwise.
    #[default]
    #[serde(rename = "x86_64")]
    X86_64,
    /// ARM, 64 bits.
    #[serde(rename = "arm64")]
    Arm64,
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Architecture::X86_64 => "x86_64",
            Architecture::Arm64 => "arm64",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_are_read_as_they_are_written() {
        for text in ["provided.al2", "provided.al2023", "python3.9", "python3.13", "nodejs22.x"] {
            assert_eq!(text.parse::<Runtime>().unwrap().to_string(), text);
        }
        for text in
            ["", "java21", "python2.7", "python3.", "python3.+9", "python3.09", "nodejs22", "nodejs4.3"]
        {
            assert!(text.parse::<Runtime>().is_err(), "{text}");
        }
    }

    #[test]
    fn digests_have_two_faces() {
        let digest = CodeSha256::of(b"");
        assert_eq!(digest.to_string(), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
        assert_eq!(CodeSha256::from_hex(&digest.hex()), Some(digest));
        assert_eq!(CodeSha256::try_from(digest.to_string()), Ok(digest));
        for text in ["", "47", &digest.hex().to_uppercase(), &format!("{}0", digest.hex())] {
            assert_eq!(CodeSha256::from_hex(text), None, "{text}");
        }
    }
}
