//! Aliases: names that route to one version, or to two with a weight.
//!
//! The rules are AWS Lambda's: at most two versions, both published, of one execution role and one dead-letter
//! configuration, never `$LATEST` beside another. An alias's routing is the only thing a rollout changes.

use serde::{Deserialize, Serialize};

use crate::lambda::function::{Configuration, Revision};
pub use crate::model::arn::AliasId;
use crate::model::arn::{VersionId, VersionNumber};
use crate::model::time::Timestamp;
use crate::model::weight::Weight;

/// The version beside the function version, and its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdditionalVersion {
    /// The version.
    pub version: VersionNumber,
    /// Its share; the rest goes to the function version.
    pub weight: Weight,
}

/// Where an alias's traffic goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Routing {
    /// The alias's function version: stable.
    pub function_version: VersionId,
    /// The routing config: at most one more version.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub additional: Option<AdditionalVersion>,
}

impl Routing {
    /// Everything to one version.
    pub fn only(version: impl Into<VersionId>) -> Routing {
        Routing { function_version: version.into(), additional: None }
    }

    /// `stable` with `weight` of the traffic on `canary`.
    pub fn split(stable: VersionNumber, canary: VersionNumber, weight: Weight) -> Routing {
        Routing {
            function_version: stable.into(),
            additional: Some(AdditionalVersion { version: canary, weight }),
        }
    }

    /// The share of the traffic that `version` gets.
    pub fn share_of(&self, version: VersionNumber) -> Weight {
        let beside = self.additional.map_or(Weight::ZERO, |additional| additional.weight);
        match self.additional {
            Some(additional) if additional.version == version => beside,
            _ if self.function_version == VersionId::Number(version) => beside.complement(),
            _ => Weight::ZERO,
        }
    }

    /// Whether `version` is the function version or the additional one, whatever its weight.
    pub fn names(&self, version: VersionNumber) -> bool {
        self.function_version == VersionId::Number(version)
            || self.additional.is_some_and(|additional| additional.version == version)
    }

    /// The same routing without `canary`: cleared beside a stable version, replaced by `fallback` where it is alone.
    pub fn without(&self, canary: VersionNumber, fallback: VersionNumber) -> Routing {
        if self.function_version == VersionId::Number(canary) {
            return Routing::only(fallback);
        }
        match self.additional {
            Some(additional) if additional.version == canary => Routing::only(self.function_version),
            _ => *self,
        }
    }

    /// Checks the rules for naming versions; `configuration` finds a version's, and `None` says it does not exist.
    ///
    /// Errors come in the order AWS reports them.
    pub fn checked<'a>(
        function_version: VersionId,
        additional: &[AdditionalVersion],
        configuration: impl Fn(VersionId) -> Option<&'a Configuration>,
    ) -> Result<Routing, RoutingFault> {
        let additional = match additional {
            [] => None,
            [one] => Some(*one),
            _ => return Err(RoutingFault::MoreThanTwoVersions),
        };
        let find = |version| configuration(version).ok_or(RoutingFault::VersionAbsent(version));
        if let Some(beside) = additional {
            let VersionId::Number(primary) = function_version else {
                return Err(RoutingFault::LatestWithWeights);
            };
            if beside.version == primary {
                return Err(RoutingFault::SameVersionTwice(primary));
            }
            let (first, second) = (find(function_version)?, find(beside.version.into())?);
            if first.role != second.role {
                return Err(RoutingFault::RolesDiffer);
            }
            if first.dead_letter != second.dead_letter {
                return Err(RoutingFault::DeadLettersDiffer);
            }
        } else {
            find(function_version)?;
        }
        Ok(Routing { function_version, additional })
    }
}

/// Writes `v41`, or `v41 95% / v42 5%`.
impl std::fmt::Display for Routing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let primary = match self.function_version {
            VersionId::Latest => "$LATEST".to_owned(),
            VersionId::Number(number) => format!("v{number}"),
        };
        match self.additional {
            None => f.pad(&primary),
            Some(AdditionalVersion { version, weight }) => {
                f.pad(&format!("{primary} {} / v{version} {weight}", weight.complement()))
            }
        }
    }
}

/// Why a routing cannot be. The texts are AWS's where they are recorded, and worded alike where they are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoutingFault {
    /// More than one additional version.
    #[error("Number of items in AdditionalVersionWeights cannot be greater than 1")]
    MoreThanTwoVersions,
    /// `$LATEST` beside another version.
    #[error("$LATEST is not supported for an alias pointing to more than 1 version")]
    LatestWithWeights,
    /// The additional version is the function version.
    #[error(
        "Invalid function version {0}. Function version {0} is already included in routing configuration."
    )]
    SameVersionTwice(VersionNumber),
    /// A version that was never published, or was deleted.
    #[error("version {0} does not exist")]
    VersionAbsent(VersionId),
    /// Two execution roles.
    #[error("Specified versions must be associated with the same execution role")]
    RolesDiffer,
    /// Two dead-letter configurations.
    #[error("Specified versions must be associated with the same dead letter configuration")]
    DeadLettersDiffer,
}

/// An alias as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alias {
    /// Function and name.
    pub id: AliasId,
    /// Where its traffic goes.
    pub routing: Routing,
    /// Free text, at most 256 characters.
    #[serde(default)]
    pub description: String,
    /// The change that made it so.
    pub revision: Revision,
    /// When that was.
    pub updated_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lambda::function::Target;
    use crate::lambda::settings::Settings;

    fn configuration(role: &str, dead_letter: Option<&str>) -> Configuration {
        Configuration {
            target: Target::Http {
                url: "http://localhost:1".parse().unwrap(),
                health: None,
                timeouts: Default::default(),
            },
            role: role.into(),
            dead_letter: dead_letter.map(Into::into),
            description: String::new(),
            commit: None,
            settings: Settings::default(),
        }
    }

    fn beside(version: u64, ppm: u32) -> AdditionalVersion {
        AdditionalVersion { version: VersionNumber(version), weight: Weight::from_ppm(ppm).unwrap() }
    }

    #[test]
    fn the_rules_of_naming_versions() {
        let known = [
            (VersionId::Latest, configuration("a", None)),
            (VersionNumber(1).into(), configuration("a", None)),
            (VersionNumber(2).into(), configuration("a", None)),
            (VersionNumber(3).into(), configuration("b", None)),
            (VersionNumber(4).into(), configuration("a", Some("queue"))),
        ];
        let check = |primary: &str, additional: &[AdditionalVersion]| {
            Routing::checked(primary.parse().unwrap(), additional, |version| {
                known.iter().find(|(known, _)| *known == version).map(|(_, configuration)| configuration)
            })
            .err()
        };
        use RoutingFault::*;
        assert_eq!(check("$LATEST", &[]), None);
        assert_eq!(check("1", &[beside(2, 30_000)]), None);
        assert_eq!(check("$LATEST", &[beside(1, 1)]), Some(LatestWithWeights));
        assert_eq!(check("1", &[beside(1, 1), beside(2, 1)]), Some(MoreThanTwoVersions));
        assert_eq!(check("1", &[beside(1, 1)]), Some(SameVersionTwice(VersionNumber(1))));
        assert_eq!(check("9", &[]), Some(VersionAbsent(VersionNumber(9).into())));
        assert_eq!(check("1", &[beside(9, 1)]), Some(VersionAbsent(VersionNumber(9).into())));
        assert_eq!(check("1", &[beside(3, 1)]), Some(RolesDiffer));
        assert_eq!(check("1", &[beside(4, 1)]), Some(DeadLettersDiffer));
    }

    #[test]
    fn shares_and_clearing() {
        let (one, two, three) = (VersionNumber(1), VersionNumber(2), VersionNumber(3));
        let routing = Routing::split(one, two, Weight::from_ppm(30_000).unwrap());
        assert_eq!(routing.share_of(two).ppm(), 30_000);
        assert_eq!(routing.share_of(one).ppm(), 970_000);
        assert_eq!(routing.share_of(three), Weight::ZERO);
        assert_eq!(routing.without(two, one), Routing::only(one));
        assert_eq!(routing.without(one, three), Routing::only(three));
        assert_eq!(routing.without(three, one), routing);
        assert_eq!(routing.to_string(), "v1 97% / v2 3%");
    }
}
