//! Who asks: bearer tokens and AWS signatures, and the principals of the configuration they belong to.
//!
//! Both listeners ask here, and nowhere else is a secret compared. What somebody may do once they are known is
//! `serin_core::lambda::policy`'s business; how a refusal is worded on the wire is each listener's.

mod file;
pub mod page;
pub mod parameters;
mod reread;
mod seal;
mod signature;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use aws_credential_types::Credentials;
use hyper::header::{self, HeaderMap};
use hyper::{Method, Uri};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

pub use file::AccessError;
pub use reread::{AccessControl, Watching};
pub use seal::Seal;
pub use signature::{Scope, claimed_scope};

use serin_core::lambda::policy::Principal;
use serin_core::model::time::Timestamp;

/// For which resource a service calls.
const SOURCE_ARN: &str = "x-amz-source-arn";
/// In whose account that resource is.
const SOURCE_ACCOUNT: &str = "x-amz-source-account";

/// Somebody whom serin knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// As the journal calls them: a token's name, or a principal's ARN or service.
    pub name: String,
    /// As policies name them; the holder of a token of SERIN_TOKEN is in none.
    pub principal: Option<Principal>,
    /// Whether they may do anything.
    pub is_owner: bool,
}

/// Who sent one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// The somebody.
    pub known: Arc<Known>,
    /// The resource a service says it calls for.
    pub source_arn: Option<String>,
    /// The account of that resource.
    pub source_account: Option<String>,
}

/// A request whose sender is asked for.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its target, as it was sent.
    pub uri: &'a Uri,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// What its body hashes to.
    pub body: BodyHash<'a>,
    /// What AWS calls the service asked, as signatures name it: `lambda`.
    pub service: &'a str,
}

/// The SHA-256 of a body, which only signatures want.
#[derive(Clone, Copy)]
pub enum BodyHash<'a> {
    /// It is this one's, if it is wanted.
    Of(&'a [u8]),
    /// It was taken as the body came.
    Known([u8; 32]),
}

impl BodyHash<'_> {
    fn sha256(&self) -> [u8; 32] {
        match self {
            BodyHash::Of(body) => Sha256::digest(body).into(),
            BodyHash::Known(hash) => *hash,
        }
    }
}

/// Why nobody is known by a request; the texts are AWS's, where AWS has one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// There is neither a signature nor a token.
    #[error("Missing Authentication Token")]
    Nobody,
    /// The access key, session token or bearer token belongs to nobody.
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
    /// The signature lacks a part.
    #[error("{0}")]
    Incomplete(String),
    /// The signature is another, of another time or of another service.
    #[error("{0}")]
    WrongSignature(String),
}

impl AuthError {
    /// The exception's name on AWS.
    pub fn type_name(&self) -> &'static str {
        match self {
            AuthError::Nobody => "MissingAuthenticationTokenException",
            AuthError::UnknownKey => "UnrecognizedClientException",
            AuthError::Incomplete(_) => "IncompleteSignatureException",
            AuthError::WrongSignature(_) => "InvalidSignatureException",
        }
    }
}

/// A bearer token's hash and its holder; the text itself is not kept.
#[derive(Clone)]
struct Token {
    digest: [u8; 32],
    holder: Arc<Known>,
}

impl Token {
    fn new(text: &str, holder: Arc<Known>) -> Token {
        Token { digest: Sha256::digest(text.as_bytes()).into(), holder }
    }
}

/// An access key's secret, which shows itself to nobody, and its holder.
#[derive(Clone)]
struct AccessKey {
    credentials: Credentials,
    holder: Arc<Known>,
}

/// Everybody whom serin knows.
#[derive(Clone, Default)]
pub struct Access {
    tokens: Vec<Token>,
    keys: HashMap<String, AccessKey>,
    has_principals: bool,
    /// The files that secrets are in, beside that of the principals.
    secret_files: Vec<PathBuf>,
}

impl Access {
    /// Reads SERIN_TOKEN: one secret, or several as `name:secret` separated by commas.
    ///
    /// The whole of an entry is what a client sends; a secret without a name belongs to `operator`. One that is too short
    /// is refused.
    pub fn from_setting(setting: Option<&str>) -> Result<Access, AccessError> {
        let entries = setting.unwrap_or_default().split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let token = |entry: &str| {
            let (name, secret) = entry.split_once(':').unwrap_or(("operator", entry));
            file::check_token(name, secret)?;
            let known = Known { name: name.to_owned(), principal: None, is_owner: true };
            Ok(Token::new(entry, Arc::new(known)))
        };
        Ok(Access { tokens: entries.map(token).collect::<Result<_, _>>()?, ..Access::default() })
    }

    /// Whether everything wants to know who asks.
    pub fn wants_credentials(&self) -> bool {
        !self.tokens.is_empty() || self.has_principals
    }

    /// Whether there are principals, so that policies decide what others than the owner may.
    pub fn has_principals(&self) -> bool {
        self.has_principals
    }

    /// How many principals may do anything, and how many what policies allow.
    pub fn principals(&self) -> (usize, usize) {
        let mut known: Vec<&Known> = Vec::new();
        let holders = self.tokens.iter().map(|token| &token.holder);
        for holder in holders.chain(self.keys.values().map(|key| &key.holder)) {
            if holder.principal.is_some() && !known.iter().any(|other| other.name == holder.name) {
                known.push(holder);
            }
        }
        let owners = known.iter().filter(|known| known.is_owner).count();
        (owners, known.len() - owners)
    }

    /// The holder of a bearer token.
    pub fn holder(&self, bearer: &str) -> Option<&Arc<Known>> {
        let digest: [u8; 32] = Sha256::digest(bearer.as_bytes()).into();
        // Every token is compared, so that the time taken says nothing about which one is near.
        let mut found = None;
        for token in &self.tokens {
            if bool::from(token.digest.ct_eq(&digest)) {
                found = Some(&token.holder);
            }
        }
        found
    }

    /// Who sent a request, as far as its head alone tells: the holder of a token, or `None` for a signature by a key that
    /// is known, which only the whole request shows to be right.
    pub fn introduced(&self, asked: &Asked<'_>) -> Result<Option<Who>, AuthError> {
        match signature::Claim::read(asked)? {
            Some(claim) if self.keys.contains_key(&claim.scope.key_id) => Ok(None),
            Some(_) => Err(AuthError::UnknownKey),
            None => self.bearer_of(asked).map(Some),
        }
    }

    fn bearer_of(&self, asked: &Asked<'_>) -> Result<Who, AuthError> {
        let bearer = bearer(asked.headers).ok_or(AuthError::Nobody)?;
        let holder = self.holder(bearer).ok_or(AuthError::UnknownKey)?;
        Ok(Who::new(holder, asked.headers, |_| true))
    }

    /// Whether an owner who was let in `before` would be today: by the same token, or by a key with the same secret.
    pub fn still_lets_in(&self, before: &Access, asked: &Asked<'_>) -> bool {
        if !self.wants_credentials() {
            return true;
        }
        let Ok(Some(claim)) = signature::Claim::read(asked) else {
            return self.bearer_of(asked).is_ok_and(|who| who.known.is_owner);
        };
        let key = |access: &Access| access.keys.get(&claim.scope.key_id).cloned();
        let secret = |key: &AccessKey| key.credentials.secret_access_key().to_owned();
        match (key(before), key(self)) {
            (Some(before), Some(now)) => now.holder.is_owner && secret(&before) == secret(&now),
            (Some(_) | None, Some(_) | None) => false,
        }
    }

    /// Who sent a request at this time.
    ///
    /// A signature is believed for five minutes before and after it was made, as by AWS, and within them as often as
    /// it comes.
    pub fn who(&self, asked: &Asked<'_>, now: Timestamp) -> Result<Who, AuthError> {
        let Some(claim) = signature::Claim::read(asked)? else { return self.bearer_of(asked) };
        let key = self.keys.get(&claim.scope.key_id).ok_or(AuthError::UnknownKey)?;
        claim.verify(asked, &key.credentials, now)?;
        Ok(Who::new(&key.holder, asked.headers, |header| claim.covers(header)))
    }
}

impl Who {
    /// Only a service may say for which resource it calls, and a signature must cover what it says.
    fn new(known: &Arc<Known>, headers: &HeaderMap, is_covered: impl Fn(&str) -> bool) -> Who {
        let is_service = known.principal.as_ref().is_some_and(Principal::is_service);
        let claim = |name: &str| {
            let value = headers.get(name).filter(|_| is_service && is_covered(name))?;
            value.to_str().ok().map(str::to_owned)
        };
        Who { source_arn: claim(SOURCE_ARN), source_account: claim(SOURCE_ACCOUNT), known: Arc::clone(known) }
    }
}

/// The bearer token of a request.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_names_and_are_compared_whole() {
        let setting = "ana:one-and-more-letters, bo:two-and-more-letters,three-and-more-letters";
        let access = Access::from_setting(Some(setting)).unwrap();
        let name = |bearer: &str| access.holder(bearer).map(|holder| holder.name.clone());
        assert_eq!(name("ana:one-and-more-letters").as_deref(), Some("ana"));
        assert_eq!(name("three-and-more-letters").as_deref(), Some("operator"));
        assert_eq!(name("one-and-more-letters"), None);
        assert!(!Access::from_setting(Some(" , ")).unwrap().wants_credentials());
    }

    #[test]
    fn tokens_shorter_than_16_characters_are_refused() {
        for (setting, name) in [
            ("fifteen-letters", Some("operator")),
            ("sixteen-letters-", None),
            ("ana:fifteen-letters", Some("ana")),
            ("a-long-name-of-hers:short", Some("a-long-name-of-hers")),
            ("sixteen-letters-,bo:", Some("bo")),
        ] {
            let refused = Access::from_setting(Some(setting)).err().map(|error| error.to_string());
            assert_eq!(refused.is_some(), name.is_some(), "{setting}: {refused:?}");
            if let Some((refused, name)) = refused.zip(name) {
                assert!(refused.contains(&format!("the token of {name} in SERIN_TOKEN")), "{refused}");
                assert!(!refused.contains("letters"), "it is shown: {refused}");
            }
        }
    }

    #[test]
    fn only_services_speak_for_resources() {
        let mut headers = HeaderMap::new();
        headers.insert(SOURCE_ARN, "arn:aws:s3:::b".parse().unwrap());
        headers.insert(SOURCE_ACCOUNT, "123456789012".parse().unwrap());
        let known = |principal: &str| {
            let principal = principal.parse().ok();
            Arc::new(Known { name: String::new(), principal, is_owner: false })
        };
        let who = Who::new(&known("s3.amazonaws.com"), &headers, |_| true);
        assert_eq!(who.source_arn.as_deref(), Some("arn:aws:s3:::b"));
        assert_eq!(who.source_account.as_deref(), Some("123456789012"));
        let unsigned = Who::new(&known("s3.amazonaws.com"), &headers, |_| false);
        let person = Who::new(&known("arn:aws:iam::123456789012:user/ana"), &headers, |_| true);
        for who in [unsigned, person] {
            assert_eq!((who.source_arn, who.source_account), (None, None));
        }
    }
}
