//! Addresses, headers and secrets of what is asked from outside.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::fields::{Field, Reader};
use super::values::Span;
use crate::model::arn::NameError;
use crate::plan::model::{Value, Webhook};
use crate::plan::tree::{Content, Entry};
use crate::plan::{defaults, keys};

impl Reader<'_> {
    /// Takes a web hook.
    pub fn webhook(&mut self, field: &Field<'_>) -> Option<Webhook> {
        let fields = self.map(field, &keys::WEBHOOK)?;
        let url = match fields.get("url") {
            Some(url) => self.url(&url),
            None => {
                self.missing(&fields, fields.place, &field.what, "url");
                None
            }
        };
        let timeout = fields
            .get("timeout")
            .map_or(Some(defaults::WEBHOOK_TIMEOUT), |field| self.span(&field, Span::Positive));
        let retries = fields
            .get("retries")
            .map_or(Some(defaults::WEBHOOK_RETRIES), |field| self.count(&field, 0..=100));
        let headers = fields.get("headers").map_or(Some(BTreeMap::new()), |field| self.headers(&field));
        Some(Webhook {
            url: url?,
            timeout: timeout?,
            retries: u32::try_from(retries?).ok()?,
            headers: headers?,
        })
    }

    /// Takes an address: a text, or `{env: …}`.
    pub fn url(&mut self, field: &Field<'_>) -> Option<Value> {
        self.value(field, check_url)
    }

    /// Takes a text that `check` accepts, or the name of an environment variable.
    pub fn value(
        &mut self,
        field: &Field<'_>,
        check: impl FnOnce(&str) -> Result<(), Refusal>,
    ) -> Option<Value> {
        if let Content::Map(_) = field.node.content {
            let fields = self.map(field, &keys::VALUE)?;
            let Some(env) = fields.get("env") else {
                self.missing(&fields, fields.place, &field.what, "env");
                return None;
            };
            return self.name(&env, check_env).map(Value::Env);
        }
        let text = self.text(field)?;
        match check(text) {
            Ok(()) => Some(Value::Plain(text.to_owned())),
            Err(Refusal { why, help }) => {
                self.refuse_text(field, why, Some(help.to_owned()));
                None
            }
        }
    }

    /// Takes headers and their values.
    pub fn headers(&mut self, field: &Field<'_>) -> Option<BTreeMap<String, Value>> {
        let mut headers = BTreeMap::new();
        let mut sound = true;
        for entry in self.own_map(field)? {
            if let Err(NameError(rule)) = check_header(&entry.key) {
                self.faults.error(entry.place, format!("`{}` cannot be a header", entry.key)).help(rule);
                sound = false;
            }
            let value = Field {
                what: format!("the header `{}`", entry.key),
                example: "authorization: {env: HOOK_TOKEN}",
                is_optional: false,
                at: entry.place,
                node: &entry.value,
            };
            let Some(value) = self.value(&value, check_header_value) else {
                sound = false;
                continue;
            };
            if headers.insert(entry.key.to_ascii_lowercase(), value).is_some() && !is_repeated(entry, field) {
                self.faults
                    .error(entry.place, format!("the header `{}` stands here a second time", entry.key))
                    .help("upper and lower case are the same in header names; keep one of them");
                sound = false;
            }
        }
        sound.then_some(headers)
    }
}

/// Whether the very same key was written twice, which the tree has reported.
fn is_repeated(entry: &Entry, field: &Field<'_>) -> bool {
    let Content::Map(entries) = &field.node.content else { return false };
    entries.iter().filter(|other| other.key == entry.key).count() > 1
}

/// Why a text cannot be what it stands for.
pub(super) struct Refusal {
    why: &'static str,
    help: &'static str,
}

fn refusal(why: &'static str, help: &'static str) -> Result<(), Refusal> {
    Err(Refusal { why, help })
}

fn check_url(text: &str) -> Result<(), Refusal> {
    const EXAMPLE: &str = "write for example \"https://ci.example.com/smoke\"";
    let Some((scheme, rest)) = text.split_once("://") else {
        return refusal("is not a URL", EXAMPLE);
    };
    if !matches!(scheme, "http" | "https") {
        return refusal("is not a URL that begins with http:// or https://", EXAMPLE);
    }
    if rest.contains('#') {
        return refusal(
            "has a fragment (#), which no server gets to see",
            "leave out the # and what follows",
        );
    }
    let graphic = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
    if !rest.bytes().all(graphic) {
        return refusal(
            "contains a character that a URL cannot have",
            "encode it, as in %20 for a space; a secret comes from the environment: {env: NAME}",
        );
    }
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.contains('@') {
        return refusal(
            "contains credentials",
            "a plan is checked in for all to read: put the whole URL into the environment, {env: NAME}, or use headers",
        );
    }
    if is_authority(authority) { Ok(()) } else { refusal("has no valid host", EXAMPLE) }
}

fn is_authority(text: &str) -> bool {
    let (is_host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host.parse::<Ipv6Addr>().is_ok(), port),
        None => {
            let (host, port) = text.find(':').map_or((text, ""), |colon| text.split_at(colon));
            (is_host(host), port)
        }
    };
    let is_port = port.is_empty()
        || port.strip_prefix(':').is_some_and(|digits| {
            digits.bytes().all(|byte| byte.is_ascii_digit())
                && digits.parse::<u16>().is_ok_and(|port| port > 0)
        });
    is_host && is_port
}

fn is_host(host: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let numeric = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if numeric {
        host.parse::<Ipv4Addr>().is_ok()
    } else {
        host.len() <= 253 && host.split('.').all(is_label)
    }
}

fn is_token(text: &str) -> bool {
    let sign = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (1..=128).contains(&text.len()) && text.bytes().all(sign)
}

/// Whether a text can be a header that a plan sets; those that belong to the connection cannot.
fn check_header(text: &str) -> Result<(), NameError> {
    const OWN: &[&str] = &[
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    if !is_token(text) {
        return Err(NameError("a header's name is letters, digits and hyphens"));
    }
    if OWN.contains(&text.to_ascii_lowercase().as_str()) {
        return Err(NameError("serin sets this header itself"));
    }
    Ok(())
}

fn check_header_value(text: &str) -> Result<(), Refusal> {
    if text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
        return Ok(());
    }
    refusal("contains what a header cannot carry", "a header's value is one line of plain ASCII")
}

/// Takes the name of a header whose value is looked at, not set.
pub(super) fn check_header_name(text: &str) -> Result<String, NameError> {
    if is_token(text) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(NameError("a header's name is letters, digits and hyphens"))
}

/// Takes the name of a cookie.
pub(super) fn check_cookie(text: &str) -> Result<String, NameError> {
    if is_token(text) {
        return Ok(text.to_owned());
    }
    Err(NameError("a cookie's name is letters, digits, hyphens and underscores"))
}

fn check_env(text: &str) -> Result<String, NameError> {
    let sign = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let sound = text.len() <= 128
        && text.bytes().all(sign)
        && !text.starts_with(|first: char| first.is_ascii_digit());
    if sound {
        return Ok(text.to_owned());
    }
    Err(NameError(
        "an environment variable is letters, digits and underscores, and does not begin with a digit",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for text in [
            "https://ci.example.com/smoke",
            "http://127.0.0.1:9090/api?x=1",
            "http://[::1]:80/",
            "http://prometheus:9090",
            "https://a_b.example",
        ] {
            assert!(check_url(text).is_ok(), "{text}");
        }
        for (text, why) in [
            ("ci.example.com", "is not a URL"),
            ("ftp://ci.example.com", "is not a URL that begins with http:// or https://"),
            ("HTTPS://ci.example.com", "is not a URL that begins with http:// or https://"),
            ("https://user:pw@ci", "contains credentials"),
            ("https://", "has no valid host"),
            ("https:///path", "has no valid host"),
            ("https://ci:0/", "has no valid host"),
            ("https://ci:99999/", "has no valid host"),
            ("https://1.2.3/", "has no valid host"),
            ("https://[::1/", "has no valid host"),
            ("https://-ci/", "has no valid host"),
            ("https://a..b/", "has no valid host"),
            ("https://ci/#top", "has a fragment (#), which no server gets to see"),
            ("https://ci/a b", "contains a character that a URL cannot have"),
            ("https://ci/\r\nx: y", "contains a character that a URL cannot have"),
            ("https://ci/${TOKEN}", "contains a character that a URL cannot have"),
        ] {
            assert_eq!(check_url(text).err().map(|refusal| refusal.why), Some(why), "{text}");
        }
    }

    #[test]
    fn headers() {
        for name in ["authorization", "X-Team", "x_y"] {
            assert!(check_header(name).is_ok(), "{name}");
        }
        for name in ["", "a b", "a:", "a\r\nb", "é", "Host", "content-length", "Transfer-Encoding"] {
            assert!(check_header(name).is_err(), "{name}");
        }
        assert!(check_header_value("Bearer abc").is_ok());
        for value in ["a\r\nb: c", "a\nb", "é", "a\0"] {
            assert!(check_header_value(value).is_err(), "{value}");
        }
    }

    #[test]
    fn environment_variables() {
        assert!(check_env("HOOK_TOKEN").is_ok());
        for name in ["", "1A", "A-B", "A=B", "$A"] {
            assert!(check_env(name).is_err() || name.is_empty(), "{name}");
        }
    }
}
