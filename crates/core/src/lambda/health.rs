//! The path by which a version says whether it is well, as whoever published it named it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest path, in bytes.
const BYTES_MAX: usize = 1024;

/// What each place of an HTTP version is asked for regularly: `/path[?query]`, behind the base path of its URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HealthPath(String);

impl HealthPath {
    /// The path as it was named; it begins with a slash, and is visible ASCII.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HealthPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Why a text is no health path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HealthPathError {
    /// It is a URL, or a name.
    #[error(
        "a health path begins with a slash, like /healthz; the places that are asked for it stand in the URL"
    )]
    NoSlash,
    /// `#…`.
    #[error("a health path has no fragment, for no server is sent one; leave out what begins with #")]
    Fragment,
    /// Bytes that stand in no target of a request.
    #[error("a health path is visible ASCII without \" < > \\ ^ ` {{ | }}; write anything else as %XX")]
    Malformed,
    /// Beyond what servers take for sure.
    #[error("a health path has at most {BYTES_MAX} bytes")]
    TooLong,
}

impl FromStr for HealthPath {
    type Err = HealthPathError;

    fn from_str(text: &str) -> Result<HealthPath, HealthPathError> {
        if !text.starts_with('/') {
            return Err(HealthPathError::NoSlash);
        }
        if text.contains('#') {
            return Err(HealthPathError::Fragment);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte)) {
            return Err(HealthPathError::Malformed);
        }
        if text.len() > BYTES_MAX {
            return Err(HealthPathError::TooLong);
        }
        Ok(HealthPath(text.to_owned()))
    }
}

impl From<HealthPath> for String {
    fn from(path: HealthPath) -> String {
        path.0
    }
}

impl TryFrom<String> for HealthPath {
    type Error = HealthPathError;

    fn try_from(text: String) -> Result<HealthPath, HealthPathError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_paths() {
        let longest = format!("/{}", "a".repeat(BYTES_MAX - 1));
        for text in ["/", "/healthz", "/a/b?deep=1&x=%20", "/~:@!$'()*+,;=", &longest] {
            let path: HealthPath = text.parse().unwrap();
            assert_eq!((path.as_str(), path.to_string().parse()), (text, Ok(path.clone())));
        }
        use HealthPathError::*;
        let too_long = format!("{longest}a");
        for (text, why) in [
            ("", NoSlash),
            ("healthz", NoSlash),
            ("http://a/healthz", NoSlash),
            ("/healthz#top", Fragment),
            ("/a b", Malformed),
            ("/größe", Malformed),
            ("/a\r\nx: y", Malformed),
            ("/a\u{7f}", Malformed),
            ("/{id}", Malformed),
            (&*too_long, TooLong),
        ] {
            assert_eq!(text.parse::<HealthPath>(), Err(why), "{text}");
        }
    }
}
