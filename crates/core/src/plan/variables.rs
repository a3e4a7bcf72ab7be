//! Which variables of the daemon's environment a plan wants, and where it would send them.

use std::collections::BTreeMap;

use super::model::{MetricSource, Plan, Step, Value, Webhook};

/// A variable that a plan wants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WantedVariable {
    /// Its name.
    pub name: String,
    /// The URL that it goes to; `None` where the URL itself comes from the environment.
    pub url: Option<String>,
    /// Whether anything hangs on it: a metric that is only shown decides nothing.
    pub decides: bool,
}

impl Plan {
    /// The variables it wants, each once for each place it goes to.
    pub fn variables(&self) -> Vec<WantedVariable> {
        let mut wanted = Vec::new();
        for step in &self.steps {
            if let Step::Webhook(Webhook { url, headers, .. }) = step {
                note(&mut wanted, url, headers, true);
            }
        }
        for metric in self.analysis.iter().flat_map(|analysis| &analysis.metrics) {
            let (MetricSource::Prometheus { url, headers, .. }
            | MetricSource::Webhook(Webhook { url, headers, .. })) = &metric.source;
            note(&mut wanted, url, headers, !metric.dry_run);
        }
        wanted.sort();
        wanted.dedup();
        wanted
    }
}

fn note(wanted: &mut Vec<WantedVariable>, url: &Value, headers: &BTreeMap<String, Value>, decides: bool) {
    let to = match url {
        Value::Plain(url) => Some(url.clone()),
        Value::Env(_) => None,
    };
    for value in std::iter::once(url).chain(headers.values()) {
        if let Value::Env(name) = value {
            wanted.push(WantedVariable { name: name.clone(), url: to.clone(), decides });
        }
    }
}
