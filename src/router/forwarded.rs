//! What a version is told of where a request comes from, in `x-forwarded-*`.
//!
//! Of anybody but a proxy that is trusted these say what this router knows and nothing else. What a trusted proxy says
//! is kept, and this router's own part comes behind it: the address it was asked from, and the part of the path that it
//! took off.

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use ipnet::IpNet;

/// Whose certificate the client showed, in the words that Envoy uses.
const CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Whether a header is one of these, and no other that a careless reader takes for one.
pub(super) fn is_origin(name: &HeaderName) -> bool {
    name.as_str().starts_with("x-forwarded-") && !name.as_str().contains('_')
}

/// The proxies in front of the router whose word on a request's origin is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Whether an address is one of them.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

impl From<Vec<IpNet>> for TrustedProxies {
    fn from(networks: Vec<IpNet>) -> TrustedProxies {
        TrustedProxies(networks)
    }
}

/// Who sends a request, and how.
#[derive(Clone, Debug)]
pub(super) struct Client {
    /// Its address.
    pub(super) address: HeaderValue,
    /// `http`, or `https` if it came over TLS.
    pub(super) scheme: &'static str,
    /// The certificate that it had to show, in words for versions.
    pub(super) certificate: Option<HeaderValue>,
    /// Whether it is a proxy whose word is taken for whom it sends it.
    pub(super) is_trusted: bool,
}

/// What a version was told of the place that its client sees.
pub(super) struct Told {
    /// The host that was asked.
    pub(super) host: Option<HeaderValue>,
    /// What the client's paths begin with, if anything was taken off them here.
    pub(super) prefix: Option<HeaderValue>,
}

/// Tells a version where a request comes from; what a client may not say of it was taken off before.
///
/// `host` is what the client asked for, and `prefix` what was taken off the path.
pub(super) fn tell(
    headers: &mut HeaderMap,
    client: &Client,
    host: Option<HeaderValue>,
    prefix: Option<&HeaderValue>,
) -> Told {
    if client.is_trusted {
        return add(headers, client, host, prefix);
    }
    if let Some(host) = &host {
        headers.insert(HOST, host.clone());
    }
    headers.insert(FOR, client.address.clone());
    headers.insert(PROTO, HeaderValue::from_static(client.scheme));
    if let Some(certificate) = &client.certificate {
        headers.insert(CLIENT_CERT, certificate.clone());
    }
    let prefix = prefix.cloned();
    if let Some(prefix) = &prefix {
        headers.insert(PREFIX, prefix.clone());
    }
    Told { host, prefix }
}

/// Puts this router's part behind what a trusted proxy has said.
fn add(
    headers: &mut HeaderMap,
    client: &Client,
    host: Option<HeaderValue>,
    prefix: Option<&HeaderValue>,
) -> Told {
    append(headers, FOR, &client.address);
    if let Some(certificate) = &client.certificate {
        append(headers, CLIENT_CERT, certificate);
    }
    let host = headers.get(HOST).cloned().or(host);
    if let Some(host) = &host {
        headers.insert(HOST, host.clone());
    }
    headers.entry(PROTO).or_insert(HeaderValue::from_static(client.scheme));
    let prefix = prefix.map(|prefix| public_prefix(headers, prefix));
    if let Some(prefix) = &prefix {
        headers.insert(PREFIX, prefix.clone());
    }
    Told { host, prefix }
}

/// Where a path that was taken off begins for the client: behind what a trusted proxy has taken off before.
fn public_prefix(headers: &HeaderMap, prefix: &HeaderValue) -> HeaderValue {
    let before = headers.get(PREFIX).and_then(|before| before.to_str().ok());
    // Two slashes would be a host to whoever makes a link of it.
    let before = before.map(|before| before.trim_end_matches('/'));
    let before = before.filter(|before| before.starts_with('/') && !before.starts_with("//"));
    let whole = before
        .and_then(|before| HeaderValue::from_bytes(&[before.as_bytes(), prefix.as_bytes()].concat()).ok());
    whole.unwrap_or_else(|| prefix.clone())
}

/// Puts a value behind those there are, in one list.
fn append(headers: &mut HeaderMap, name: HeaderName, value: &HeaderValue) {
    let mut list: Vec<&[u8]> = headers.get_all(&name).iter().map(HeaderValue::as_bytes).collect();
    list.retain(|part| !part.trim_ascii().is_empty());
    list.push(value.as_bytes());
    if let Ok(list) = HeaderValue::from_bytes(&list.join(&b", "[..])) {
        headers.insert(name, list);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &[(&'static str, &str)], is_trusted: bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        let address = HeaderValue::from_static("10.0.0.1");
        let certificate = Some(HeaderValue::from_static("Hash=own"));
        let client = Client { address, scheme: "http", certificate, is_trusted };
        let own = HeaderValue::from_static("/shop:live");
        tell(&mut headers, &client, Some(HeaderValue::from_static("serin.internal")), Some(&own));
        headers
    }

    #[test]
    fn what_a_trusted_proxy_says_stays_and_this_router_is_added() {
        let given = [
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-for", "198.51.100.2, 10.0.0.7"),
            ("x-forwarded-host", "shop.example"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-port", "443"),
            ("x-forwarded-client-cert", "Hash=theirs"),
        ];
        let headers = told(&given, true);
        for (name, value) in [
            ("x-forwarded-for", "192.0.2.1, 198.51.100.2, 10.0.0.7, 10.0.0.1"),
            ("x-forwarded-host", "shop.example"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-port", "443"),
            ("x-forwarded-client-cert", "Hash=theirs, Hash=own"),
            ("x-forwarded-prefix", "/shop:live"),
        ] {
            assert_eq!(headers.get_all(name).iter().collect::<Vec<_>>(), [value], "{name}");
        }
        let headers = told(&[], true);
        for (name, value) in [
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-host", "serin.internal"),
            ("x-forwarded-proto", "http"),
        ] {
            assert_eq!(headers[name], value, "{name}");
        }
    }

    #[test]
    fn a_prefix_comes_behind_the_one_before_and_is_never_a_host() {
        for (given, whole) in [
            ("/api", "/api/shop:live"),
            ("/api/", "/api/shop:live"),
            ("/", "/shop:live"),
            ("//evil.example", "/shop:live"),
            ("api", "/shop:live"),
        ] {
            assert_eq!(told(&[("x-forwarded-prefix", given)], true)["x-forwarded-prefix"], whole, "{given}");
        }
        assert_eq!(told(&[], false)["x-forwarded-prefix"], "/shop:live");
    }
}
