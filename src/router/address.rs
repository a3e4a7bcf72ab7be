//! Reads `/{function}:{qualifier}/rest?query`, and puts the rest behind a version's base path.
//!
//! The rest is never decoded, normalised or looked into: what the version gets is what the client wrote.

use bytes::Bytes;
use hyper::Uri;
use hyper::http::uri::InvalidUri;

/// A function's name, a colon and a qualifier are at most this long.
const KEY_BYTES_MAX: usize = 64 + 1 + 128;

/// A request target, taken apart.
pub(super) struct Addressed<'a> {
    key: Key<'a>,
    /// What follows: empty, or from the `/` or `?` on.
    pub(super) rest: &'a str,
    /// Whether the address was a part of the path, and is no more.
    pub(super) is_stripped: bool,
}

enum Key<'a> {
    AsWritten(&'a str),
    Decoded([u8; KEY_BYTES_MAX], usize),
}

impl<'a> Addressed<'a> {
    /// Reads a path and query; `None` if it does not begin with `/function:qualifier`.
    pub(super) fn read(target: &'a str) -> Option<Addressed<'a>> {
        let target = target.strip_prefix('/')?;
        let (segment, rest) = target.split_at(target.find(['/', '?']).unwrap_or(target.len()));
        let key = if segment.contains('%') { decoded(segment)? } else { Key::AsWritten(segment) };
        let addressed = Addressed { key, rest, is_stripped: true };
        let (function, qualifier) = addressed.key().split_once(':')?;
        (!function.is_empty() && !qualifier.is_empty()).then_some(addressed)
    }

    /// A target that somebody else knows the address of; all of it is passed on.
    pub(super) fn bound(key: &'a str, target: &'a str) -> Addressed<'a> {
        Addressed { key: Key::AsWritten(key), rest: target, is_stripped: false }
    }

    /// `function:qualifier`, with `%3A` and `%24` decoded.
    pub(super) fn key(&self) -> &str {
        match &self.key {
            Key::AsWritten(text) => text,
            Key::Decoded(bytes, len) => std::str::from_utf8(&bytes[..*len]).unwrap_or_default(),
        }
    }
}

/// Decodes `%3A` and `%24` on the stack; no other character of a function or a qualifier needs an escape.
fn decoded(segment: &str) -> Option<Key<'static>> {
    let (mut out, mut len) = ([0; KEY_BYTES_MAX], 0);
    let mut rest = segment.as_bytes();
    while let Some(&first) = rest.first() {
        let (byte, used) = match rest {
            [b'%', b'3', b'A' | b'a', ..] => (b':', 3),
            [b'%', b'2', b'4', ..] => (b'$', 3),
            _ => (first, 1),
        };
        *out.get_mut(len)? = byte;
        len += 1;
        rest = &rest[used..];
    }
    Some(Key::Decoded(out, len))
}

/// Puts what follows the address behind a base path, byte for byte.
///
/// Fails only where the whole becomes too long for a request target.
pub(super) fn upstream_target(base_path: &str, rest: &str) -> Result<Uri, InvalidUri> {
    let slash = if base_path.is_empty() && !rest.starts_with('/') { "/" } else { "" };
    let mut target = Vec::with_capacity(base_path.len() + slash.len() + rest.len());
    for part in [base_path, slash, rest] {
        target.extend_from_slice(part.as_bytes());
    }
    Uri::from_maybe_shared(Bytes::from(target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_what_follows() {
        for (target, key, rest) in [
            ("/shop:live", "shop:live", ""),
            ("/shop:live/", "shop:live", "/"),
            ("/shop:live?x=1", "shop:live", "?x=1"),
            ("/shop:live/a/../b%2fc//d?q=%3A", "shop:live", "/a/../b%2fc//d?q=%3A"),
            ("/shop%3Alive/a", "shop:live", "/a"),
            ("/shop%3a%24LATEST/a", "shop:$LATEST", "/a"),
            ("/shop:$LATEST/a", "shop:$LATEST", "/a"),
            ("/shop:live:x/a", "shop:live:x", "/a"),
            ("/sh%6Fp:live/a", "sh%6Fp:live", "/a"),
        ] {
            let read = Addressed::read(target).unwrap();
            assert_eq!((read.key(), read.rest), (key, rest), "{target}");
        }
        for target in ["", "*", "/", "/shop", "/shop/live:x", "/:live", "/shop:", "/?a:b", "shop:live"] {
            assert!(Addressed::read(target).is_none(), "{target}");
        }
        assert!(Addressed::read(&format!("/{}%3Alive", "x".repeat(200))).is_none());
    }

    #[test]
    fn targets_are_put_together_byte_for_byte() {
        for (base_path, rest, target) in [
            ("", "", "/"),
            ("", "/", "/"),
            ("", "?x", "/?x"),
            ("/v2", "", "/v2"),
            ("/v2", "/", "/v2/"),
            ("/v2", "?x=1", "/v2?x=1"),
            ("/v2", "//a/../%2f%2e?y=%00?", "/v2//a/../%2f%2e?y=%00?"),
            ("", "//evil.example/x", "//evil.example/x"),
        ] {
            let built = upstream_target(base_path, rest).unwrap();
            assert_eq!(built.path_and_query().unwrap().as_str(), target);
            assert!(built.authority().is_none());
        }
        assert!(upstream_target("/base", &format!("/{}", "x".repeat(70_000))).is_err());
    }
}
