//! Which of a function's requests a metric's dimensions mean: Lambda's three sets of them, and no other.

use serde::Deserialize;
use serde_json::{Value, json};

use serin_core::lambda::log::Series;
use serin_core::model::arn::VersionId;

/// The namespace of Lambda's metrics.
pub const NAMESPACE: &str = "AWS/Lambda";

const FUNCTION: &str = "FunctionName";
const RESOURCE: &str = "Resource";
const EXECUTED: &str = "ExecutedVersion";

/// A dimension as clients send it; without a value it stands for all of its name.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Dimension {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Option<String>,
}

/// Requests that are counted together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Selection {
    /// The function.
    pub function: String,
    /// Only those that addressed this alias or version.
    pub qualifier: Option<String>,
    /// Only those that ran on this version.
    pub version: Option<String>,
}

impl Selection {
    /// What dimensions mean; `None` where Lambda has no metric with exactly these.
    pub fn of(dimensions: &[Dimension]) -> Option<Selection> {
        let value = |name: &str| {
            let mut values = dimensions.iter().filter(|dimension| dimension.name == name);
            let value = values.next().and_then(|dimension| dimension.value.as_deref());
            value.filter(|_| values.next().is_none())
        };
        let function = value(FUNCTION)?.to_owned();
        let qualifier = || Some(value(RESOURCE)?.strip_prefix(&function)?.strip_prefix(':')?.to_owned());
        match dimensions.len() {
            1 => Some(Selection { function, qualifier: None, version: None }),
            2 => Some(Selection { qualifier: Some(qualifier()?), version: None, function }),
            3 => {
                let version = value(EXECUTED)?.to_owned();
                let qualifier = qualifier().filter(|qualifier| is_alias(qualifier))?;
                Some(Selection { qualifier: Some(qualifier), version: Some(version), function })
            }
            _ => None,
        }
    }

    /// Every selection that a series is part of, the widest first.
    pub fn with(series: &Series) -> Vec<Selection> {
        let function = || series.function.clone();
        let qualifier = || Some(series.qualifier.clone());
        let mut selections = vec![
            Selection { function: function(), qualifier: None, version: None },
            Selection { function: function(), qualifier: qualifier(), version: None },
        ];
        if is_alias(&series.qualifier) {
            let version = Some(series.version.clone());
            selections.push(Selection { function: function(), qualifier: qualifier(), version });
        }
        selections
    }

    fn pairs(&self) -> Vec<(&'static str, String)> {
        let resource =
            self.qualifier.as_ref().map(|qualifier| (RESOURCE, format!("{}:{qualifier}", self.function)));
        let executed = self.version.clone().map(|version| (EXECUTED, version));
        std::iter::once((FUNCTION, self.function.clone())).chain(resource).chain(executed).collect()
    }

    /// Whether it has every dimension that is asked for.
    pub fn has_all(&self, wanted: &[Dimension]) -> bool {
        let pairs = self.pairs();
        wanted.iter().all(|wanted| {
            let fits = |value: &String| wanted.value.as_ref().is_none_or(|asked| asked == value);
            pairs.iter().any(|(name, value)| *name == wanted.name && fits(value))
        })
    }

    /// As AWS writes dimensions.
    pub fn json(&self) -> Value {
        self.pairs().into_iter().map(|(name, value)| json!({ "Name": name, "Value": value })).collect()
    }
}

/// Whether a qualifier is an alias; versions are numbers, and `$LATEST`.
fn is_alias(qualifier: &str) -> bool {
    qualifier.parse::<VersionId>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Option<(Option<String>, Option<String>)> {
        let dimension = |(name, value): &(&str, &str)| Dimension {
            name: (*name).to_owned(),
            value: Some((*value).to_owned()),
        };
        let dimensions: Vec<Dimension> = pairs.iter().map(dimension).collect();
        Selection::of(&dimensions).map(|selection| {
            assert_eq!(selection.function, "f");
            assert!(selection.has_all(&dimensions));
            (selection.qualifier, selection.version)
        })
    }

    #[test]
    fn lambda_has_three_sets_of_dimensions() {
        let some = |text: &str| Some(text.to_owned());
        let (name, live, seven) = ((FUNCTION, "f"), (RESOURCE, "f:live"), (RESOURCE, "f:7"));
        assert_eq!(of(&[name]), Some((None, None)));
        assert_eq!(of(&[name, live]), Some((some("live"), None)));
        assert_eq!(of(&[seven, name]), Some((some("7"), None)));
        assert_eq!(of(&[name, live, (EXECUTED, "2")]), Some((some("live"), some("2"))));
        for absent in [
            vec![],
            vec![live],
            vec![name, name],
            vec![name, (RESOURCE, "g:live")],
            vec![name, (RESOURCE, "f")],
            vec![name, (EXECUTED, "2")],
            vec![name, seven, (EXECUTED, "7")],
            vec![name, live, ("Region", "x")],
        ] {
            assert_eq!(of(&absent), None, "{absent:?}");
        }
    }

    #[test]
    fn a_series_is_part_of_its_function_its_resource_and_its_version() {
        let series = |qualifier: &str| Series {
            function: "f".into(),
            qualifier: qualifier.into(),
            version: "2".into(),
        };
        assert_eq!(Selection::with(&series("live")).len(), 3);
        assert_eq!(Selection::with(&series("2")).len(), 2);
        assert_eq!(Selection::with(&series("$LATEST")).len(), 2);
    }
}
