//! Reads what an Invoke asks for: which function, by which qualifier, and how.

use hyper::header::HeaderMap;
use hyper::{Method, Uri};
use percent_encoding::percent_decode_str;

use super::invoke_error::InvokeError;
use crate::access::claimed_scope;
use crate::access::parameters::Parameters;
use crate::domain::arn::{Called, FunctionName, FunctionRef, Place};

const PREFIX: &str = "/2015-03-31/";
const STREAMING_PREFIX: &str = "/2021-11-15/";
/// What is meant where the client says no qualifier.
const LATEST: &str = "$LATEST";
/// The longest text that names a function.
const NAME_CHARS_MAX: usize = 256;
const FUNCTION_PATTERN: &str = r"Member must satisfy regular expression pattern: (arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?([a-zA-Z0-9-_\.]+)(:(\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9-_]+))?";
const QUALIFIER_PATTERN: &str =
    r"Member must satisfy regular expression pattern: \$(LATEST(\.PUBLISHED)?)|[a-zA-Z0-9-_$]+";

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
    /// The bare function.
    pub(super) function: FunctionName,
    /// The qualifier, where the client says one.
    pub(super) qualifier: Option<String>,
    /// The place the client speaks of.
    pub(super) place: Place,
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
        let wants_log = match header(headers, "x-amz-log-type")? {
            None | Some("None") => false,
            Some("Tail") => true,
            Some(other) => return Err(not_in_enum(other, "logType", "[None, Tail]")),
        };
        let invocation = match header(headers, "x-amz-invocation-type")? {
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
        let function = FunctionRef::try_from(called).map_err(|_| {
            // No function here can be called so.
            let region = called.region.unwrap_or(&place.region).to_owned();
            let place = Place { region, account: place.account.clone() };
            let qualifier = called.qualifier.or(given.as_deref()).unwrap_or(LATEST);
            InvokeError::FunctionNotFound(place.qualified_arn(called.name, qualifier))
        })?;
        let function = function
            .with_qualifier(given.as_deref())
            .map_err(|why| InvokeError::InvalidParameterValue(why.to_string()))?;
        let qualifier = function.qualifier;
        let asked = claimed_scope(uri, headers).map_or_else(|| place.region.clone(), |scope| scope.region);
        let elsewhere = match (&function.region, &function.account) {
            (Some(region), _) if *region != asked => {
                Some(InvokeError::OtherRegion { named: region.clone(), asked: asked.clone() })
            }
            (_, Some(account)) if *account != place.account => Some(InvokeError::OtherAccount),
            _ => None,
        };
        let place = Place {
            region: function.region.unwrap_or(asked),
            account: function.account.unwrap_or_else(|| place.account.clone()),
        };
        let key = [function.name.as_str(), ":", qualifier.as_deref().unwrap_or(LATEST)].concat();
        Ok(Call {
            key,
            place,
            qualifier,
            function: function.name,
            invocation,
            is_streamed,
            wants_log,
            elsewhere,
        })
    }
}

impl Call {
    /// The ARN of what was asked for, which is made for those few who want it.
    pub(super) fn arn(&self) -> String {
        self.place.qualified_arn(self.function.as_str(), self.qualifier.as_deref().unwrap_or(LATEST))
    }

    /// The ARN as the client asked for it: without a qualifier where it said none.
    pub(super) fn asked_arn(&self) -> String {
        match &self.qualifier {
            Some(qualifier) => self.place.qualified_arn(self.function.as_str(), qualifier),
            None => self.place.function_arn(self.function.as_str()),
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

fn header<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, InvokeError> {
    let value = headers.get(name).map(|value| value.to_str());
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
        let place = Place { region: "us-east-1".to_owned(), account: Place::ACCOUNT.to_owned() };
        Call::read(&Method::POST, &target.parse().unwrap(), &map, &place)
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
        }
    }

    #[test]
    fn arns_name_the_place_the_client_speaks_of() {
        let scope =
            "AWS4-HMAC-SHA256 Credential=AKID/20260101/eu-north-1/lambda/aws4_request, SignedHeaders=host";
        let arn = |target, headers: &[_]| read(target, headers).unwrap().arn();
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
