//! AWS Signature Version 4: reads what a request claims, and signs it anew with the secret to compare.
//!
//! Both forms are read, the Authorization header and the query of a presigned URL. The body always counts: its hash is
//! taken here, and a client that leaves it out (UNSIGNED-PAYLOAD) is refused, because nothing else keeps it whole.

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation,
    SigningSettings, sign,
};
use aws_sigv4::sign::v4::SigningParams;
use hyper::Uri;
use hyper::header::{self, HeaderMap};
use percent_encoding::percent_decode_str;
use std::time::{Duration, UNIX_EPOCH};
use subtle::ConstantTimeEq;

use super::{Asked, AuthError};
use serin_core::model::time::Timestamp;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// How far a signature's time may be from ours.
const SKEW_MAX: Duration = Duration::from_secs(300);
/// The longest that a presigned request may be good for: seven days.
const EXPIRES_MAX_S: u64 = 604_800;
/// Signing anew encodes the query again, which makes it longer; what is longer than this is not looked at.
const TARGET_BYTES_MAX: usize = 8192;

const MISMATCH: &str = "The request signature we calculated does not match the signature you provided. Check your AWS \
    Secret Access Key and signing method. Consult the service documentation for details.";

/// Whose key a request names, and for where and what it was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The access key's id.
    pub key_id: String,
    /// `20261122`.
    date: String,
    /// The region that the client thinks it is in.
    pub region: String,
    service: String,
}

impl Scope {
    /// Reads `KEYID/20261122/us-east-1/lambda/aws4_request`.
    fn read(text: &str) -> Option<Scope> {
        let parts: Vec<&str> = text.split('/').collect();
        let [key_id, date, region, service, "aws4_request"] = parts.as_slice() else { return None };
        let is_plain = |text: &str| {
            (1..=128).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        let all_plain = is_key_id(key_id) && [date, region, service].into_iter().all(|part| is_plain(part));
        all_plain.then(|| Scope {
            key_id: (*key_id).to_owned(),
            date: (*date).to_owned(),
            region: (*region).to_owned(),
            service: (*service).to_owned(),
        })
    }
}

/// Whether a text can be an access key's id.
pub(super) fn is_key_id(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// The scope that a request claims, unchecked; its region is where the client thinks it is.
pub fn claimed_scope(uri: &Uri, headers: &HeaderMap) -> Option<Scope> {
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if let Some(parts) = shown.and_then(|value| value.strip_prefix(ALGORITHM)) {
        return Scope::read(part_of(parts, "Credential")?);
    }
    let credential = uri.query()?.split('&').find_map(|pair| pair.strip_prefix("X-Amz-Credential="))?;
    Scope::read(&percent_decode_str(credential).decode_utf8_lossy())
}

/// The value of `name=value` among parts with commas between.
fn part_of<'a>(parts: &'a str, name: &str) -> Option<&'a str> {
    parts.split(',').map(str::trim).find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

/// What a signed request says about its signature.
pub(super) struct Claim {
    pub(super) scope: Scope,
    signed_headers: Vec<String>,
    signature: String,
    at_text: String,
    /// How long a presigned request is good for.
    expires: Option<Duration>,
    /// The target as it was before it was signed.
    target: String,
    has_session: bool,
}

impl Claim {
    /// Reads the signature of a request, if it has one.
    pub(super) fn read(asked: &Asked<'_>) -> Result<Option<Claim>, AuthError> {
        let query = asked.uri.query().unwrap_or_default();
        let is_presigned = query
            .split('&')
            .any(|pair| pair.starts_with("X-Amz-Algorithm=") || pair.starts_with("X-Amz-Signature="));
        let mut shown = asked.headers.get_all(header::AUTHORIZATION).iter();
        match (shown.next(), shown.next().is_some() || is_presigned) {
            // Which of them counts would be another one to a proxy before this, or to whoever reads the log.
            (Some(_), true) => Err(AuthError::Incomplete(
                "A request shows its credentials once: in one Authorization header, or in the query."
                    .to_owned(),
            )),
            (Some(value), false) => match value.to_str().unwrap_or_default().strip_prefix(ALGORITHM) {
                Some(parts) => Claim::from_header(asked, parts).map(Some),
                None => Ok(None),
            },
            (None, _) if is_presigned => Claim::from_query(asked, query).map(Some),
            (None, _) => Ok(None),
        }
    }

    fn from_header(asked: &Asked<'_>, parts: &str) -> Result<Claim, AuthError> {
        let part = |name: &str| part_of(parts, name);
        let at = text_of(asked.headers, "x-amz-date");
        let lacking: String = [
            ("Credential", part("Credential")),
            ("Signature", part("Signature")),
            ("SignedHeaders", part("SignedHeaders")),
        ]
        .into_iter()
        .filter(|(_, value)| value.is_none())
        .map(|(name, _)| format!("Authorization header requires '{name}' parameter. "))
        .chain(
            at.is_none()
                .then(|| "Authorization header requires existence of a 'X-Amz-Date' header. ".to_owned()),
        )
        .collect();
        let (Some(credential), Some(signature), Some(signed), Some(at_text)) =
            (part("Credential"), part("Signature"), part("SignedHeaders"), at)
        else {
            return Err(AuthError::Incomplete(lacking.trim_end().to_owned()));
        };
        Ok(Claim {
            scope: scope_of(credential)?,
            signed_headers: signed.split(';').map(str::to_owned).collect(),
            signature: signature.to_owned(),
            at_text: at_text.to_owned(),
            expires: None,
            target: asked.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned(),
            has_session: asked.headers.contains_key("x-amz-security-token"),
        })
    }

    fn from_query(asked: &Asked<'_>, query: &str) -> Result<Claim, AuthError> {
        let mut target = asked.uri.path().to_owned();
        let (mut of_signature, mut between) = (Vec::new(), '?');
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if OF_SIGNATURE.contains(&name) {
                of_signature.push((name, percent_decode_str(value).decode_utf8_lossy().into_owned()));
            } else {
                target.extend([std::mem::replace(&mut between, '&')]);
                target.push_str(pair);
            }
        }
        let value = |wanted: &str| {
            let mut values = of_signature.iter().filter(|(name, _)| *name == wanted);
            values.next().map(|(_, value)| value.clone()).filter(|_| values.next().is_none()).ok_or_else(
                || {
                    AuthError::Incomplete(format!(
                        "AWS query-string parameters must include '{wanted}', once."
                    ))
                },
            )
        };
        if value("X-Amz-Algorithm")? != ALGORITHM {
            return Err(AuthError::Incomplete(format!(
                "Unsupported AWS 'algorithm': only {ALGORITHM} is known"
            )));
        }
        let expires_s =
            value("X-Amz-Expires")?.parse().ok().filter(|seconds| (1..=EXPIRES_MAX_S).contains(seconds));
        let expires_s = expires_s.ok_or_else(|| {
            AuthError::Incomplete(format!("X-Amz-Expires is a number of seconds from 1 to {EXPIRES_MAX_S}"))
        })?;
        Ok(Claim {
            scope: scope_of(&value("X-Amz-Credential")?)?,
            signed_headers: value("X-Amz-SignedHeaders")?.split(';').map(str::to_owned).collect(),
            signature: value("X-Amz-Signature")?,
            at_text: value("X-Amz-Date")?,
            expires: Some(Duration::from_secs(expires_s)),
            has_session: of_signature.iter().any(|(name, _)| *name == "X-Amz-Security-Token"),
            target,
        })
    }

    /// Whether the signature covers a header.
    pub(super) fn covers(&self, name: &str) -> bool {
        self.signed_headers.iter().any(|signed| signed == name)
    }

    /// Holds the signature to the secret, the request and the time.
    pub(super) fn verify(
        &self,
        asked: &Asked<'_>,
        credentials: &Credentials,
        now: Timestamp,
    ) -> Result<(), AuthError> {
        if self.has_session {
            // The keys of the configuration are long-lived; a token of a session is of somebody else's.
            return Err(AuthError::UnknownKey);
        }
        if self.scope.service != asked.service {
            let text = format!("Credential should be scoped to correct service: '{}'.", asked.service);
            return Err(AuthError::WrongSignature(text));
        }
        let at = self.time(now)?;
        self.check_payload(asked)?;
        let expected = self.sign(asked, credentials, at).ok_or_else(mismatch)?;
        if !bool::from(expected.as_bytes().ct_eq(self.signature.as_bytes())) {
            return Err(mismatch());
        }
        self.check_covered(asked.headers)
    }

    /// Refuses headers that decide something and that anybody on the way could have added.
    ///
    /// AWS wants every `x-amz-*` header signed, and what is serin's own decides as much.
    fn check_covered(&self, headers: &HeaderMap) -> Result<(), AuthError> {
        let counts = |name: &str| {
            name.starts_with("x-amz-") || name.starts_with("x-serin-") || name == "idempotency-key"
        };
        let added = headers.keys().map(header::HeaderName::as_str);
        let added: Vec<&str> = added.filter(|name| counts(name) && !self.covers(name)).collect();
        if added.is_empty() {
            return Ok(());
        }
        Err(AuthError::WrongSignature(format!(
            "There were headers present in the request which were not signed: {}",
            added.join(", ")
        )))
    }

    /// The time of the signature, unless it is too far from ours.
    fn time(&self, now: Timestamp) -> Result<Timestamp, AuthError> {
        let wrong = |text: String| Err(AuthError::WrongSignature(text));
        let Some(at) = read_time(&self.at_text) else {
            return wrong(format!(
                "Date must be in ISO-8601 'basic format'. Got '{}'. See http://en.wikipedia.org/wiki/ISO_8601",
                self.at_text
            ));
        };
        let day = &self.at_text[..8];
        if self.scope.date != day {
            return wrong(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{}' != \
                 '{day}', from '{}'.",
                self.scope.date, self.at_text
            ));
        }
        let earliest = Timestamp(now.0.saturating_sub(SKEW_MAX.as_millis() as i64));
        let latest = now.plus(SKEW_MAX);
        let (at_text, now_text) = (&self.at_text, write_time(now));
        if at > latest {
            return wrong(format!(
                "Signature not yet current: {at_text} is still later than {} ({now_text} + 5 min.)",
                write_time(latest)
            ));
        }
        match self.expires {
            None if at < earliest => wrong(format!(
                "Signature expired: {at_text} is now earlier than {} ({now_text} - 5 min.)",
                write_time(earliest)
            )),
            Some(expires) if at.plus(expires) < now => wrong(format!(
                "Signature expired: {} is now earlier than {now_text}",
                write_time(at.plus(expires))
            )),
            _ => Ok(at),
        }
    }

    /// Holds the hash that a client says its body has to the body.
    fn check_payload(&self, asked: &Asked<'_>) -> Result<(), AuthError> {
        let Some(said) = text_of(asked.headers, "x-amz-content-sha256") else { return Ok(()) };
        if said.eq_ignore_ascii_case(&hex(&asked.body.sha256())) {
            return Ok(());
        }
        Err(if said.starts_with("UNSIGNED-PAYLOAD") || said.starts_with("STREAMING-") {
            AuthError::WrongSignature(format!(
                "x-amz-content-sha256 {said} is not accepted here; sign the body's hash"
            ))
        } else {
            mismatch()
        })
    }

    /// The signature that the holder of the secret would have made.
    fn sign(&self, asked: &Asked<'_>, credentials: &Credentials, at: Timestamp) -> Option<String> {
        let is_dotted = |segment: &str| segment == "." || segment == "..";
        // A path that says another than it is signed as is nobody's.
        let path = asked.uri.path();
        if self.target.len() > TARGET_BYTES_MAX || path.contains("//") || path.split('/').any(is_dotted) {
            return None;
        }
        let mut headers = Vec::new();
        for name in &self.signed_headers {
            let mut values = asked.headers.get_all(name).iter().peekable();
            values.peek()?;
            for value in values {
                headers.push((name.as_str(), value.to_str().ok()?));
            }
        }
        // What is not among them the library would add by itself.
        if !self.covers("host") || (self.expires.is_none() && !self.covers("x-amz-date")) {
            return None;
        }
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Double;
        settings.payload_checksum_kind = PayloadChecksumKind::NoHeader;
        settings.excluded_headers = None;
        settings.expires_in = self.expires;
        if self.expires.is_some() {
            settings.signature_location = SignatureLocation::QueryParams;
        }
        let identity = credentials.clone().into();
        let params = SigningParams::builder()
            .identity(&identity)
            .region(&self.scope.region)
            .name(&self.scope.service)
            .time(UNIX_EPOCH + Duration::from_millis(u64::try_from(at.0).ok()?))
            .settings(settings)
            .build()
            .ok()?
            .into();
        let body = SignableBody::Precomputed(hex(&asked.body.sha256()));
        let request =
            SignableRequest::new(asked.method.as_str(), self.target.as_str(), headers.into_iter(), body)
                .ok()?;
        Some(sign(request, &params).ok()?.into_parts().1)
    }
}

/// What a presigned URL carries about its signature.
const OF_SIGNATURE: [&str; 7] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
    "X-Amz-Security-Token",
];

fn scope_of(credential: &str) -> Result<Scope, AuthError> {
    Scope::read(credential).ok_or_else(|| {
        let text = "Credential must have exactly 5 slash-delimited elements, \
                    e.g. keyid/date/region/service/term, ending in aws4_request";
        AuthError::Incomplete(text.to_owned())
    })
}

fn mismatch() -> AuthError {
    AuthError::WrongSignature(MISMATCH.to_owned())
}

fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const TIME_FORMAT: &str = "%Y%m%dT%H%M%SZ";

/// Reads `20261122T093000Z`.
fn read_time(text: &str) -> Option<Timestamp> {
    let is_plain = text.len() == 16 && text.is_ascii();
    let civil = jiff::civil::DateTime::strptime(TIME_FORMAT, text).ok().filter(|_| is_plain)?;
    let instant = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    Some(Timestamp(instant.as_millisecond()))
}

fn write_time(at: Timestamp) -> String {
    at.calendar().strftime(TIME_FORMAT).to_string()
}

#[cfg(test)]
mod tests {
    use hyper::Method;
    use proptest::prelude::*;

    use super::*;
    use crate::access::BodyHash;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    /// The first case of AWS's own test suite, get-vanilla, and what it must be signed as.
    const VANILLA: &str = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
        SignedHeaders=host;x-amz-date, Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
    const VANILLA_AT: &str = "20150830T123600Z";

    struct Sent {
        method: Method,
        target: String,
        headers: Vec<(&'static str, String)>,
        body: &'static str,
        service: &'static str,
        late_s: i64,
        secret: &'static str,
    }

    fn vanilla() -> Sent {
        Sent {
            method: Method::GET,
            target: "/".to_owned(),
            headers: vec![
                ("host", "example.amazonaws.com".to_owned()),
                ("x-amz-date", VANILLA_AT.to_owned()),
                ("authorization", VANILLA.to_owned()),
            ],
            body: "",
            service: "service",
            late_s: 0,
            secret: SECRET,
        }
    }

    impl Sent {
        fn verified(&self) -> Result<(), AuthError> {
            let mut headers = HeaderMap::new();
            for (name, value) in &self.headers {
                headers.append(*name, value.parse().unwrap());
            }
            let uri = self.target.parse().unwrap();
            let body = self.body.as_bytes();
            let asked = Asked {
                method: &self.method,
                uri: &uri,
                headers: &headers,
                body: BodyHash::Of(body),
                service: self.service,
            };
            let claim = Claim::read(&asked)?.expect("a signed request");
            let now = Timestamp(read_time(VANILLA_AT).unwrap().0 + self.late_s * 1000);
            claim.verify(&asked, &Credentials::new("AKIDEXAMPLE", self.secret, None, None, "test"), now)
        }

        fn with(mut self, change: impl FnOnce(&mut Sent)) -> Sent {
            change(&mut self);
            self
        }
    }

    fn refused(sent: Sent) -> String {
        sent.verified().expect_err("accepted").to_string()
    }

    #[test]
    fn awss_own_case_is_verified() {
        assert_eq!(vanilla().verified(), Ok(()));
        for late_s in [-300, 0, 300] {
            assert_eq!(vanilla().with(|sent| sent.late_s = late_s).verified(), Ok(()), "{late_s}");
        }
    }

    #[test]
    fn a_time_too_far_away_is_refused_in_awss_words() {
        assert_eq!(
            refused(vanilla().with(|sent| sent.late_s = 301)),
            "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T124101Z - 5 min.)"
        );
        assert_eq!(
            refused(vanilla().with(|sent| sent.late_s = -301)),
            "Signature not yet current: 20150830T123600Z is still later than 20150830T123559Z (20150830T123059Z + 5 \
             min.)"
        );
    }

    #[test]
    fn whatever_is_changed_breaks_the_signature() {
        let header = |sent: &mut Sent, name: &str, value: &str| {
            sent.headers.retain(|(known, _)| *known != name);
            sent.headers.push((Box::leak(name.to_owned().into_boxed_str()), value.to_owned()));
        };
        type Change = Box<dyn Fn(&mut Sent)>;
        let changes: Vec<(&str, Change)> = vec![
            ("secret", Box::new(|sent| sent.secret = "other")),
            ("method", Box::new(|sent| sent.method = Method::POST)),
            ("path", Box::new(|sent| sent.target = "/x".to_owned())),
            ("path that says the same", Box::new(|sent| sent.target = "/x/..".to_owned())),
            ("query", Box::new(|sent| sent.target = "/?a=b".to_owned())),
            ("body", Box::new(|sent| sent.body = "{}")),
            ("host", Box::new(move |sent| header(sent, "host", "example.org"))),
            ("a signed header gone", Box::new(|sent| sent.headers.retain(|(name, _)| *name != "host"))),
            (
                "signed headers",
                Box::new(move |sent| {
                    header(sent, "authorization", &VANILLA.replace("host;x-amz-date", "x-amz-date"));
                }),
            ),
            (
                "region",
                Box::new(move |sent| {
                    header(sent, "authorization", &VANILLA.replace("us-east-1", "us-east-2"));
                }),
            ),
            (
                "signature",
                Box::new(move |sent| {
                    header(sent, "authorization", &VANILLA.replace("Signature=5", "Signature=6"));
                }),
            ),
            (
                "no signature",
                Box::new(move |sent| {
                    header(sent, "authorization", VANILLA.split("Signature=5").next().unwrap());
                    header(sent, "authorization", &format!("{}Signature=", sent.headers.last().unwrap().1));
                }),
            ),
            ("the hash it says", Box::new(move |sent| header(sent, "x-amz-content-sha256", &"0".repeat(64)))),
            ("a long target", Box::new(|sent| sent.target = format!("/?{}", "%27".repeat(20_000)))),
        ];
        for (what, change) in changes {
            assert_eq!(refused(vanilla().with(|sent| change(sent))), MISMATCH, "{what}");
        }
        let unsigned =
            refused(vanilla().with(|sent| header(sent, "x-amz-content-sha256", "UNSIGNED-PAYLOAD")));
        assert!(unsigned.contains("UNSIGNED-PAYLOAD is not accepted"), "{unsigned}");
        let service = refused(vanilla().with(|sent| sent.service = "lambda"));
        assert_eq!(service, "Credential should be scoped to correct service: 'lambda'.");
        let day = refused(
            vanilla()
                .with(|sent| header(sent, "authorization", &VANILLA.replace("/20150830/", "/20150831/"))),
        );
        assert!(day.contains("'20150831' != '20150830'"), "{day}");
        let session = vanilla().with(|sent| header(sent, "x-amz-security-token", "t"));
        assert_eq!(session.verified(), Err(AuthError::UnknownKey));
    }

    #[test]
    fn headers_that_decide_something_must_be_signed() {
        for (name, is_taken) in [
            ("x-amz-invocation-type", false),
            ("x-amz-log-type", false),
            ("x-amz-client-context", false),
            ("x-amz-source-arn", false),
            ("x-amz-target", false),
            ("x-amz-anything", false),
            ("x-serin-reason", false),
            ("idempotency-key", false),
            ("x-amzn-trace-id", true),
            ("traceparent", true),
            ("x-forwarded-for", true),
        ] {
            let sent = vanilla().with(|sent| sent.headers.push((name, "Event".to_owned())));
            let verified = sent.verified();
            assert_eq!(verified.is_ok(), is_taken, "{name}");
            if let Err(refused) = verified {
                assert!(
                    refused.to_string().ends_with(&format!("which were not signed: {name}")),
                    "{refused}"
                );
            }
        }
    }

    proptest! {
        /// Whatever comes, it is refused and nothing breaks: this runs on the threads that carry traffic.
        #[test]
        fn no_request_breaks_anything(
            path in "/[!-~&&[^?#\"<>\\\\^`{|}]]{0,40}",
            query in "[!-~&&[^#\"<>\\\\^`{|}]]{0,80}",
            pairs in proptest::collection::vec(("(X-Amz-(Algorithm|Credential|Date|Expires|SignedHeaders|Signature)|a)",
                "[!-~&&[^#&\"<>\\\\^`{|}]]{0,20}|AWS4-HMAC-SHA256|a/20150830/b/service/aws4_request|20150830T123600Z|60|host"), 0..9),
            authorization in "(AWS4-HMAC-SHA256 )?[ -~]{0,60}|AWS4-HMAC-SHA256 Credential=a/20150830/b/service/aws4_request, SignedHeaders=[a-z;-]{0,20}, Signature=[0-9a-f]{0,70}",
            date in "[ -~]{0,20}|20150830T123600Z",
            signed in proptest::bool::ANY,
            value in "[ -~]{0,20}",
        ) {
            let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let target = format!("{path}?{query}&{}", pairs.join("&"));
            prop_assume!(target.parse::<Uri>().is_ok());
            let mut sent = vanilla().with(|sent| sent.target = target);
            sent.headers = vec![("host", value.clone()), ("x-amz-date", date), ("a", value)];
            if signed {
                sent.headers.push(("authorization", authorization));
            }
            let mut headers = HeaderMap::new();
            for (name, value) in &sent.headers {
                headers.append(*name, value.parse().unwrap());
            }
            let uri = sent.target.parse().unwrap();
            let asked = Asked { method: &sent.method, uri: &uri, headers: &headers, body: BodyHash::Of(b"{}"), service: "service" };
            claimed_scope(&uri, &headers);
            if let Ok(Some(claim)) = Claim::read(&asked) {
                let now = read_time(VANILLA_AT).unwrap();
                prop_assert!(claim.verify(&asked, &Credentials::new("a", SECRET, None, None, "test"), now).is_err());
            }
        }
    }

    #[test]
    fn credentials_are_shown_once() {
        let also = |value: &str| {
            refused(vanilla().with(|sent| sent.headers.push(("authorization", value.to_owned()))))
        };
        for text in [
            also(VANILLA),
            also("Bearer a-token-of-somebody-else"),
            refused(vanilla().with(|sent| sent.headers.insert(0, ("authorization", "Bearer x".to_owned())))),
            refused(vanilla().with(|sent| sent.target = "/?X-Amz-Signature=x".to_owned())),
            refused(vanilla().with(|sent| {
                sent.headers[2].1 = "Bearer x".to_owned();
                sent.target = "/?X-Amz-Algorithm=AWS4-HMAC-SHA256".to_owned();
            })),
        ] {
            assert!(text.contains("shows its credentials once"), "{text}");
        }
    }

    #[test]
    fn incomplete_signatures_say_what_they_lack() {
        for (authorization, part) in [
            ("AWS4-HMAC-SHA256", "requires 'Credential'"),
            ("AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request", "requires 'Signature'"),
            ("AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=x", "5 slash-delimited"),
            (
                "AWS4-HMAC-SHA256 Credential=a/../c/d/aws4_request, SignedHeaders=host, Signature=x",
                "5 slash-delimited",
            ),
        ] {
            let text = refused(vanilla().with(|sent| sent.headers[2].1 = authorization.to_owned()));
            assert!(text.contains(part), "{text}");
        }
        let dateless = refused(vanilla().with(|sent| sent.headers.retain(|(name, _)| *name != "x-amz-date")));
        assert!(dateless.contains("'X-Amz-Date'"), "{dateless}");
        for target in [
            "/?X-Amz-Algorithm=AWS4-HMAC-SHA256",
            "/?X-Amz-Signature=x",
            "/?X-Amz-Algorithm=x&X-Amz-Algorithm=y",
        ] {
            let text = refused(vanilla().with(|sent| {
                sent.headers.truncate(1);
                sent.target = target.to_owned();
            }));
            assert!(text.contains("query-string parameters must include"), "{text}");
        }
    }
}
