//! Names as AWS Lambda writes them: functions, aliases, versions, qualifiers and ARNs.
//!
//! A value of these types is well-formed by construction. Region and account are no part of what serin stores: they
//! belong to the request, so ARNs are put together at the edge.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not a name of the kind asked for; the constraint in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(pub &'static str);

fn is_name_text(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<$name, NameError> {
                text.parse()
            }
        }
    };
}

name_type! {
    /// A function's bare name: 1 to 64 letters, digits, hyphens and underscores.
    FunctionName
}

impl FunctionName {
    /// Whether a text is one.
    pub fn is_one(text: &str) -> bool {
        is_name_text(text) && text.len() <= 64
    }
}

impl FromStr for FunctionName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<FunctionName, NameError> {
        if FunctionName::is_one(text) {
            Ok(FunctionName(text.to_owned()))
        } else {
            Err(NameError("a function name is 1 to 64 letters, digits, hyphens and underscores"))
        }
    }
}

name_type! {
    /// An alias's name: 1 to 128 letters, digits, hyphens and underscores, not digits alone.
    AliasName
}

impl FromStr for AliasName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<AliasName, NameError> {
        if is_name_text(text) && text.len() <= 128 && !text.bytes().all(|byte| byte.is_ascii_digit()) {
            Ok(AliasName(text.to_owned()))
        } else {
            Err(NameError(
                "an alias name is 1 to 128 letters, digits, hyphens and underscores, and not digits alone",
            ))
        }
    }
}

/// The number of a published version, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VersionNumber(pub u64);

impl fmt::Display for VersionNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Reads plain digits without a leading zero, as AWS writes versions.
impl FromStr for VersionNumber {
    type Err = NameError;

    fn from_str(text: &str) -> Result<VersionNumber, NameError> {
        let plain =
            !text.is_empty() && !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(number) if plain => Ok(VersionNumber(number)),
            _ => {
                Err(NameError("a version is a whole number from 1, as `serin function versions` lists them"))
            }
        }
    }
}

/// A version in the widest sense: a published one, or the unpublished `$LATEST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum VersionId {
    /// `$LATEST`, what was published or updated last.
    Latest,
    /// A published, immutable version.
    Number(VersionNumber),
}

impl VersionId {
    /// The number, unless it is `$LATEST`.
    pub fn number(self) -> Option<VersionNumber> {
        match self {
            VersionId::Latest => None,
            VersionId::Number(number) => Some(number),
        }
    }
}

impl From<VersionNumber> for VersionId {
    fn from(number: VersionNumber) -> VersionId {
        VersionId::Number(number)
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VersionId::Latest => f.pad("$LATEST"),
            VersionId::Number(number) => fmt::Display::fmt(number, f),
        }
    }
}

impl FromStr for VersionId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<VersionId, NameError> {
        if text == "$LATEST" { Ok(VersionId::Latest) } else { text.parse().map(VersionId::Number) }
    }
}

impl From<VersionId> for String {
    fn from(version: VersionId) -> String {
        version.to_string()
    }
}

impl TryFrom<String> for VersionId {
    type Error = NameError;

    fn try_from(text: String) -> Result<VersionId, NameError> {
        text.parse()
    }
}

/// What follows the function's name: an alias or a version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Qualifier {
    /// An alias.
    Alias(AliasName),
    /// A version, or `$LATEST`.
    Version(VersionId),
}

impl fmt::Display for Qualifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Qualifier::Alias(alias) => fmt::Display::fmt(alias, f),
            Qualifier::Version(version) => fmt::Display::fmt(version, f),
        }
    }
}

/// Reads digits as a version, `$LATEST`, and everything else as an alias.
impl FromStr for Qualifier {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Qualifier, NameError> {
        if text.starts_with('$') || text.bytes().all(|byte| byte.is_ascii_digit()) {
            text.parse().map(Qualifier::Version)
        } else {
            text.parse().map(Qualifier::Alias)
        }
    }
}

/// An alias of a function: what a rollout moves, written `function:alias`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AliasId {
    /// The function.
    pub function: FunctionName,
    /// Its alias.
    pub alias: AliasName,
}

impl fmt::Display for AliasId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}:{}", self.function, self.alias))
    }
}

impl FromStr for AliasId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<AliasId, NameError> {
        let (function, alias) = text.split_once(':').ok_or(NameError("an alias is named function:alias"))?;
        Ok(AliasId { function: function.parse()?, alias: alias.parse()? })
    }
}

impl From<AliasId> for String {
    fn from(id: AliasId) -> String {
        id.to_string()
    }
}

impl TryFrom<String> for AliasId {
    type Error = NameError;

    fn try_from(text: String) -> Result<AliasId, NameError> {
        text.parse()
    }
}

/// Where an ARN lives: the region and the account of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// AWS region, such as `us-east-1`.
    pub region: String,
    /// Twelve digits.
    pub account: String,
}

/// The first letters of regions that are not of the partition `aws`.
const PARTITIONS: [(&str, &str); 7] = [
    ("cn-", "aws-cn"),
    ("us-gov-", "aws-us-gov"),
    ("us-iso-", "aws-iso"),
    ("us-isob-", "aws-iso-b"),
    ("eu-isoe-", "aws-iso-e"),
    ("us-isof-", "aws-iso-f"),
    ("eusc-", "aws-eusc"),
];

impl Place {
    /// The account serin answers for unless configured otherwise.
    pub const ACCOUNT: &str = "000000000000";
    /// The region when neither the configuration nor a signature names one.
    pub const REGION: &str = "us-east-1";

    /// The unqualified function ARN.
    pub fn function_arn(&self, function: &str) -> String {
        let Place { region, account } = self;
        format!("arn:{}:lambda:{region}:{account}:function:{function}", self.partition())
    }

    /// The ARN of an event source mapping.
    pub fn event_source_arn(&self, id: impl fmt::Display) -> String {
        let Place { region, account } = self;
        format!("arn:{}:lambda:{region}:{account}:event-source-mapping:{id}", self.partition())
    }

    /// What ARNs of the region begin with: `aws`, and another word where AWS is run apart.
    pub fn partition(&self) -> &'static str {
        PARTITIONS.iter().find(|(prefix, _)| self.region.starts_with(prefix)).map_or("aws", |(_, name)| name)
    }

    /// The ARN of a version or an alias.
    pub fn qualified_arn(&self, function: &str, qualifier: impl fmt::Display) -> String {
        format!("{}:{qualifier}", self.function_arn(function))
    }
}

/// What a Lambda request calls a function: a name, `name:qualifier`, a partial ARN or a full ARN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionRef {
    /// The bare name.
    pub name: FunctionName,
    /// What follows it, as text: operations disagree about what is a faulty qualifier.
    pub qualifier: Option<String>,
    /// The account, where an ARN names one.
    pub account: Option<String>,
    /// The region, where a full ARN names one.
    pub region: Option<String>,
}

impl FunctionRef {
    /// The same with the version or alias that is given apart from the name; two different ones are none.
    pub fn with_qualifier(mut self, given: Option<&str>) -> Result<FunctionRef, NameError> {
        let one = one_qualifier(self.qualifier.as_deref(), given)?.map(str::to_owned);
        self.qualifier = one;
        Ok(self)
    }
}

/// The version or alias that a name has or that is given apart from it; two different ones are none.
pub fn one_qualifier<'a>(
    derived: Option<&'a str>,
    given: Option<&'a str>,
) -> Result<Option<&'a str>, NameError> {
    match (derived, given) {
        (Some(derived), Some(given)) if derived != given => Err(NameError(
            "The derived qualifier from the function name does not match the specified qualifier.",
        )),
        _ => Ok(derived.or(given)),
    }
}

/// The parts of the longest: a qualified ARN.
const PARTS_MAX: usize = 8;

/// A text that has the form of a function's name, as AWS's pattern has it; there may be none that is called so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Called<'a> {
    /// The name: letters, digits, hyphens, underscores and full stops.
    pub name: &'a str,
    /// What follows it.
    pub qualifier: Option<&'a str>,
    /// The account, where the text names one.
    pub account: Option<&'a str>,
    /// The region, where the text names one.
    pub region: Option<&'a str>,
}

impl<'a> Called<'a> {
    /// Reads a text by AWS's pattern, every part of which but the name may be missing:
    /// `(arn:aws:lambda:)?(region:)?(account:)?(function:)?name(:qualifier)?`.
    pub fn read(text: &'a str) -> Option<Called<'a>> {
        let (mut all, mut count) = ([""; PARTS_MAX], 0);
        for part in text.split(':') {
            *all.get_mut(count)? = part;
            count += 1;
        }
        let mut parts = &all[..count];
        if let ["arn", partition, "lambda", rest @ ..] = parts
            && is_partition(partition)
        {
            parts = rest;
        }
        let mut part = |is_one: fn(&str) -> bool| match parts {
            // The last part is the name, whatever it looks like.
            [first, rest @ ..] if !rest.is_empty() && is_one(first) => {
                parts = rest;
                Some(*first)
            }
            _ => None,
        };
        let region = part(is_region);
        let account = part(is_account);
        part(|text| text == "function");
        let (name, qualifier) = match parts {
            [name] => (*name, None),
            [name, qualifier] => (*name, Some(*qualifier)),
            _ => return None,
        };
        let is_name = !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        let is_qualifier = |text: &str| matches!(text, "$LATEST" | "$LATEST.PUBLISHED") || is_name_text(text);
        (is_name && qualifier.is_none_or(is_qualifier)).then_some(Called { name, qualifier, account, region })
    }
}

fn is_partition(text: &str) -> bool {
    let is_plain = |rest: &str| rest.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-');
    text.is_empty() || text.strip_prefix("aws").is_some_and(is_plain)
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `us-east-1`, `us-gov-west-1`, `us-isob-east-1`, `eusc-de-east-1`.
fn is_region(text: &str) -> bool {
    let text = text.strip_prefix("eusc-").unwrap_or(text);
    let is_word = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase());
    let is_digit = |text: &str| text.len() == 1 && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_isolated = |text: &str| text.strip_prefix("iso").is_some_and(|rest| rest.len() < 2);
    let mut words = text.split('-');
    match std::array::from_fn(|_| words.next()) {
        [Some(country), Some(direction), Some(number), None, None] => {
            country.len() == 2 && is_word(country) && is_word(direction) && is_digit(number)
        }
        [Some(country), Some(kind), Some(direction), Some(number), None] => {
            country.len() == 2
                && (kind == "gov" || is_isolated(kind))
                && is_word(country)
                && is_word(kind)
                && is_word(direction)
                && is_digit(number)
        }
        _ => false,
    }
}

/// Reads a decoded `{F}` path segment.
impl FromStr for FunctionRef {
    type Err = NameError;

    fn from_str(text: &str) -> Result<FunctionRef, NameError> {
        let called = Called::read(text)
            .ok_or(NameError("a function is named by name, name:qualifier, partial ARN or full ARN"))?;
        FunctionRef::try_from(called)
    }
}

/// Fails for a name that no function here can have.
impl TryFrom<Called<'_>> for FunctionRef {
    type Error = NameError;

    fn try_from(called: Called<'_>) -> Result<FunctionRef, NameError> {
        Ok(FunctionRef {
            name: called.name.parse()?,
            qualifier: called.qualifier.map(str::to_owned),
            account: called.account.map(str::to_owned),
            region: called.region.map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_named_in_four_ways() {
        for (text, qualifier, account) in [
            ("f", None, None),
            ("f:live", Some("live"), None),
            ("123456789012:function:f", None, Some("123456789012")),
            ("123456789012:function:f:7", Some("7"), Some("123456789012")),
            (
                "arn:aws:lambda:eu-west-1:123456789012:function:f:$LATEST",
                Some("$LATEST"),
                Some("123456789012"),
            ),
        ] {
            let read: FunctionRef = text.parse().unwrap();
            assert_eq!(
                (read.name.as_str(), read.qualifier.as_deref(), read.account.as_deref()),
                ("f", qualifier, account)
            );
        }
        for text in [
            "",
            "f:",
            ":live",
            "f:live:x",
            "f:$LATES",
            "a b",
            "a.b",
            "arn:aws:lambda:eu:1:function:f",
            "arn:aws:lambda:invalid-region:123456789012:function:f",
            "arn:aws:s3:::bucket",
            "f/g",
        ] {
            assert!(text.parse::<FunctionRef>().is_err(), "{text}");
        }
        // What ends early is a name all the same, as AWS reads it.
        let early = Called::read("arn:aws:lambda:us-east-1:123456789012:function").unwrap();
        assert_eq!((early.name, early.account), ("function", Some("123456789012")));
        assert_eq!(Called::read("a.b:$LATEST.PUBLISHED").map(|called| called.name), Some("a.b"));
    }

    #[test]
    fn regions_have_partitions() {
        for (region, partition) in [
            ("us-east-1", "aws"),
            ("eu-central-1", "aws"),
            ("cn-northwest-1", "aws-cn"),
            ("us-gov-west-1", "aws-us-gov"),
            ("us-isob-east-1", "aws-iso-b"),
            ("us-iso-east-1", "aws-iso"),
            ("eusc-de-east-1", "aws-eusc"),
        ] {
            assert!(is_region(region), "{region}");
            let place = Place { region: region.to_owned(), account: Place::ACCOUNT.to_owned() };
            assert_eq!(
                place.function_arn("f"),
                format!("arn:{partition}:lambda:{region}:000000000000:function:f")
            );
        }
        for text in ["invalid-region", "us-east-12", "us--1", "usa-east-1", "us-gov-1-1", "eusc-1"] {
            assert!(!is_region(text), "{text}");
        }
    }

    #[test]
    fn qualifiers_tell_versions_from_aliases() {
        assert_eq!(
            "7".parse::<Qualifier>().unwrap(),
            Qualifier::Version(VersionId::Number(VersionNumber(7)))
        );
        assert_eq!("$LATEST".parse::<Qualifier>().unwrap(), Qualifier::Version(VersionId::Latest));
        assert_eq!("2024-01-02".parse::<Qualifier>().unwrap().to_string(), "2024-01-02");
        for text in ["", "007", "$NEWEST", "a.b", "99999999999999999999999"] {
            assert!(text.parse::<Qualifier>().is_err(), "{text}");
        }
    }
}
