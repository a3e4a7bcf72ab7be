//! Guards against pages in browsers: which Host a request without credentials may name, and which Origin it may have.
//!
//! A page of anywhere can send requests to loopback, and a page that had its own name point here reads the answers. No
//! page can forge what its browser says in Host, Origin and Sec-Fetch-Site.

use std::net::IpAddr;

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Uri};

static SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Which names of itself a listener answers to without credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// Those that can only mean this machine.
    Loopback,
    /// Those that no page of elsewhere can have had point here: addresses, and names outside of the public DNS.
    Private,
}

/// Why a request may be a page's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// Its Host is a name that whoever owns it may have had point here.
    #[error("the Host header names {host}, and without credentials this serin answers to {} only", names(*.answers))]
    Host {
        /// As it was sent.
        host: String,
        /// What would be answered.
        answers: Names,
    },
    /// It is a page's of elsewhere.
    #[error("a page of {0} may not ask anything here")]
    Origin(String),
    /// It is, by what the browser says.
    #[error("a {0} page may not ask anything here")]
    Site(String),
}

fn names(answers: Names) -> &'static str {
    match answers {
        Names::Loopback => "loopback names",
        Names::Private => "addresses and names that are not in the public DNS",
    }
}

/// Refuses what a page of elsewhere may have sent.
///
/// Somebody who follows a link here is none: what their browser shows, the page behind them does not see.
pub fn refuse_pages(
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    answers: Names,
) -> Result<(), PageError> {
    fn text(value: &HeaderValue) -> &str {
        value.to_str().unwrap_or("null")
    }
    let (mut hosts, mut origins) =
        (headers.get_all(header::HOST).iter(), headers.get_all(header::ORIGIN).iter());
    let (host, origin) = (hosts.next().map(text), origins.next().map(text));
    // Of two that stand there, whoever is in between may have looked at the other.
    if hosts.next().is_some() {
        return Err(PageError::Host { host: "two names at once".to_owned(), answers });
    }
    if origins.next().is_some() {
        return Err(PageError::Origin("two at once".to_owned()));
    }
    let host = uri.authority().map(|authority| authority.as_str()).or(host);
    if let Some(host) = host {
        let name = host_name(host);
        let is_answered = match answers {
            Names::Loopback => is_loopback_name(name),
            Names::Private => is_private_name(name),
        };
        if !is_answered {
            return Err(PageError::Host { host: host.to_owned(), answers });
        }
    }
    if let Some(origin) = origin {
        let is_same = origin
            .split_once("://")
            .is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host.unwrap_or_default()));
        if !is_same {
            return Err(PageError::Origin(origin.to_owned()));
        }
    }
    let is_link = *method == Method::GET && headers.get(&SEC_FETCH_MODE).map(text) == Some("navigate");
    match headers.get(&SEC_FETCH_SITE).map(text) {
        None | Some("same-origin" | "none") => Ok(()),
        Some(_) if is_link => Ok(()),
        Some(site) => Err(PageError::Site(site.to_owned())),
    }
}

fn host_name(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => authority.rsplit_once(':').map_or(authority, |(name, _)| name),
    }
}

/// Whether a host name or address can only mean this machine.
pub fn is_loopback_name(name: &str) -> bool {
    let is_local =
        name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost");
    is_local || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether nobody elsewhere can have had a name point here: an address, a name without a dot, or one below a domain
/// that the public DNS does not have.
fn is_private_name(name: &str) -> bool {
    const PRIVATE: [&str; 7] = ["localhost", "local", "internal", "home.arpa", "test", "example", "invalid"];
    if name.parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let is_below = |domain: &&str| name.strip_suffix(*domain).is_some_and(|rest| rest.ends_with('.'));
    !name.is_empty() && (!name.contains('.') || PRIVATE.iter().any(is_below))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &Method, host: &str, more: &[(&'static str, &str)], answers: Names) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        for (name, value) in more {
            headers.insert(*name, value.parse().unwrap());
        }
        refuse_pages(method, &"/x".parse().unwrap(), &headers, answers).is_ok()
    }

    #[test]
    fn only_loopback_names_are_answered_without_a_token() {
        for name in ["localhost", "LOCALHOST", "a.localhost", "127.0.0.1", "127.9.9.9", "::1"] {
            assert!(is_loopback_name(name), "{name}");
        }
        for name in ["example.com", "localhost.example.com", "10.0.0.1", "127.0.0.1.example.com", ""] {
            assert!(!is_loopback_name(name), "{name}");
        }
        assert_eq!(host_name("[::1]:7411"), "::1");
        assert_eq!(host_name("localhost:7411"), "localhost");
    }

    #[test]
    fn a_host_or_an_origin_that_stands_twice_is_none() {
        for (name, value) in [("host", "localhost:1"), ("origin", "http://localhost:1")] {
            let mut headers = HeaderMap::new();
            headers.append("host", "localhost:1".parse().unwrap());
            headers.insert(name, value.parse().unwrap());
            let asked = |headers: &HeaderMap| {
                refuse_pages(&Method::GET, &Uri::from_static("/readyz"), headers, Names::Loopback).is_ok()
            };
            assert!(asked(&headers), "{name}");
            headers.append(name, value.parse().unwrap());
            assert!(!asked(&headers), "{name}");
        }
    }

    #[test]
    fn no_page_can_have_an_address_or_a_private_name() {
        for host in [
            "localhost:1",
            "10.0.0.5:7412",
            "[fd00::1]:7412",
            "serin:7412",
            "serin.default.svc.cluster.local",
            "ip-10-0-0-5.ec2.internal.",
            "test.example",
        ] {
            assert!(asked(&Method::POST, host, &[], Names::Private), "{host}");
            assert_eq!(
                asked(&Method::POST, host, &[], Names::Loopback),
                host.starts_with("localhost"),
                "{host}"
            );
        }
        for host in
            ["evil.example.com", "a.b", "localhost.evil.com:7412", "10.0.0.5.nip.io", "evil.com.", "."]
        {
            assert!(!asked(&Method::GET, host, &[], Names::Private), "{host}");
        }
    }

    #[test]
    fn pages_of_elsewhere_ask_nothing_and_links_lead_here() {
        let local = |method, more: &[_]| asked(method, "127.0.0.1:1", more, Names::Loopback);
        let page = ("origin", "http://evil.example.com");
        for method in [&Method::GET, &Method::POST, &Method::OPTIONS] {
            assert!(local(method, &[]) && local(method, &[("origin", "http://127.0.0.1:1")]));
            for origin in ["http://evil.example.com", "null", "http://127.0.0.1:2", ""] {
                assert!(!local(method, &[("origin", origin)]), "{method} {origin}");
            }
            assert!(local(method, &[("sec-fetch-site", "none")]));
            for site in ["cross-site", "same-site", "x"] {
                assert!(!local(method, &[("sec-fetch-site", site)]), "{method} {site}");
                let link = [("sec-fetch-site", site), ("sec-fetch-mode", "navigate")];
                assert_eq!(local(method, &link), *method == Method::GET, "{method} {site}");
                assert!(!local(method, &[link[0], link[1], page]), "{method} {site}");
            }
        }
    }
}
