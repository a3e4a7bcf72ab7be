//! What simulations of a plan came to, as `serin simulate` gives it in JSON.

use crate::simulate;
use crate::simulate::Run;
use serde::Serialize;
use serin_core::plan::Plan;

/// What the runs came to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Simulated {
    /// The alias the plan is for.
    pub target: String,
    /// How many runs there were.
    pub runs: u64,
    /// What chose the chances.
    pub seed: u64,
    /// The longest a rollout could take, in seconds.
    pub until_seconds: f64,
    /// How the runs ended, as shares of them.
    pub outcomes: Outcomes,
    /// Failed canary requests until rollback.
    pub failed_requests: Option<Spread>,
    /// Canary requests until rollback.
    pub canary_requests: Option<Spread>,
    /// Seconds until rollback.
    pub seconds: Option<Spread>,
    /// Seconds until success.
    pub success_seconds: Option<Spread>,
    /// Failed requests of a canary that broke once it was proven, until its proof stood no more.
    pub failed_while_proven: Option<Spread>,
    /// The watch after promotions; `None` where the plan has none, or nothing was promoted.
    pub watch: Option<Watched>,
    /// The fewest canary requests that any valid test needs on average; `None` where there is no harm to be found.
    pub floor: Option<Floor>,
    /// What the runs that went on to the end waited for, and how many of them, most first.
    pub waiting_for: Vec<(String, u64)>,
    /// When each run ended, in seconds, ascending.
    #[serde(skip)]
    pub ends: Ends,
}

/// Shares of the runs, 0 to 1.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcomes {
    /// Promoted to the end of the plan.
    pub succeeded: f64,
    /// Taken back.
    pub rolled_back: f64,
    /// Neither by the end.
    pub waiting: f64,
}

/// What the watch after promotions said.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Watched {
    /// The share of the promotions with an alarm, 0 to 1.
    pub alarms: f64,
    /// Failed requests from the promotion, or from when the version broke, to the alarm.
    pub failed_requests: Option<Spread>,
    /// Seconds from then to the alarm.
    pub seconds: Option<Spread>,
}

impl Watched {
    pub(super) fn of(plan: &Plan, runs: &[Run]) -> Option<Watched> {
        plan.watch?;
        let promoted = runs.iter().filter(|run| run.phase == "Succeeded").count();
        let alarms: Vec<simulate::Alarm> = runs.iter().filter_map(|run| run.alarm).collect();
        (promoted > 0).then(|| Watched {
            alarms: alarms.len() as f64 / promoted as f64,
            failed_requests: spread(alarms.iter().map(|alarm| alarm.failures as f64)),
            seconds: spread(alarms.iter().map(|alarm| alarm.after.as_secs_f64())),
        })
    }
}

/// The middle and the high end.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    /// Half of the runs had at most this.
    pub median: f64,
    /// Nine of ten had at most this.
    pub p90: f64,
    /// Nineteen of twenty had at most this.
    pub p95: f64,
}

/// What no valid test can beat.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Floor {
    /// Canary requests, at the plan's first weight and without incident or drift.
    pub canary_requests: f64,
}

/// When runs ended, in seconds, ascending.
#[derive(Debug)]
pub struct Ends {
    /// Those rolled back.
    pub rolled_back: Vec<f64>,
    /// Those promoted.
    pub succeeded: Vec<f64>,
}

/// The spread of numbers; `None` where there are none.
pub(super) fn spread(numbers: impl IntoIterator<Item = f64>) -> Option<Spread> {
    let simulate::Spread { median, p90, p95 } = simulate::Spread::of(numbers)?;
    Some(Spread { median, p90, p95 })
}
