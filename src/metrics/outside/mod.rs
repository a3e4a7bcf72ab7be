//! Numbers and verdicts from outside: Prometheus queries and web hooks, asked over HTTP.
//!
//! Whatever comes back is either a finite number (or a plain yes or no), or a reason why there is none; nothing in
//! between is guessed at. Every question has a time by which it is answered, an answer is read up to 1 MiB, redirects are
//! not followed, and no secret of the environment gets into a reason.

mod call;
mod parse;
mod pool;

use std::time::Duration;

use serde::Serialize;

use crate::config::{PlanCa, PlanEnv};
use serin_core::model::time::Timestamp;
use serin_core::plan::{MetricSource, Plan, WantedVariable, Webhook};
use serin_core::rollout::{Answer, HookAnswer, Reading};

pub use parse::{prometheus_reading, webhook_reading};
pub use pool::{Asker, Pool};

/// How long a Prometheus server may take for one query.
const PROMETHEUS_TIMEOUT: Duration = Duration::from_secs(10);
/// The wait before a metric's web hook is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What plans are given of the environment, and whom to believe where they ask.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The variables, and where each is sent.
    pub env: PlanEnv,
    /// Authorities of hosts.
    pub ca: Vec<PlanCa>,
}

impl Settings {
    /// What a plan wants and is not given, each in words; with `all` also what nothing hangs on.
    pub fn lacks(&self, plan: &Plan, all: bool) -> Vec<String> {
        let wanted = plan.variables().into_iter().filter(|variable| variable.decides || all);
        let lack = |variable: WantedVariable| {
            let value = self.env.value(&variable.name, variable.url.as_deref());
            value.err().map(|why| why.to_string())
        };
        let mut lacks: Vec<String> = wanted.filter_map(lack).collect();
        lacks.dedup();
        lacks
    }
}

/// A question, with all it takes to ask it.
#[derive(Clone, Debug)]
pub struct CheckRequest {
    /// What is asked.
    pub what: What,
    /// What web hooks are told.
    pub subject: Subject,
    /// The same for the same question, also when it is asked again after a restart.
    pub key: String,
}

/// What is asked.
#[derive(Clone, Debug)]
pub enum What {
    /// A number for a metric that is asked this often.
    Number(MetricSource, Duration),
    /// A web hook's consent, once.
    Consent(Webhook),
}

/// What the body of a web hook's request says: which rollout it is about.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Subject {
    /// The rollout's id.
    pub rollout: String,
    /// Its plan's name.
    pub plan: String,
    /// The function.
    pub function: String,
    /// The alias's name.
    pub alias: String,
    /// The step it is at, from 1.
    pub step: usize,
    /// The canary's share, 0 to 1.
    pub weight: f64,
    /// Where it comes from.
    pub stable: Arm,
    /// Where it goes.
    pub canary: Arm,
    /// The metric that is asked; absent for a step's web hook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
}

/// A version and where it answers by itself.
#[derive(Clone, Debug, Serialize)]
pub struct Arm {
    /// Its number.
    pub version: String,
    /// Its own address, past every alias; `None` if it is gone.
    pub url: Option<String>,
}

/// Asks, and waits for the answer; `now` tells the wall time.
pub fn ask(inquiry: &CheckRequest, settings: &Settings, now: &dyn Fn() -> Timestamp) -> Answer {
    match &inquiry.what {
        What::Consent(hook) => Answer::Hook(match call::post(settings, hook, inquiry) {
            Ok(reply) if (200..300).contains(&reply.status) => HookAnswer::Agreed(reply.status),
            Ok(reply) => HookAnswer::Refused(reply.status),
            Err(why) => HookAnswer::Silent(why),
        }),
        What::Number(MetricSource::Prometheus { url, query, headers }, interval) => {
            let reading = call::query(settings, url, query, headers, PROMETHEUS_TIMEOUT)
                .and_then(|reply| prometheus_reading(reply.status, &reply.body, now(), *interval));
            Answer::Reading(reading.map_or_else(Reading::Nothing, Reading::Value))
        }
        What::Number(MetricSource::Webhook(hook), _) => Answer::Reading(number_of(settings, hook, inquiry)),
    }
}

/// A number from a web hook, which is tried again as often as it says while it gives none.
fn number_of(settings: &Settings, hook: &Webhook, inquiry: &CheckRequest) -> Reading {
    let mut tried = 0;
    loop {
        let reading =
            call::post(settings, hook, inquiry).and_then(|reply| webhook_reading(reply.status, &reply.body));
        match reading {
            Ok(value) => return Reading::Value(value),
            Err(why) if tried >= hook.retries => return Reading::Nothing(why),
            Err(_) => tried += 1,
        }
        std::thread::sleep(RETRY_AFTER);
    }
}
