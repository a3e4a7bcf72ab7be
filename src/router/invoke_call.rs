//! Reads what an Invoke asks for: which function, by which qualifier, and how.

use hyper::header::{HeaderMap, HeaderName};
use hyper::{Method, Uri};
use percent_encoding::percent_decode_str;

use super::headers::first;
use super::invoke_error::InvokeError;
use crate::access::claimed_scope;
use crate::access::parameters::Parameters;
use serin_core::model::arn::{Called, FunctionName, Place, one_qualifier};

const PREFIX: &str = "/2015-03-31/";
const STREAMING_PREFIX: &str = "/2021-11-15/";
/// What is meant where the client says no qualifier.
const LATEST: &str = "$LATEST";
/// The longest text that names a function.
const NAME_CHARS_MAX: usize = 256;
const FUNCTION_PATTERN: &str = r"Member must satisfy regular expression pattern: (arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?([a-zA-Z0-9-_\.]+)(:(\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9-_]+))?";
const QUALIFIER_PATTERN: &str =
    r"Member must satisfy regular expression pattern: \$(LATEST(\.PUBLISHED)?)|[a-zA-Z0-9-_$]+";

static INVOCATION_TYPE: HeaderName = HeaderName::from_static("x-amz-invocation-type");
static LOG_TYPE: HeaderName = HeaderName::from_static("x-amz-log-type");

/// How a function is to be invoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InvocationType {
    /// Now, and the answer is waited for.
    RequestResponse,
    /// Not at all; only whether it could be.
    DryRun,
    /// Later, by whoever keeps events; nobody waits for the answer.
    Event,
}

/// An Invoke, well-formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// `function:qualifier`, unqualified ones as `$LATEST`.
    pub(super) key: String,
    /// How much of it is the bare function's name.
    name_bytes: usize,
    /// Whether the client says a qualifier.
    is_qualified: bool,
    /// The region the client speaks of, where it says one.
    region: Option<String>,
    /// The same of the account.
    account: Option<String>,
    /// How it is invoked.
    pub(super) invocation: InvocationType,
    /// Whether the answer is to come piece by piece.
    pub(super) is_streamed: bool,
    /// Whether the client wants the log's tail.
    pub(super) wants_log: bool,
    /// What is said to whoever names a function of another region or account; none of them is here.
    pub(super) elsewhere: Option<InvokeError>,
}

/// Whether a path belongs to Lambda's API; no function's traffic begins like this, for its address has a colon.
pub(super) fn is_lambda(path: &str) -> bool {
    path.starts_with(PREFIX) || path.starts_with(STREAMING_PREFIX)
}

impl Call {
    /// Reads a request's head; faults come in the order AWS reports them, constraints first.
    pub(super) fn read(
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        place: &Place,
    ) -> Result<Call, InvokeError> {
        let whole = (PREFIX, "/invocations", false);
        let streamed = (STREAMING_PREFIX, "/response-streaming-invocations", true);
        let (segment, is_streamed) = [whole, streamed]
            .into_iter()
            .find_map(|(prefix, suffix, is_streamed)| {
                let path = uri.path().strip_prefix(prefix)?.strip_prefix("functions/")?;
                Some((path.strip_suffix(suffix)?, is_streamed))
            })
            .filter(|(segment, _)| !segment.contains('/') && *method == Method::POST)
            .ok_or(InvokeError::UnknownOperation)?;
        let text = percent_decode_str(segment).decode_utf8_lossy();
        let called = (text.chars().count() <= NAME_CHARS_MAX).then(|| Called::read(&text)).flatten();
        let called = called.ok_or_else(|| {
            let constraint = if text.chars().count() > NAME_CHARS_MAX {
                format!("Member must have length less than or equal to {NAME_CHARS_MAX}")
            } else {
                FUNCTION_PATTERN.to_owned()
            };
            InvokeError::Validation { value: text.clone().into_owned(), member: "functionName", constraint }
        })?;
        let parameters = Parameters::read(uri.query()).and_then(|read| read.without_repeats(&[]));
        let parameters = parameters.map_err(|why| InvokeError::InvalidParameterValue(why.to_string()))?;
        let given = parameters.get("Qualifier").map(str::to_owned);
        if let Some(given) = &given {
            check_qualifier(given)?;
        }
        let wants_log = match header(headers, &LOG_TYPE)? {
            None | Some("None") => false,
            Some("Tail") => true,
            Some(other) => return Err(not_in_enum(other, "logType", "[None, Tail]")),
        };
        let invocation = match header(headers, &INVOCATION_TYPE)? {
            None | Some("RequestResponse") => InvocationType::RequestResponse,
            Some("DryRun") => InvocationType::DryRun,
            Some("Event") if !is_streamed => InvocationType::Event,
            Some(other) if is_streamed => {
                return Err(not_in_enum(other, "invocationType", "[RequestResponse, DryRun]"));
            }
            Some(other) => {
                return Err(not_in_enum(other, "invocationType", "[Event, RequestResponse, DryRun]"));
            }
        };
        if !FunctionName::is_one(called.name) {
            // No function here can be called so.
            let region = called.region.unwrap_or(&place.region).to_owned();
            let place = Place { region, account: place.account.clone() };
            let qualifier = called.qualifier.or(given.as_deref()).unwrap_or(LATEST);
            return Err(InvokeError::FunctionNotFound(place.qualified_arn(called.name, qualifier)));
        }
        let qualifier = one_qualifier(called.qualifier, given.as_deref())
            .map_err(|why| InvokeError::InvalidParameterValue(why.to_string()))?;
        let claimed = claimed_scope(uri, headers).map(|scope| scope.region);
        let asked = claimed.as_deref().unwrap_or(&place.region);
        let elsewhere = match (called.region, called.account) {
            (Some(region), _) if region != asked => {
                Some(InvokeError::OtherRegion { named: region.to_owned(), asked: asked.to_owned() })
            }
            (_, Some(account)) if account != place.account => Some(InvokeError::OtherAccount),
            _ => None,
        };
        Ok(Call {
            key: [called.name, ":", qualifier.unwrap_or(LATEST)].concat(),
            name_bytes: called.name.len(),
            is_qualified: qualifier.is_some(),
            region: called.region.map(str::to_owned).or(claimed),
            account: called.account.map(str::to_owned),
            invocation,
            is_streamed,
            wants_log,
            elsewhere,
        })
    }

    /// The bare function.
    pub(super) fn function(&self) -> FunctionName {
        self.name().parse().expect("it was looked at when the call was read")
    }

    /// The qualifier, where the client says one.
    pub(super) fn qualifier(&self) -> Option<&str> {
        self.is_qualified.then(|| self.said_or_meant())
    }

    /// The ARN of what was asked for, which is made for those few who want it; what the client does not say of its place
    /// is as in `own`.
    pub(super) fn arn(&self, own: &Place) -> String {
        self.place(own).qualified_arn(self.name(), self.said_or_meant())
    }

    /// The ARN as the client asked for it: without a qualifier where it said none.
    pub(super) fn asked_arn(&self, own: &Place) -> String {
        if self.is_qualified { self.arn(own) } else { self.place(own).function_arn(self.name()) }
    }

    fn name(&self) -> &str {
        &self.key[..self.name_bytes]
    }

    /// The qualifier, `$LATEST` where the client says none.
    fn said_or_meant(&self) -> &str {
        &self.key[self.name_bytes + 1..]
    }

    fn place(&self, own: &Place) -> Place {
        Place {
            region: self.region.as_ref().unwrap_or(&own.region).clone(),
            account: self.account.as_ref().unwrap_or(&own.account).clone(),
        }
    }
}

/// Holds a qualifier to its constraints.
fn check_qualifier(text: &str) -> Result<(), InvokeError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_$".contains(&byte);
    let constraint = match text.len() {
        0 => "Member must have length greater than or equal to 1".to_owned(),
        129.. => "Member must have length less than or equal to 128".to_owned(),
        _ if text == "$LATEST.PUBLISHED" || text.bytes().all(plain) => return Ok(()),
        _ => QUALIFIER_PATTERN.to_owned(),
    };
    Err(InvokeError::Validation { value: text.to_owned(), member: "qualifier", constraint })
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, InvokeError> {
    let value = first(headers, name).map(|value| value.to_str());
    value.transpose().map_err(|_| {
        InvokeError::InvalidParameterValue(format!("the header {name} holds more than visible ASCII"))
    })
}

fn not_in_enum(value: &str, member: &'static str, set: &str) -> InvokeError {
    InvokeError::Validation {
        value: value.to_owned(),
        member,
        constraint: format!("Member must satisfy enum value set: {set}"),
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn read(target: &str, headers: &[(&'static str, &str)]) -> Result<Call, InvokeError> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::try_from(*value).unwrap());
        }
        Call::read(&Method::POST, &target.parse().unwrap(), &map, &own())
    }

    fn own() -> Place {
        Place { region: "us-east-1".to_owned(), account: Place::ACCOUNT.to_owned() }
    }

    fn key(target: &str) -> Result<String, InvokeError> {
        read(target, &[]).map(|call| call.key)
    }

    #[test]
    fn functions_are_named_in_every_way_clients_do() {
        for (target, expected) in [
            ("/2015-03-31/functions/f/invocations", "f:$LATEST"),
            ("/2015-03-31/functions/f%3Alive/invocations", "f:live"),
            ("/2015-03-31/functions/f:7/invocations", "f:7"),
            ("/2015-03-31/functions/f%3A%24LATEST/invocations", "f:$LATEST"),
            ("/2015-03-31/functions/f/invocations?Qualifier=live", "f:live"),
            ("/2015-03-31/functions/f/invocations?x=1&Qualifier=%24LATEST", "f:$LATEST"),
            ("/2015-03-31/functions/f:live/invocations?Qualifier=live", "f:live"),
            ("/2015-03-31/functions/000000000000%3Afunction%3Af%3Alive/invocations", "f:live"),
            (
                "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Af%3A3/invocations",
                "f:3",
            ),
            ("/2015-03-31/functions/f/invocations?%51ualifier=live", "f:live"),
            ("/2015-03-31/functions/f:live/invocations?Qu%61lifier=%6cive", "f:live"),
        ] {
            assert_eq!(key(target).as_deref(), Ok(expected), "{target}");
            let call = read(target, &[]).unwrap();
            assert_eq!(call.function().as_str(), "f", "{target}");
            let said = expected.strip_prefix("f:").filter(|_| !target.ends_with("/f/invocations"));
            assert_eq!(call.qualifier(), said, "{target}");
            let qualifier = said.map_or(String::new(), |said| format!(":{said}"));
            let arn = format!("arn:aws:lambda:us-east-1:000000000000:function:f{qualifier}");
            assert_eq!(call.asked_arn(&own()), arn, "{target}");
        }
    }

    #[test]
    fn arns_name_the_place_the_client_speaks_of() {
        let scope =
            "AWS4-HMAC-SHA256 Credential=AKID/20260101/eu-north-1/lambda/aws4_request, SignedHeaders=host";
        let arn = |target, headers: &[_]| read(target, headers).unwrap().arn(&own());
        let plain = "/2015-03-31/functions/f/invocations";
        assert_eq!(arn(plain, &[]), "arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST");
        assert_eq!(
            arn(plain, &[("authorization", scope)]),
            "arn:aws:lambda:eu-north-1:000000000000:function:f:$LATEST"
        );
        for forged in ["Bearer x", "Credential=a/b", "Credential=a/b/<region>/lambda", ""] {
            assert!(arn(plain, &[("authorization", forged)]).contains("us-east-1"), "{forged}");
        }
    }

    #[test]
    fn functions_of_another_account_or_region_are_not_here() {
        let scope =
            "AWS4-HMAC-SHA256 Credential=AKID/20260101/eu-west-1/lambda/aws4_request, SignedHeaders=host";
        let elsewhere = |name: &str, headers: &[_]| {
            let call = read(&format!("/2015-03-31/functions/{name}/invocations"), headers).unwrap();
            call.elsewhere
        };
        let region = |named: &str, asked: &str| {
            Some(InvokeError::OtherRegion { named: named.to_owned(), asked: asked.to_owned() })
        };
        let signed = [("authorization", scope)];
        let arn = "arn:aws:lambda:eu-west-1:000000000000:function:f";
        assert_eq!((elsewhere(arn, &signed), elsewhere("f", &signed)), (None, None));
        assert_eq!(elsewhere("000000000000:function:f", &signed), None);
        assert_eq!(elsewhere(arn, &[]), region("eu-west-1", "us-east-1"));
        assert_eq!(
            elsewhere(&arn.replace("eu-west-1", "us-east-1"), &signed),
            region("us-east-1", "eu-west-1")
        );
        for name in ["111111111111:function:f", "arn:aws:lambda:eu-west-1:111111111111:function:f:live"] {
            assert_eq!(elsewhere(name, &signed), Some(InvokeError::OtherAccount), "{name}");
        }
        let body = InvokeError::OtherAccount.response().into_body();
        assert_eq!(body, "{\"Message\":null}");
    }

    #[test]
    fn a_qualifier_that_stands_twice_is_refused_however_it_is_written() {
        for query in [
            "Qualifier=live&Qualifier=beta",
            "%51ualifier=prod&Qualifier=live",
            "Qualifier=live&Qualifier=live",
        ] {
            let refused = key(&format!("/2015-03-31/functions/f/invocations?{query}")).unwrap_err();
            let text = "the query names Qualifier more than once".to_owned();
            assert_eq!(refused, InvokeError::InvalidParameterValue(text), "{query}");
        }
    }

    #[test]
    fn faults_are_worded_as_aws_words_them() {
        let conflict = key("/2015-03-31/functions/f:live/invocations?Qualifier=beta").unwrap_err();
        assert_eq!(
            conflict,
            InvokeError::InvalidParameterValue(
                "The derived qualifier from the function name does not match the specified qualifier.".into()
            )
        );
        for target in [
            "/2015-03-31/functions/a%20b/invocations",
            "/2015-03-31/functions/f:/invocations",
            "/2015-03-31/functions/f:li.ve/invocations",
            "/2015-03-31/functions/f/invocations?Qualifier=",
            "/2015-03-31/functions/f/invocations?Qualifier=a%2Fb",
            "/2015-03-31/functions/%ff/invocations",
        ] {
            assert!(matches!(key(target), Err(InvokeError::Validation { .. })), "{target}");
        }
        for target in [
            "/2015-03-31/functions/f",
            "/2015-03-31/functions/f/configuration",
            "/2015-03-31/functions/a/b/invocations",
            "/2015-03-31/layers",
        ] {
            assert_eq!(key(target), Err(InvokeError::UnknownOperation), "{target}");
        }
    }

    #[test]
    fn kinds_of_invocation() {
        let plain = "/2015-03-31/functions/f/invocations";
        let invoke = |kind| read(plain, &[("x-amz-invocation-type", kind)]);
        assert_eq!(invoke("DryRun").unwrap().invocation, InvocationType::DryRun);
        assert_eq!(invoke("Event").unwrap().invocation, InvocationType::Event);
        assert!(matches!(invoke("Later"), Err(InvokeError::Validation { .. })));
        assert!(read(plain, &[("x-amz-log-type", "Tail")]).unwrap().wants_log);
        assert!(matches!(read(plain, &[("x-amz-log-type", "All")]), Err(InvokeError::Validation { .. })));
    }
}
