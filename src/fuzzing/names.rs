//! Names, ARNs, addresses and principals.

use std::fmt::Display;
use std::str::FromStr;

use serin_core::lambda::alias::AliasId;
use serin_core::lambda::event_source::QueueArn;
use serin_core::lambda::function::UpstreamUrl;
use serin_core::lambda::health::HealthPath;
use serin_core::lambda::policy::Principal;
use serin_core::lambda::process::{CodeSha256, Runtime};
use serin_core::model::arn::{
    AliasName, Called, FunctionName, FunctionRef, Place, Qualifier, VersionId, VersionNumber,
};

/// What is taken is written so that it is taken again, for the same.
pub(super) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let names: [Option<String>; 6] = [
        same::<FunctionName>(text),
        same::<AliasName>(text),
        same::<VersionNumber>(text),
        same::<VersionId>(text),
        same::<Qualifier>(text),
        same::<AliasId>(text),
    ];
    // Names are their own spelling: two texts are never one name.
    names.iter().flatten().for_each(|written| assert_eq!(written, text));
    same::<Principal>(text);
    same::<QueueArn>(text);
    same::<UpstreamUrl>(text);
    same::<HealthPath>(text);
    let _ = (Runtime::from_str(text), CodeSha256::try_from(text.to_owned()));
    if let Some(called) = Called::read(text) {
        let place = Place {
            region: called.region.unwrap_or("us-east-1").to_owned(),
            account: called.account.unwrap_or("000000000000").to_owned(),
        };
        let arn = match called.qualifier {
            None => place.function_arn(called.name),
            Some(qualifier) => place.qualified_arn(called.name, qualifier),
        };
        let again = Called::read(&arn).unwrap_or_else(|| panic!("{arn} is not read, of {text}"));
        assert_eq!((again.name, again.qualifier), (called.name, called.qualifier), "{arn}");
        assert_eq!((again.region, again.account), (Some(&*place.region), Some(&*place.account)), "{arn}");
        if let Ok(function) = FunctionRef::try_from(called) {
            assert_eq!(text.parse::<FunctionRef>().ok().map(|read| read.name), Some(function.name));
        }
    }
}

fn same<T: FromStr + Display + PartialEq + std::fmt::Debug>(text: &str) -> Option<String> {
    let read = text.parse::<T>().ok()?;
    let written = read.to_string();
    let again = written.parse::<T>().ok();
    assert_eq!(again, Some(read), "{text:?} as {written:?}");
    Some(written)
}
