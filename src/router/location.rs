//! Where a version sends a client to, said so that the client comes back through the router.
//!
//! A version that is reached at `/shop:live/…` does not know of `/shop:live`: its `Location: /cart` is the client's
//! `/shop:live/cart`. A relative location is right as it is, and so is one that leads elsewhere.

use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderValue, LOCATION};

/// What is known of a request that was answered by a version behind a path.
pub(super) struct Seen<'a> {
    /// What the client's paths begin with, as it sees them.
    pub(super) prefix: &'a str,
    /// What the version's begin with instead: empty, or `/…` without a trailing slash.
    pub(super) base_path: &'a str,
    /// Where the version is, as its `Host` was.
    pub(super) host: &'a str,
    /// Where the client believes it is.
    pub(super) asked_host: &'a str,
}

/// Whether answers of this status may send somebody somewhere.
pub(super) fn may_lead(status: StatusCode) -> bool {
    status.is_redirection() || status == StatusCode::CREATED
}

/// Puts the client's prefix before where a version sends it, if it is sent to the version itself.
pub(super) fn rewrite(headers: &mut HeaderMap, seen: &Seen<'_>) {
    let rewritten = headers.get(LOCATION).and_then(|location| location.to_str().ok());
    if let Some(rewritten) = rewritten.and_then(|location| rewritten_location(location, seen))
        && let Ok(rewritten) = HeaderValue::try_from(rewritten)
    {
        headers.insert(LOCATION, rewritten);
    }
}

/// The location as the client should have it; `None` where it is right as it is.
fn rewritten_location(location: &str, seen: &Seen<'_>) -> Option<String> {
    let (origin, path) = split(location)?;
    let origin = match origin {
        "" => "",
        // Only the version knows this place; the path alone leads the client back to where it asked.
        origin if host_of(origin).eq_ignore_ascii_case(seen.host) => "",
        origin if host_of(origin).eq_ignore_ascii_case(seen.asked_host) => origin,
        _ => return None,
    };
    if below(path, seen.prefix).is_some() {
        // The version has read `x-forwarded-prefix`.
        return (origin.len() + path.len() < location.len()).then(|| format!("{origin}{path}"));
    }
    let rest = below(path, seen.base_path)?;
    let slash = if rest.is_empty() || rest.starts_with(['/', '?', '#']) { "" } else { "/" };
    Some(format!("{origin}{}{slash}{rest}", seen.prefix))
}

/// Splits a location into scheme and host, if it has them, and what follows; `None` where it is relative.
fn split(location: &str) -> Option<(&str, &str)> {
    let host_at = if location.starts_with("//") {
        2
    } else if location.starts_with('/') {
        return Some(("", location));
    } else {
        let scheme = location.find("://")?;
        let is_web = ["http", "https"].iter().any(|web| location[..scheme].eq_ignore_ascii_case(web));
        if !is_web {
            return None;
        }
        scheme + 3
    };
    let end = location[host_at..].find(['/', '?', '#']).map_or(location.len(), |end| host_at + end);
    // An authority that is none is nobody's.
    location[host_at..end].parse::<hyper::http::uri::Authority>().ok()?;
    Some(location.split_at(end))
}

fn host_of(origin: &str) -> &str {
    origin.split_once("//").map_or(origin, |(_, host)| host)
}

/// What follows a path's beginning, if it begins so with whole segments.
fn below<'a>(path: &'a str, start: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(start)?;
    (rest.is_empty() || rest.starts_with(['/', '?', '#'])).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_come_back_through_the_router() {
        let plain =
            Seen { prefix: "/shop:live", base_path: "", host: "10.0.0.1:9", asked_host: "shop.example" };
        for (location, expected) in [
            ("/", "/shop:live/"),
            ("/cart", "/shop:live/cart"),
            ("/cart?to=/x#y", "/shop:live/cart?to=/x#y"),
            ("/shop:livery", "/shop:live/shop:livery"),
            ("http://10.0.0.1:9/cart", "/shop:live/cart"),
            ("http://10.0.0.1:9", "/shop:live"),
            ("HTTP://10.0.0.1:9?x", "/shop:live?x"),
            ("https://Shop.example/cart", "https://Shop.example/shop:live/cart"),
            ("//shop.example/cart", "//shop.example/shop:live/cart"),
            ("http://10.0.0.1:9/shop:live/cart", "/shop:live/cart"),
        ] {
            assert_eq!(rewritten_location(location, &plain).as_deref(), Some(expected), "{location}");
        }
        for location in [
            "cart",
            "../cart",
            "?page=2",
            "#top",
            "",
            "/shop:live",
            "/shop:live/cart",
            "/shop:live?x=1",
            "https://shop.example/shop:live/cart",
            "https://pay.example/cart",
            "http://10.0.0.1:8/cart",
            "mailto:a@b",
            "ftp://10.0.0.1:9/x",
            "//",
            "http://a b/",
        ] {
            assert_eq!(rewritten_location(location, &plain), None, "{location}");
        }
    }

    #[test]
    fn a_base_path_is_taken_off() {
        let seen = Seen { prefix: "/api/shop:live", base_path: "/v2", host: "up", asked_host: "" };
        for (location, expected) in [
            ("/v2", Some("/api/shop:live")),
            ("/v2/cart", Some("/api/shop:live/cart")),
            ("http://up/v2/cart", Some("/api/shop:live/cart")),
            ("/v2?x", Some("/api/shop:live?x")),
            ("/v20/cart", None),
            ("/elsewhere", None),
        ] {
            assert_eq!(rewritten_location(location, &seen).as_deref(), expected, "{location}");
        }
    }
}
