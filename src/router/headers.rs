//! What is taken off headers and put on them, on the way to a version and back.
//!
//! Headers that are about one connection end here. What clients could forge is taken off before it is set:
//! `x-forwarded-*` (`forwarded`) and `x-amz-executed-version` say what this router knows, or what a proxy has said that
//! it was told to trust.

use std::time::Duration;

use hyper::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, HeaderName, HeaderValue, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use hyper::{HeaderMap, Uri, Version};

use super::forwarded::{self, Client, Told};

/// Names the version that answered.
pub const EXECUTED_VERSION: HeaderName = HeaderName::from_static("x-amz-executed-version");
/// Marks an answer that is the router's own, and no version's.
pub const SERIN_ERROR: HeaderName = HeaderName::from_static("x-serin-error");
/// Tells a version that it answers a copy, and that nobody gets the answer.
pub const MIRRORED: HeaderName = HeaderName::from_static("x-serin-mirrored");

/// Tells a version what it answers for, where a canary is held beside a baseline.
pub const ARM: HeaderName = HeaderName::from_static("x-serin-arm");

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// The traces that requests are followed by.
static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static X_AMZN_TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");

/// The longest body that may be announced, in bytes.
const LENGTH_MAX: u64 = i64::MAX as u64;
/// A head with so many names is short.
const LOOKED_THROUGH_MAX: usize = 8;

/// Why a request cannot be forwarded as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unforwardable {
    /// A target in no form that is forwarded, or with bytes in it that no target has.
    Target,
    /// No `Host` in an HTTP/1.1 request, more than one, or one that names no host.
    Host,
    /// A length that some readers cannot count to.
    Length,
    /// `Connection` names a header that would be missed, or trusted, behind the router.
    Nominated(String),
    /// A transfer coding other than `chunked`.
    TransferCoding,
    /// A change of protocol after a body, which nobody can tell from what follows the change.
    UpgradeWithBody,
}

/// Checks a request before a version is picked for it; gives the protocol it asks to change to, if any.
pub(super) fn check_request<'a>(
    version: Version,
    target: &Uri,
    headers: &'a HeaderMap,
) -> Result<Option<&'a HeaderValue>, Unforwardable> {
    check_target(target)?;
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next();
    let is_missing = host.is_none() && version == Version::HTTP_11;
    if is_missing || hosts.next().is_some() || !host.is_none_or(|host| is_authority(host.as_bytes())) {
        return Err(Unforwardable::Host);
    }
    // Signed 64-bit numbers end here, and with them many who would forward it further.
    if headers
        .get(CONTENT_LENGTH)
        .is_some_and(|length| decimal(length).is_none_or(|length| length > LENGTH_MAX))
    {
        return Err(Unforwardable::Length);
    }
    let mut asks_upgrade = false;
    for name in connection_names(headers) {
        if is_guarded(&name) {
            return Err(Unforwardable::Nominated(name));
        }
        asks_upgrade |= name == "upgrade";
    }
    if !is_chunked_only(headers) {
        return Err(Unforwardable::TransferCoding);
    }
    let protocol = headers.get(UPGRADE).filter(|_| asks_upgrade && version == Version::HTTP_11);
    // HTTP/2 in the clear is an offer that a server may pass over (RFC 9110, 7.8), and common clients make it with
    // every request. What it would change is this hop, and that is not the version's to say.
    let protocol = protocol.filter(|protocol| !protocol.as_bytes().eq_ignore_ascii_case(b"h2c"));
    if protocol.is_some() && (headers.contains_key(TRANSFER_ENCODING) || has_length(headers)) {
        return Err(Unforwardable::UpgradeWithBody);
    }
    Ok(protocol)
}

/// Origin form, or absolute form without anybody's name and password; in visible characters.
fn check_target(target: &Uri) -> Result<(), Unforwardable> {
    // Only CONNECT, which is refused before, has an authority alone.
    let is_odd = match target.authority() {
        Some(authority) => {
            let is_http = [Some("http"), Some("https")].contains(&target.scheme_str());
            !is_http || !is_authority(authority.as_str().as_bytes())
        }
        None => false,
    };
    let path = target.path_and_query().map_or("", |path| path.as_str());
    if is_odd || !path.bytes().all(|byte| byte.is_ascii_graphic() || !byte.is_ascii()) {
        return Err(Unforwardable::Target);
    }
    Ok(())
}

/// Whether bytes can name a host, and a port: what a version is told as `x-forwarded-host`. None name none.
fn is_authority(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%:[]".contains(byte))
}

/// A length in plain digits.
fn decimal(length: &HeaderValue) -> Option<u64> {
    length.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

fn has_length(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0")
}

/// Whether a version that changes the protocol changes it to one that it was asked for.
pub(super) fn is_asked_for(protocol: &HeaderMap, asked: &HeaderValue) -> bool {
    let Some(protocol) = protocol.get(UPGRADE) else { return false };
    let protocol = protocol.as_bytes().trim_ascii();
    asked
        .as_bytes()
        .split(|byte| *byte == b',')
        .any(|asked| asked.trim_ascii().eq_ignore_ascii_case(protocol))
}

/// Says that the protocol is to change, or has changed.
pub(super) fn set_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

/// What a request's headers are made to say.
pub(super) struct Facts<'a> {
    /// The version's authority.
    pub(super) host: &'a HeaderValue,
    /// The client.
    pub(super) client: &'a Client,
    /// The authority of the request target, where it has one; it counts before `Host`.
    pub(super) asked_host: Option<HeaderValue>,
    /// What was taken off the beginning of the path, if anything.
    pub(super) prefix: Option<&'a HeaderValue>,
    /// Whether the request has a body of unknown length.
    pub(super) is_chunked: bool,
}

/// Turns a client's headers into those for a version; gives what the version is told of where the request comes from.
pub(super) fn to_upstream(headers: &mut HeaderMap, facts: Facts) -> Told {
    let wants_trailers = headers.get_all(TE).iter().any(|value| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .any(|part| part.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    });
    strip_nominated(headers);
    // The 100 is sent from here, when the version begins to take the body.
    let may_say_origin = facts.client.is_trusted;
    let is_forged = |name: &HeaderName| is_forged(name) && !(may_say_origin && forwarded::is_origin(name));
    strip(headers, |name| is_hop_by_hop(name) || *name == EXPECT || is_forged(name));
    let host = headers.insert(HOST, facts.host.clone());
    let told = forwarded::tell(headers, facts.client, facts.asked_host.or(host), facts.prefix);
    if wants_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    if facts.is_chunked {
        // Said in so many words, for hyper sends a GET's body of unknown length only if it is.
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        headers.remove(CONTENT_LENGTH);
    }
    // Some read a number that begins with a zero as octal.
    if let Some(length) = headers.get(CONTENT_LENGTH).filter(|length| length.as_bytes().starts_with(b"0"))
        && let Some(length) = decimal(length)
    {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    told
}

/// Takes off a request's trailers what may not come behind its body: a server may read them as if they were headers.
pub(super) fn clean_trailers(trailers: &mut HeaderMap) {
    const OTHERS: [HeaderName; 6] = [HOST, CONTENT_LENGTH, TRAILER, EXPECT, AUTHORIZATION, COOKIE];
    let is_misplaced = |name: &HeaderName| is_forged(name) || is_hop_by_hop(name) || OTHERS.contains(name);
    strip(trailers, is_misplaced);
}

/// Turns a version's headers into those for the client, and puts the version's label on.
pub(super) fn to_client(headers: &mut HeaderMap, label: &HeaderValue) {
    if headers.contains_key(TRANSFER_ENCODING) {
        // The body was read as chunks; a length beside them is a lie that the next reader could believe.
        headers.remove(CONTENT_LENGTH);
    }
    say_length_once(headers);
    strip_nominated(headers);
    strip(headers, |name| is_hop_by_hop(name) || *name == SERIN_ERROR);
    headers.insert(EXECUTED_VERSION, label.clone());
}

/// Says a length that was said several times, or with zeros before it, once and plainly; takes off what is no length,
/// which an answer without a body may still name.
fn say_length_once(headers: &mut HeaderMap) {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else { return };
    let is_digits = first.as_bytes().iter().all(u8::is_ascii_digit);
    if is_digits && first.as_bytes().first().is_some_and(|digit| *digit != b'0') && lengths.next().is_none() {
        return;
    }
    let said =
        headers.get_all(CONTENT_LENGTH).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let mut said = said.map(|part| {
        let part = part.trim_ascii();
        let is_number = !part.is_empty() && part.iter().all(u8::is_ascii_digit);
        str::from_utf8(part).ok().filter(|_| is_number)?.parse::<u64>().ok()
    });
    let length = said.next().flatten().filter(|length| said.all(|other| other == Some(*length)));
    match length {
        Some(length) => _ = headers.insert(CONTENT_LENGTH, HeaderValue::from(length)),
        None => _ = headers.remove(CONTENT_LENGTH),
    }
}

/// Whether the only transfer coding, if any, is `chunked`: no other can be passed on without being undone.
pub(super) fn is_chunked_only(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let first = codings.next();
    codings.next().is_none() && first.is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
}

/// The first value under a name that few requests have: in a short head it is found to be missing sooner by looking
/// through it than by its hash.
pub(super) fn first<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    if headers.keys_len() > LOOKED_THROUGH_MAX {
        return headers.get(name);
    }
    headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
}

/// How long a version says it keeps an idle connection: `Keep-Alive: timeout=5`.
pub(super) fn keep_alive_timeout(headers: &HeaderMap) -> Option<Duration> {
    let parameters = headers.get(KEEP_ALIVE)?.to_str().ok()?;
    let timeout = parameters.split(',').find_map(|parameter| parameter.trim().strip_prefix("timeout="))?;
    timeout.trim().parse().ok().map(Duration::from_secs)
}

/// The trace a request says it belongs to, in either spelling.
pub(super) fn trace(headers: &HeaderMap) -> Option<HeaderValue> {
    first(headers, &TRACEPARENT).or_else(|| first(headers, &X_AMZN_TRACE_ID)).map(detached)
}

/// A copy that shares nothing with the message it comes from.
///
/// A value is a part of what was read from its connection. As long as one is kept, what is read next needs new room, and
/// hyper makes that room before it knows whether there is anything to read: while a request is under way, each time.
pub(super) fn detached(value: &HeaderValue) -> HeaderValue {
    let mut copy = HeaderValue::from_bytes(value.as_bytes()).expect("it is the same as one that there is");
    copy.set_sensitive(value.is_sensitive());
    copy
}

fn is_ours(name: &HeaderName) -> bool {
    *name == EXECUTED_VERSION || *name == SERIN_ERROR || *name == MIRRORED || *name == ARM
}

/// Whether a client has no business to send a header of this name.
fn is_forged(name: &HeaderName) -> bool {
    let text = name.as_str();
    text.starts_with("x-forwarded-") || *name == FORWARDED || is_ours(name) || is_lookalike(text)
}

/// Whether a name differs only by underscores from one that is checked, set or taken off here.
///
/// To servers that hand headers on as CGI does (`HTTP_X_FORWARDED_FOR`) both are one.
fn is_lookalike(name: &str) -> bool {
    if !name.contains('_') {
        return false;
    }
    let name = name.replace('_', "-");
    let others = [HOST, CONTENT_LENGTH, EXPECT, EXECUTED_VERSION, SERIN_ERROR, MIRRORED, ARM];
    name.starts_with("x-forwarded-")
        || is_hop_by_hop_text(&name)
        || others.iter().any(|known| *known == *name)
}

fn is_guarded(name: &str) -> bool {
    name == "host" || name == "forwarded" || name.starts_with("x-forwarded-") || name.starts_with("x-amz")
}

fn connection_names(headers: &HeaderMap) -> impl Iterator<Item = String> {
    let values = headers.get_all(CONNECTION).iter();
    let tokens = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    tokens.map(|token| String::from_utf8_lossy(token.trim_ascii()).to_ascii_lowercase())
}

/// Takes off what is about the connection, and what it names.
pub(super) fn strip_connection(headers: &mut HeaderMap) {
    strip_nominated(headers);
    strip(headers, is_hop_by_hop);
}

/// Takes off what `Connection` names.
fn strip_nominated(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<String> = connection_names(headers).collect();
        for name in named {
            // The body's length is no matter of the connection, whatever it says.
            if name != "content-length" && name != "close" && name != "keep-alive" {
                headers.remove(name);
            }
        }
    }
}

/// Takes off what is unwanted.
///
/// Most messages have none of it, and to look at the few headers there are is less work than to ask for all there
/// could be.
fn strip(headers: &mut HeaderMap, is_unwanted: impl Fn(&HeaderName) -> bool) {
    while let Some(name) = headers.keys().find(|name| is_unwanted(name)).cloned() {
        headers.remove(name);
    }
}

/// Whether a header is about one connection.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    is_hop_by_hop_text(name.as_str())
}

fn is_hop_by_hop_text(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "transfer-encoding"
            | "upgrade"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
        }
        headers
    }

    fn checked(headers: &HeaderMap) -> Result<Option<String>, Unforwardable> {
        let mut headers = headers.clone();
        headers.insert(HOST, HeaderValue::from_static("shop.example"));
        let upgrade = check_request(Version::HTTP_11, &Uri::default(), &headers)?;
        Ok(upgrade.map(|protocol| protocol.to_str().unwrap().to_owned()))
    }

    fn lines(headers: &HeaderMap) -> Vec<(&str, &str)> {
        let mut lines: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        lines.sort_by_key(|(name, _)| *name);
        lines
    }

    fn forwarded(lines: &[(&str, &str)], is_chunked: bool) -> HeaderMap {
        let mut headers = map(lines);
        let host = HeaderValue::from_static("up:80");
        let address = HeaderValue::from_static("10.0.0.9");
        let client = Client { address, scheme: "http", certificate: None, is_trusted: false };
        let (asked_host, prefix) = (None, None);
        to_upstream(&mut headers, Facts { host: &host, client: &client, asked_host, prefix, is_chunked });
        headers
    }

    #[test]
    fn a_request_loses_its_connection_and_its_forgeries() {
        let headers = forwarded(
            &[
                ("host", "shop.example"),
                ("accept", "a"),
                ("accept", "b"),
                ("connection", "keep-alive, X-Secret"),
                ("connection", "close"),
                ("keep-alive", "timeout=9"),
                ("x-secret", "1"),
                ("proxy-authorization", "Basic x"),
                ("expect", "100-continue"),
                ("upgrade", "h2c"),
                ("te", "gzip"),
                ("x-forwarded-for", "1.2.3.4"),
                ("x-forwarded-prefix", "/admin"),
                ("forwarded", "for=1.2.3.4"),
                ("x-amz-executed-version", "9"),
                ("x-serin-error", "none"),
                ("content-length", "3"),
            ],
            false,
        );
        assert_eq!(
            lines(&headers),
            [
                ("accept", "a"),
                ("accept", "b"),
                ("content-length", "3"),
                ("host", "up:80"),
                ("x-forwarded-for", "10.0.0.9"),
                ("x-forwarded-host", "shop.example"),
                ("x-forwarded-proto", "http"),
            ]
        );
    }

    #[test]
    fn a_body_of_unknown_length_is_said_to_be_chunked() {
        let headers = forwarded(&[("transfer-encoding", "chunked"), ("te", "trailers, gzip")], true);
        assert_eq!(headers[TRANSFER_ENCODING], "chunked");
        assert_eq!(
            (headers[TE].clone(), headers[CONNECTION].clone()),
            ("trailers".parse().unwrap(), "te".parse().unwrap())
        );
    }

    #[test]
    fn nobody_nominates_what_others_rely_on() {
        for name in ["Host", "x-forwarded-for", "X-Amz-Executed-Version", "x-amzn-trace-id", "forwarded"] {
            let headers = map(&[("connection", "close"), ("connection", name)]);
            assert_eq!(checked(&headers), Err(Unforwardable::Nominated(name.to_ascii_lowercase())), "{name}");
        }
        assert_eq!(checked(&map(&[("connection", "te, close, x-own")])), Ok(None));
    }

    #[test]
    fn other_codings_are_refused_and_other_protocols_told_apart() {
        for coding in ["gzip, chunked", "identity", "chunked, chunked"] {
            let headers = map(&[("transfer-encoding", coding)]);
            assert_eq!(checked(&headers), Err(Unforwardable::TransferCoding), "{coding}");
        }
        assert_eq!(checked(&map(&[("transfer-encoding", "Chunked")])), Ok(None));
        let websocket = map(&[("connection", "Upgrade"), ("upgrade", "websocket")]);
        assert_eq!(checked(&websocket), Ok(Some("websocket".into())));
        assert_eq!(
            check_request(Version::HTTP_10, &Uri::default(), &websocket),
            Ok(None),
            "HTTP/1.0 changes no protocol"
        );
        for body in [("content-length", "1"), ("transfer-encoding", "chunked"), ("content-length", "00")] {
            let headers = map(&[("connection", "upgrade"), ("upgrade", "websocket"), body]);
            assert_eq!(checked(&headers), Err(Unforwardable::UpgradeWithBody), "{body:?}");
        }
        let h2c = map(&[("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c")]);
        assert_eq!(checked(&h2c), Ok(None));
        assert_eq!(checked(&map(&[("upgrade", "websocket")])), Ok(None), "only an offer");
    }

    #[test]
    fn a_request_names_one_host() {
        let target = Uri::default();
        let two = map(&[("host", "a"), ("host", "a")]);
        assert_eq!(check_request(Version::HTTP_11, &target, &two), Err(Unforwardable::Host));
        assert_eq!(check_request(Version::HTTP_11, &target, &map(&[])), Err(Unforwardable::Host));
        assert_eq!(check_request(Version::HTTP_10, &target, &map(&[])), Ok(None));
        for host in ["", "a", "a.example:80", "[::1]:80", "a_b"] {
            assert_eq!(check_request(Version::HTTP_11, &target, &map(&[("host", host)])), Ok(None), "{host}");
        }
        for host in ["a b", "a, b", "user@a", "a/b", "http://a", "\"a\""] {
            let headers = map(&[("host", host)]);
            assert_eq!(
                check_request(Version::HTTP_11, &target, &headers),
                Err(Unforwardable::Host),
                "{host}"
            );
        }
    }

    #[test]
    fn targets_are_paths_or_urls_of_http() {
        let headers = map(&[("host", "a")]);
        let check = |target: &str| check_request(Version::HTTP_11, &target.parse().unwrap(), &headers);
        for target in ["/", "/a?b=%00", "/\u{e9}", "*", "http://b/a", "http://b:80/a", "http://[::1]/a"] {
            assert_eq!(check(target), Ok(None), "{target}");
        }
        for target in ["a:80", "a", "ftp://b/a", "://b/a", "http://user@a/", "http://user:word@a/"] {
            assert_eq!(check(target), Err(Unforwardable::Target), "{target}");
        }
    }

    #[test]
    fn lengths_have_one_spelling_and_an_end() {
        for (length, passed_on) in
            [("0", "0"), ("00", "0"), ("03", "3"), ("30", "30"), ("000000000000000000000", "0")]
        {
            let headers = forwarded(&[("content-length", length)], false);
            assert_eq!(headers[CONTENT_LENGTH], passed_on);
        }
        for length in ["9223372036854775808", "18446744073709551613", "99999999999999999999"] {
            assert_eq!(
                checked(&map(&[("host", "a"), ("content-length", length)])),
                Err(Unforwardable::Length)
            );
        }
    }

    #[test]
    fn names_with_underscores_are_no_disguise() {
        let headers = forwarded(
            &[
                ("x_forwarded_for", "1.2.3.4"),
                ("x-forwarded_host", "b"),
                ("x_amz_executed-version", "9"),
                ("content_length", "5"),
                ("transfer_encoding", "chunked"),
                ("my_own", "1"),
            ],
            false,
        );
        assert!(headers.keys().all(|name| !name.as_str().contains('_') || name == "my_own"), "{headers:?}");
        assert_eq!(headers["my_own"], "1");
        let mut trailers =
            map(&[("x-sum", "1"), ("x-forwarded-for", "1.2.3.4"), ("connection", "close"), ("cookie", "a")]);
        clean_trailers(&mut trailers);
        assert_eq!(lines(&trailers), [("x-sum", "1")]);
    }

    #[test]
    fn an_answer_keeps_all_but_its_connection() {
        let mut headers = map(&[
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("connection", "x-hop, content-length"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5, max=9"),
            ("content-length", "3"),
            ("x-amz-executed-version", "99"),
            ("x-serin-error", "connect"),
            ("trailer", "x-sum"),
        ]);
        assert_eq!(keep_alive_timeout(&headers), Some(Duration::from_secs(5)));
        to_client(&mut headers, &HeaderValue::from_static("7"));
        assert_eq!(
            lines(&headers),
            [
                ("content-length", "3"),
                ("set-cookie", "a=1"),
                ("set-cookie", "b=2"),
                ("trailer", "x-sum"),
                ("x-amz-executed-version", "7"),
            ]
        );
        let mut both = map(&[("transfer-encoding", "chunked"), ("content-length", "3")]);
        to_client(&mut both, &HeaderValue::from_static("7"));
        assert_eq!(lines(&both), [("x-amz-executed-version", "7")]);
    }

    #[test]
    fn an_answer_names_one_length_that_everybody_reads_alike() {
        for (said, passed_on) in [
            (&["3, 3"][..], Some("3")),
            (&["3", "3"], Some("3")),
            (&["3,3", " 3"], Some("3")),
            (&["003"], Some("3")),
            (&["0"], Some("0")),
            (&["18446744073709551615"], Some("18446744073709551615")),
            // Of an answer to HEAD nobody has read any of it.
            (&["3, 4"], None),
            (&["3", "4"], None),
            (&["+3"], None),
            (&[""], None),
            (&["three"], None),
        ] {
            let mut headers = map(&said.iter().map(|said| ("content-length", *said)).collect::<Vec<_>>());
            to_client(&mut headers, &HeaderValue::from_static("7"));
            let told: Vec<_> =
                headers.get_all(CONTENT_LENGTH).iter().map(|told| told.to_str().unwrap()).collect();
            assert_eq!(told, passed_on.into_iter().collect::<Vec<_>>(), "{said:?}");
        }
    }
}
