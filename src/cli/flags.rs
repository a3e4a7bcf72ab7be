//! Flags and arguments that several verbs share, checked as they are typed.

use std::str::FromStr;
use std::time::Duration;

use super::render::words;
use crate::chance;
use crate::client::Change;
use crate::clock;
use serin_core::model::arn::{AliasId, NameError, VersionNumber};
use serin_core::model::weight::Weight;

/// A rollout, by its alias or by its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The alias it moves.
    Alias(AliasId),
    /// Its id, or the id's end.
    Id(String),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        if text.contains(':') {
            return text.parse().map(Target::Alias).map_err(|why: NameError| why.to_string());
        }
        let is_id = text.len() >= 4 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        if is_id {
            return Ok(Target::Id(text.to_ascii_lowercase()));
        }
        Err(format!("a target is function:alias, as in {text}:live, or a rollout's id"))
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::Alias(alias) => alias.fmt(f),
            Target::Id(id) => id.fmt(f),
        }
    }
}

/// Why, and a key that makes saying it twice do it once.
#[derive(Clone, Debug, clap::Args)]
pub struct ChangeFlags {
    /// Why; it is kept in the history.
    #[arg(long, value_name = "WHY", value_parser = reason)]
    pub reason: Option<String>,
    /// Makes saying the same again with the same key do it once; a fresh one is drawn unless given.
    #[arg(long, value_name = "KEY", value_parser = key)]
    pub idempotency_key: Option<String>,
}

impl ChangeFlags {
    /// What the change carries.
    pub fn change(&self) -> Change {
        let fresh = || chance::new_id(clock::wall_now()).to_string();
        Change { key: self.idempotency_key.clone().unwrap_or_else(fresh), reason: self.reason.clone() }
    }
}

/// Why, in words.
pub fn reason(text: &str) -> Result<String, &'static str> {
    match text.trim() {
        "" => Err("a reason says something"),
        text if text.chars().count() > 1000 => Err("a reason has at most 1000 characters"),
        text => Ok(text.to_owned()),
    }
}

fn key(text: &str) -> Result<String, &'static str> {
    let is_fine = (1..=200).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_fine { Ok(text.to_owned()) } else { Err("a key is 1 to 200 visible ASCII characters") }
}

/// A span of time with its unit.
pub fn span(text: &str) -> Result<Duration, &'static str> {
    humantime::parse_duration(text).map_err(|_| "a span of time has its unit, as in 90s, 10m or 1h 30m")
}

/// No simulation goes further; in microseconds, a thousand thousand times as much is still a number.
pub const VIRTUAL_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// A span of virtual time with its unit.
pub fn virtual_span(text: &str) -> Result<Duration, &'static str> {
    let span = span(text)?;
    if span <= VIRTUAL_MAX { Ok(span) } else { Err("no simulation goes further than 366d") }
}

/// A share of requests with its unit, as in `0.1%`; kept as a fraction 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share(pub f64);

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Share, String> {
        let percent =
            |text: &str| text.trim().parse::<f64>().ok().filter(|number| (0.0..=100.0).contains(number));
        match (text.strip_suffix('%').map(percent), percent(text)) {
            (Some(Some(share)), _) => Ok(Share(share / 100.0)),
            (None, Some(_)) => Err(format!("a share has its unit: did you mean {text}%?")),
            _ => Err("a share lies between 0% and 100%, as in 0.1%".to_owned()),
        }
    }
}

/// Requests a second.
pub fn rate(text: &str) -> Result<f64, &'static str> {
    let rate = text.parse::<f64>().ok().filter(|rate| (0.0..=1e6).contains(rate));
    rate.ok_or("requests a second are a number from 0 to 1000000")
}

/// An additional version and its share, as in `42=3%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionWeight {
    /// The version.
    pub version: VersionNumber,
    /// Its share.
    pub weight: Weight,
}

impl FromStr for VersionWeight {
    type Err = String;

    fn from_str(text: &str) -> Result<VersionWeight, String> {
        let (version, weight) =
            text.split_once('=').ok_or_else(|| "a weight is VERSION=SHARE, as in 42=3%".to_owned())?;
        Ok(VersionWeight {
            version: version.parse().map_err(|why: NameError| why.to_string())?,
            weight: weight.parse().map_err(|why| format!("{weight}: {why}"))?,
        })
    }
}

/// How a table or a value is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum TableOrJson {
    /// For people.
    #[default]
    Table,
    /// For scripts.
    Json,
}

/// How a text is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum TextOrJson {
    /// For people.
    #[default]
    Text,
    /// For scripts.
    Json,
}

/// A value as indented JSON with a line's end.
pub fn json(value: &impl serde::Serialize) -> String {
    words::escaped(&serde_json::to_string_pretty(value).expect("what is printed is plain data")) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_aliases_or_ids() {
        assert_eq!("a:live".parse(), Ok(Target::Alias("a:live".parse().unwrap())));
        assert_eq!("7F3A".parse(), Ok(Target::Id("7f3a".to_owned())));
        assert!("checkout".parse::<Target>().unwrap_err().contains("checkout:live"));
        assert!("a:b:c".parse::<Target>().is_err());
        assert!("abc".parse::<Target>().is_err());
    }

    #[test]
    fn weights_name_their_version_and_unit() {
        let read: VersionWeight = "42=3%".parse().unwrap();
        assert_eq!((read.version, read.weight.ppm()), (VersionNumber(42), 30_000));
        for text in ["3%", "42=3", "42=300%", "v42=3%", "=3%"] {
            assert!(text.parse::<VersionWeight>().is_err(), "{text}");
        }
    }

    #[test]
    fn virtual_time_has_an_end() {
        assert_eq!(virtual_span("366d"), Ok(VIRTUAL_MAX));
        for text in ["366d 1ns", "18446744073709551615s", "90", "-1s"] {
            assert!(virtual_span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shares_name_their_unit() {
        assert_eq!("0.1%".parse(), Ok(Share(0.001)));
        assert_eq!("100%".parse(), Ok(Share(1.0)));
        assert!("2".parse::<Share>().unwrap_err().contains("did you mean 2%?"));
        for text in ["", "%", "101%", "-1%", "nan%", "2pp"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_change_has_a_key_of_its_own() {
        let flags = ChangeFlags { reason: None, idempotency_key: None };
        assert_ne!(flags.change().key, flags.change().key);
        let flags = ChangeFlags { reason: None, idempotency_key: Some("k".to_owned()) };
        assert_eq!(flags.change().key, "k");
    }
}
