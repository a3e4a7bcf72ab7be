//! The file of principals: who there is, who owns, and where their secrets are.
//!
//! ```yaml
//! principals:
//!   - principal: arn:aws:iam::000000000000:user/ana
//!     owner: true
//!     accessKey: {id: AKIAANA, secret: {env: ANA_SECRET}}
//!   - principal: s3.amazonaws.com
//!     token: {file: s3.token}
//! ```
//!
//! It is read when the daemon starts, and again when it changes (`reread`). One that holds a secret must be its owner's
//! alone.

use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_credential_types::Credentials;
use serde::Deserialize;
use serde_yaml::options::MergeKeyPolicy;

use super::signature::is_key_id;
use super::{Access, AccessKey, Known, Token};
use crate::config;
use serin_core::lambda::policy::Principal;

/// No file of principals is longer.
const BYTES_MAX: u64 = 1 << 20;
/// No secret is longer.
const SECRET_BYTES_MAX: u64 = 4096;
/// No secret is shorter: whoever may guess as often as they like must not come to the end of it.
const SECRET_CHARS_MIN: usize = 16;

/// Why the principals cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file with a secret in it can be read by others.
    #[error("{path} holds a secret, and others may read it (mode {mode:o}); chmod 600 {path}")]
    Open {
        /// Which file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is longer than any such file.
    #[error("{path} has {bytes} bytes, and at most {most} are read")]
    Long {
        /// Which file.
        path: PathBuf,
        /// How long it is.
        bytes: u64,
        /// How long it may be.
        most: u64,
    },
    /// It is no YAML, or not of this shape.
    #[error("{path} is not a file of principals: {why}")]
    Shape {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and where.
        why: String,
    },
    /// An entry cannot be.
    #[error("{path}, principal {principal}: {why}")]
    Entry {
        /// Which file.
        path: PathBuf,
        /// Whose entry.
        principal: String,
        /// What is wrong with it.
        why: String,
    },
    /// A token of SERIN_TOKEN could be guessed.
    #[error(
        "the token of {name} in SERIN_TOKEN has {chars} characters, and no fewer than {least} are taken; make one with \
         `openssl rand -hex 24`"
    )]
    ShortToken {
        /// Whose.
        name: String,
        /// How long it is, without the name.
        chars: usize,
        /// How long it has to be.
        least: usize,
    },
    /// Nobody could change anything.
    #[error(
        "{path} names no owner and SERIN_TOKEN is not set, so nobody could change anything; give one principal \
         `owner: true`"
    )]
    NoOwner {
        /// Which file.
        path: PathBuf,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    principals: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Entry {
    principal: String,
    #[serde(default)]
    owner: bool,
    access_key: Option<KeyEntry>,
    token: Option<SecretEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    id: String,
    secret: SecretEntry,
}

/// Where a secret is: in a variable, in a file, or here.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretEntry {
    env: Option<String>,
    file: Option<PathBuf>,
    inline: Option<String>,
}

/// Refuses a token of SERIN_TOKEN that is too short.
pub(super) fn check_token(name: &str, secret: &str) -> Result<(), AccessError> {
    let chars = secret.chars().count();
    if chars >= SECRET_CHARS_MIN {
        return Ok(());
    }
    Err(AccessError::ShortToken { name: name.to_owned(), chars, least: SECRET_CHARS_MIN })
}

impl Access {
    /// Adds the principals of a file.
    pub fn with_principals(mut self, path: &Path) -> Result<Access, AccessError> {
        let (text, mode) = read(path, BYTES_MAX)?;
        let shape = |why: String| AccessError::Shape { path: path.to_owned(), why };
        let options = serde_yaml::options! {
            merge_keys: MergeKeyPolicy::Error,
            strict_booleans: true,
            no_schema: true,
            reject_unsupported_tags: true,
        };
        let document: Document = serde_yaml::from_str_with_options(&text, options)
            .map_err(|why| shape(why.without_snippet().to_string()))?;
        let has_secret = |entry: &Entry| {
            let secrets = entry.access_key.iter().map(|key| &key.secret).chain(&entry.token);
            secrets.into_iter().any(|secret| secret.inline.is_some())
        };
        if document.principals.iter().any(has_secret) {
            refuse_open(path, mode)?;
        }
        if document.principals.is_empty() {
            return Err(shape(
                "it names nobody; leave --principals out where nobody is to be known".to_owned(),
            ));
        }
        let mut tokens = BTreeSet::new();
        let secrets = |entry: &Entry| {
            let secrets = entry.access_key.iter().map(|key| &key.secret).chain(&entry.token);
            secrets.filter_map(|secret| Some(beside(path, secret.file.as_ref()?))).collect::<Vec<_>>()
        };
        self.secret_files = document.principals.iter().flat_map(secrets).collect();
        for entry in document.principals {
            let name = entry.principal.clone();
            self.add(entry, path, &mut tokens).map_err(|fault| match fault {
                Fault::File(error) => error,
                Fault::Entry(why) => AccessError::Entry { path: path.to_owned(), principal: name, why },
            })?;
        }
        self.has_principals = true;
        let holders =
            self.tokens.iter().map(|token| &token.holder).chain(self.keys.values().map(|key| &key.holder));
        if !holders.into_iter().any(|holder| holder.is_owner) {
            return Err(AccessError::NoOwner { path: path.to_owned() });
        }
        Ok(self)
    }

    fn add(&mut self, entry: Entry, path: &Path, tokens: &mut BTreeSet<[u8; 32]>) -> Result<(), Fault> {
        let principal: Principal = entry.principal.parse().map_err(Fault::entry)?;
        if entry.access_key.is_none() && entry.token.is_none() {
            return Err(Fault::entry(
                "it has neither an accessKey nor a token, so nobody could be known as it",
            ));
        }
        let known = Known { name: entry.principal, principal: Some(principal), is_owner: entry.owner };
        let holder = Arc::new(known);
        if let Some(key) = entry.access_key {
            if !is_key_id(&key.id) {
                return Err(Fault::entry(
                    "an access key's id is 1 to 128 letters and digits, as in AKIAEXAMPLE",
                ));
            }
            let secret = key.secret.resolve(path, "accessKey.secret")?;
            let credentials = Credentials::new(key.id.clone(), secret, None, None, "principals");
            let added = AccessKey { credentials, holder: Arc::clone(&holder) };
            if self.keys.insert(key.id.clone(), added).is_some() {
                return Err(Fault::entry(format!("the access key {} is given twice", key.id)));
            }
        }
        if let Some(token) = entry.token {
            let token = Token::new(&token.resolve(path, "token")?, holder);
            if !tokens.insert(token.digest) {
                return Err(Fault::entry("another entry has the same token"));
            }
            self.tokens.push(token);
        }
        Ok(())
    }
}

/// What is wrong: with a file, or with the entry itself.
enum Fault {
    File(AccessError),
    Entry(String),
}

impl Fault {
    fn entry(why: impl ToString) -> Fault {
        Fault::Entry(why.to_string())
    }
}

impl From<AccessError> for Fault {
    fn from(error: AccessError) -> Fault {
        Fault::File(error)
    }
}

impl SecretEntry {
    fn resolve(self, principals: &Path, what: &str) -> Result<String, Fault> {
        let secret = match (self.env, self.file, self.inline) {
            (Some(name), None, None) => config::secret(&name)
                .ok_or_else(|| Fault::entry(format!("{what}: the variable {name} is not set")))?,
            (None, Some(file), None) => {
                let file = beside(principals, &file);
                let (text, mode) = read(&file, SECRET_BYTES_MAX)?;
                refuse_open(&file, mode)?;
                text.trim_end_matches(['\r', '\n']).to_owned()
            }
            (None, None, Some(text)) => text,
            _ => {
                return Err(Fault::entry(format!(
                    "{what} is one of {{env: NAME}}, {{file: PATH}} and {{inline: TEXT}}"
                )));
            }
        };
        let is_plain = !secret.is_empty() && secret.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_plain {
            return Err(Fault::entry(format!("{what} is empty, or more than visible ASCII")));
        }
        if secret.len() < SECRET_CHARS_MIN {
            return Err(Fault::entry(format!(
                "{what} has {} characters, and no fewer than {SECRET_CHARS_MIN} are taken; make one with `openssl rand \
                 -hex 24`",
                secret.len()
            )));
        }
        Ok(secret)
    }
}

/// Where a secret's file is, which is named relative to that of the principals.
fn beside(principals: &Path, file: &Path) -> PathBuf {
    principals.parent().map_or_else(|| file.to_owned(), |directory| directory.join(file))
}

/// A file's text and permissions.
fn read(path: &Path, most: u64) -> Result<(String, u32), AccessError> {
    let unreadable = |source| AccessError::Unreadable { path: path.to_owned(), source };
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if metadata.len() > most {
        return Err(AccessError::Long { path: path.to_owned(), bytes: metadata.len(), most });
    }
    let mut text = String::new();
    // What has no size of its own, as a pipe or a device, may never end.
    let read = std::fs::File::open(path).and_then(|file| file.take(most + 1).read_to_string(&mut text));
    let bytes = read.map_err(unreadable)? as u64;
    if bytes > most {
        return Err(AccessError::Long { path: path.to_owned(), bytes, most });
    }
    Ok((text, metadata.mode() & 0o777))
}

fn refuse_open(path: &Path, mode: u32) -> Result<(), AccessError> {
    if mode & 0o077 == 0 { Ok(()) } else { Err(AccessError::Open { path: path.to_owned(), mode }) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const ANA: &str = "arn:aws:iam::000000000000:user/ana";

    fn read_as(text: &str, mode: u32) -> Result<Access, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("principals.yaml");
        std::fs::write(&path, text).unwrap();
        std::fs::write(dir.path().join("open.secret"), "s\n").unwrap();
        std::fs::write(dir.path().join("closed.secret"), "closed-secret-of-s3\n").unwrap();
        for (file, mode) in [("principals.yaml", mode), ("open.secret", 0o644), ("closed.secret", 0o600)] {
            std::fs::set_permissions(dir.path().join(file), PermissionsExt::from_mode(mode)).unwrap();
        }
        Access::default().with_principals(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn principals_are_known_by_keys_and_tokens() {
        let text = format!(
            "principals:\n  - principal: {ANA}\n    owner: true\n    accessKey: {{id: AKIAANA, secret: {{inline: a-secret-of-ana-s}}}}\n\
             \x20 - principal: s3.amazonaws.com\n    token: {{file: closed.secret}}\n"
        );
        let access = read_as(&text, 0o600).unwrap();
        assert_eq!(access.principals(), (1, 1));
        assert!(access.has_principals() && access.wants_credentials());
        let s3 = access.holder("closed-secret-of-s3").unwrap();
        assert_eq!((s3.name.as_str(), s3.is_owner), ("s3.amazonaws.com", false));
        assert!(access.keys["AKIAANA"].holder.is_owner);
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_reason() {
        let entry = |rest: &str| format!("principals:\n  - principal: {ANA}\n{rest}");
        for (text, mode, part) in [
            (entry("    token: {inline: sixteen-letters-s}\n    owner: true\n"), 0o640, "chmod 600"),
            (entry("    token: {file: open.secret}\n    owner: true\n"), 0o644, "open.secret holds a secret"),
            (entry("    token: {file: none}\n"), 0o600, "cannot read"),
            (entry("    token: {env: SERIN_TEST_NOT_SET}\n"), 0o600, "SERIN_TEST_NOT_SET is not set"),
            (entry("    token: {inline: sixteen-letters-s, env: A}\n"), 0o600, "is one of"),
            (entry("    token: {inline: sixteen-letters-s}\n"), 0o600, "names no owner"),
            (entry("    owner: true\n"), 0o600, "neither an accessKey nor a token"),
            (
                entry("    owner: yes\n    token: {inline: sixteen-letters-s}\n"),
                0o600,
                "not a file of principals",
            ),
            (entry("    Owner: true\n    token: {inline: sixteen-letters-s}\n"), 0o600, "Owner"),
            (
                entry("    token: {inline: sixteen-letters-s}\n    token: {inline: sixteen-letters-t}\n"),
                0o600,
                "duplicate",
            ),
            (entry("    accessKey: {id: a b, secret: {inline: sixteen-letters-s}}\n"), 0o600, "1 to 128"),
            (entry("    token: {inline: \"a b\"}\n"), 0o600, "visible ASCII"),
            (entry("    token: {inline: fifteen-letters}\n"), 0o600, "token has 15 characters"),
            (entry("    accessKey: {id: A, secret: {inline: short}}\n"), 0o600, "accessKey.secret has 5"),
            (
                "principals:\n  - principal: ana\n    token: {inline: sixteen-letters-s}\n".to_owned(),
                0o600,
                "a principal is an ARN",
            ),
            ("principals: []\n".to_owned(), 0o600, "names nobody"),
            ("principles: []\n".to_owned(), 0o600, "principles"),
            (
                format!(
                    "{}  - principal: s3.amazonaws.com\n    token: {{inline: sixteen-letters-s}}\n",
                    entry("    token: {inline: sixteen-letters-s}\n")
                ),
                0o600,
                "the same token",
            ),
        ] {
            let error = read_as(&text, mode).err().unwrap_or_else(|| panic!("accepted: {text}"));
            assert!(error.contains(part), "{part:?} is not in {error:?}, for\n{text}");
            assert!(!error.contains("sixteen-letters"), "a secret is shown: {error}");
        }
    }
}
