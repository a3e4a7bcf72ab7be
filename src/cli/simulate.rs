//! `serin simulate`: a plan many times over made-up traffic, before any user sees it.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

use super::exit::Exit;
use super::flags::{Share, TableOrJson, json, rate, span};
use super::plan_file::PlanFile;
use super::render::simulation::table;
use super::session::Session;
use crate::domain::analysis::boundary::Margin;
use crate::domain::analysis::floor;
use crate::domain::analysis::mirror::Stratum;
use crate::domain::plan::Plan;
use crate::domain::weight::Weight;
use crate::simulate::replay::{Recorded, lines};
use crate::simulate::{self, Arm, Cold, Crowd, Drift, Incident, Manners, Run, Spell, Spells, Traffic};

const EXAMPLES: &str = "\
Examples:
  serin simulate plans/checkout.yaml --rps 100 --canary-failures 2%
  serin simulate plans/checkout.yaml --rps 5 --until 24h         is there ever enough traffic to decide?
  serin simulate plans/checkout.yaml --rps 100 --incident 30%@10m+3m --runs 2000 -o json
  serin simulate plans/checkout.yaml --rps 10 --spells 5%@10m+30s --prior 2h
  serin simulate plans/checkout.yaml --rps 10 --counts | serin replay --plan plans/checkout.yaml -

Each run is a rollout of the plan by the daemon's own control core, in virtual time, from a seed of its own that follows
from --seed. Nobody approves, resumes or drifts in it. The stable version's traffic of --prior comes before, and what the
plan's `watch` says comes after.

Exit codes: 0 however the runs ended, 1 when the plan cannot be read";

/// What to simulate.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The plan.
    #[arg(value_name = "PLAN")]
    plan: PathBuf,
    /// Requests a second to the alias, on average; they arrive independently.
    #[arg(long, value_name = "N", value_parser = rate)]
    rps: f64,
    /// The share of the stable version's requests that fails.
    #[arg(long, value_name = "SHARE", default_value = "0.1%")]
    stable_failures: Share,
    /// The share of the canary's requests that fails; as much as the stable version's unless given.
    #[arg(long, value_name = "SHARE")]
    canary_failures: Option<Share>,
    /// The stable version's mean time to answer.
    #[arg(long, value_name = "TIME", default_value = "50ms", value_parser = span)]
    stable_latency: Duration,
    /// The canary's: a multiple of the stable version's, as in x1.5, or so much more, as in +1s.
    #[arg(long, value_name = "xN|+TIME", default_value = "x1")]
    canary_latency: Slower,
    /// The share of the stable version's good requests that it refuses with a 4xx status.
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    stable_refusals: Share,
    /// The same of the canary; as much as the stable version's unless given.
    #[arg(long, value_name = "SHARE")]
    canary_refusals: Option<Share>,
    /// The share of the canary's good requests that it never answers; they fail after 30 s.
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    canary_hangs: Share,
    /// After how long failures show, on the stable version and on the canary, as in 20s/1s; as answers do unless given.
    #[arg(long, value_name = "TIME/TIME")]
    failures_show: Option<ShowFlag>,
    /// Until then the canary fails no more than the stable version does; failed requests count from there.
    #[arg(long, value_name = "TIME", value_parser = span)]
    canary_breaks: Option<Duration>,
    /// The canary's first requests, at its start and at each rise, take longer: 200x3 is 200 of them, three times as long.
    #[arg(long, value_name = "NxF")]
    cold: Option<ColdFlag>,
    /// So many users come again and again, the n-th 1/n times as often as the first; each request is a new one's otherwise.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    users: Option<u32>,
    /// A share of the users fails on both versions alike: 2%x20% is every fiftieth, whose requests fail one in five times.
    #[arg(long, value_name = "SHARExSHARE", requires = "users")]
    failing_users: Option<FailingFlag>,
    /// A share of both versions' requests breaks for a while: 30%@10m+3m is 30 % from minute 10 for 3 minutes.
    #[arg(long, value_name = "SHARE@START+SPAN")]
    incident: Vec<IncidentFlag>,
    /// Both versions' failures grow steadily: x5@20m is five times as many after 20 minutes, and stays so.
    #[arg(long, value_name = "xN@SPAN")]
    drift: Option<DriftFlag>,
    /// How many failures come together within a second on one version, on average; 1 is independent failures.
    #[arg(long, value_name = "N", default_value_t = 1.0, value_parser = clump)]
    clumps: f64,
    /// Each version's own bad spells: 5%@10m+30s is 5 % more failures for 30 s each 10 minutes, x3@5m+10s slow answers.
    #[arg(long, value_name = "SHARE|xN@EVERY+SPAN")]
    spells: Vec<SpellsFlag>,
    /// Traffic swings over the day by eight tenths around its mean, and is least at the start.
    #[arg(long)]
    daily: bool,
    /// How long the stable version has served alone when the rollout starts.
    #[arg(long, value_name = "SPAN", default_value = "10m", value_parser = span)]
    prior: Duration,
    /// Kill the daemon this often; it goes on at once from what it had stored.
    #[arg(long, value_name = "SPAN", value_parser = span)]
    restart_every: Option<Duration>,
    /// How long a rollout may take before it counts as still waiting.
    #[arg(long, value_name = "SPAN", default_value = "4h", value_parser = span)]
    until: Duration,
    /// How many times.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    runs: u64,
    /// Chooses the chances: the same seed gives the same answer.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Print the counts of the first run instead, as `serin replay` reads them.
    #[arg(long, conflicts_with_all = ["runs", "output"])]
    counts: bool,
    /// How it is printed.
    #[arg(long, short, value_enum, value_name = "FORM", default_value = "table")]
    output: TableOrJson,
}

/// How much slower the canary is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Slower {
    Times(f64),
    By(Duration),
}

impl FromStr for Slower {
    type Err = String;

    fn from_str(text: &str) -> Result<Slower, String> {
        let wrong = || {
            "a canary's latency is x1.5, so many times the stable version's, or +1s, so much more".to_owned()
        };
        if let Some(added) = text.strip_prefix('+') {
            return span(added).map(Slower::By).map_err(str::to_owned);
        }
        let times = text.strip_prefix('x').and_then(|times| times.parse::<f64>().ok());
        times.filter(|times| (0.0..=10_000.0).contains(times)).map(Slower::Times).ok_or_else(wrong)
    }
}

impl Slower {
    fn than(self, latency: Duration) -> Duration {
        match self {
            Slower::Times(times) => latency.mul_f64(times),
            Slower::By(added) => latency + added,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct IncidentFlag(Incident);

impl FromStr for IncidentFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<IncidentFlag, String> {
        let parts = text.split_once('@').and_then(|(share, when)| Some((share, when.split_once('+')?)));
        let Some((share, (from, lasts))) = parts else {
            return Err("an incident is SHARE@START+SPAN, as in 30%@10m+3m".to_owned());
        };
        let failures = share.parse::<Share>()?.0;
        Ok(IncidentFlag(Incident { failures, from: span(from)?, lasts: span(lasts)? }))
    }
}

#[derive(Clone, Copy, Debug)]
struct ShowFlag(Duration, Duration);

impl FromStr for ShowFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<ShowFlag, String> {
        let Some((stable, canary)) = text.split_once('/') else {
            return Err("when failures show is TIME/TIME, stable's and the canary's, as in 20s/1s".to_owned());
        };
        Ok(ShowFlag(span(stable)?, span(canary)?))
    }
}

#[derive(Clone, Copy, Debug)]
struct ColdFlag(Cold);

impl FromStr for ColdFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<ColdFlag, String> {
        let parts =
            text.split_once('x').and_then(|(count, by)| Some((count.parse().ok()?, by.parse().ok()?)));
        match parts.filter(|(_, factor)| (1.0..=1000.0).contains(factor)) {
            Some((requests, factor)) => Ok(ColdFlag(Cold { requests, factor })),
            None => {
                Err("a cold start is NxF, as in 200x3: 200 requests that take three times as long".to_owned())
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct FailingFlag(Share, Share);

impl FromStr for FailingFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<FailingFlag, String> {
        let Some((users, failures)) = text.split_once('x') else {
            return Err(
                "failing users are SHARExSHARE, as in 2%x20%: every fiftieth, one in five times".to_owned()
            );
        };
        Ok(FailingFlag(users.parse()?, failures.parse()?))
    }
}

#[derive(Clone, Copy, Debug)]
struct DriftFlag(Drift);

impl FromStr for DriftFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<DriftFlag, String> {
        let parts = text.strip_prefix('x').and_then(|text| text.split_once('@'));
        let factor = parts.and_then(|(factor, _)| factor.parse().ok());
        match (factor.filter(|factor| (0.0..=1e6).contains(factor)), parts) {
            (Some(factor), Some((_, over))) => Ok(DriftFlag(Drift { factor, over: span(over)? })),
            _ => {
                Err("a drift is xN@SPAN, as in x5@20m: five times as many failures after 20 minutes"
                    .to_owned())
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct SpellsFlag(Spells);

impl FromStr for SpellsFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<SpellsFlag, String> {
        let parts = text.split_once('@').and_then(|(what, when)| Some((what, when.split_once('+')?)));
        let Some((what, (every, lasts))) = parts else {
            return Err(
                "spells are SHARE@EVERY+SPAN or xN@EVERY+SPAN, as in 5%@10m+30s or x3@5m+10s".to_owned()
            );
        };
        let slower = what.strip_prefix('x').map(|times| times.parse::<f64>().ok());
        let what = match slower.map(|times| times.filter(|times| (1.0..=1000.0).contains(times))) {
            Some(Some(times)) => Spell::Slower(times),
            Some(None) => {
                return Err("in a spell answers take x1 to x1000 as long, as in x3@5m+10s".to_owned());
            }
            None => Spell::Failures(what.parse::<Share>()?.0),
        };
        let (every, lasts) = (span(every)?, span(lasts)?);
        if lasts.is_zero() || lasts >= every {
            return Err(
                "a spell lasts some time, and less than it takes until the next, as in 5%@10m+30s".to_owned()
            );
        }
        Ok(SpellsFlag(Spells { what, every, lasts }))
    }
}

fn clump(text: &str) -> Result<f64, &'static str> {
    let clump = text.parse::<f64>().ok().filter(|clump| (1.0..=1000.0).contains(clump));
    clump.ok_or("a clump is a mean from 1 (independent failures) to 1000")
}

impl Args {
    /// The traffic these flags mean.
    fn traffic(&self) -> Traffic {
        let stable = Arm { failures: self.stable_failures.0, latency: self.stable_latency };
        let canary = Arm {
            failures: self.canary_failures.unwrap_or(self.stable_failures).0,
            latency: self.canary_latency.than(self.stable_latency),
        };
        let show = |of: fn(ShowFlag) -> Duration| self.failures_show.map(of);
        Traffic {
            stable_manners: Manners {
                refusals: self.stable_refusals.0,
                failure_latency: show(|show| show.0),
                ..Manners::default()
            },
            canary_manners: Manners {
                refusals: self.canary_refusals.unwrap_or(self.stable_refusals).0,
                hangs: self.canary_hangs.0,
                failure_latency: show(|show| show.1),
            },
            crowd: self.users.map(|users| Crowd {
                users,
                failing: self.failing_users.map_or(0.0, |failing| failing.0.0),
                failures: self.failing_users.map_or(0.0, |failing| failing.1.0),
            }),
            cold: self.cold.map(|cold| cold.0),
            canary_breaks: self.canary_breaks,
            incidents: self.incident.iter().map(|incident| incident.0).collect(),
            drift: self.drift.map(|drift| drift.0),
            clump: self.clumps,
            spells: self.spells.iter().map(|spells| spells.0).collect(),
            prior: self.prior,
            daily: self.daily,
            restart_every: self.restart_every,
            ..Traffic::steady(self.rps, stable, canary)
        }
    }
}

/// The longest time that stable may have served before.
const PRIOR_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// Does it.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    let file = PlanFile::read(&args.plan)?;
    file.sound(session)?;
    let read = simulate::read_plan(&file.name, &file.source, file.defaults.as_ref());
    let plan = Arc::new(read.map_err(|_| anyhow::anyhow!("the plan {} is not in order", file.source.name))?);
    anyhow::ensure!(
        !args.until.is_zero(),
        "--until is no time at all: say how long a rollout may take, as in 4h"
    );
    anyhow::ensure!(
        args.restart_every.is_none_or(|every| every >= Duration::from_secs(1)),
        "--restart-every is under a second: a daemon that dies faster than that decides nothing"
    );
    anyhow::ensure!(
        args.prior <= PRIOR_MAX,
        "--prior is more than thirty days: nothing of stable's past is remembered for so long"
    );
    let traffic = args.traffic();
    if args.counts {
        let (run, record) = simulate::run_first_recorded(&plan, &traffic, args.until, args.seed);
        let record = record.with_context(|| format!("nothing was counted in it: it is {}", run.phase))?;
        session.terminal.print(&lines(record.prior, &Recorded::all(&record)))?;
        return Ok(Exit::Done);
    }
    let runs = simulate::many(&plan, &traffic, args.until, args.runs, args.seed);
    let simulated = Simulated::new(&plan.plan, &traffic, args, &runs);
    let text = match args.output {
        TableOrJson::Json => json(&simulated),
        TableOrJson::Table => table(&simulated, &session.terminal.look()),
    };
    session.terminal.print(&text)?;
    Ok(Exit::Done)
}

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
    fn of(plan: &Plan, runs: &[Run]) -> Option<Watched> {
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

impl Simulated {
    fn new(plan: &Plan, traffic: &Traffic, args: &Args, runs: &[Run]) -> Simulated {
        let of = |phase: &'static str| runs.iter().filter(move |run| run.phase == phase);
        let seconds = |run: &Run| run.elapsed.as_secs_f64();
        let ends = |phase: &'static str| {
            let mut ends: Vec<f64> = of(phase).map(seconds).collect();
            ends.sort_unstable_by(f64::total_cmp);
            ends
        };
        let ends = Ends { rolled_back: ends("RolledBack"), succeeded: ends("Succeeded") };
        let share = |count: usize| count as f64 / runs.len() as f64;
        let waiting = runs.len() - ends.rolled_back.len() - ends.succeeded.len();
        Simulated {
            target: plan.target.to_string(),
            runs: args.runs,
            seed: args.seed,
            until_seconds: args.until.as_secs_f64(),
            outcomes: Outcomes {
                succeeded: share(ends.succeeded.len()),
                rolled_back: share(ends.rolled_back.len()),
                waiting: share(waiting),
            },
            failed_requests: spread(of("RolledBack").map(|run| run.canary_failures as f64)),
            canary_requests: spread(of("RolledBack").map(|run| run.canary_requests as f64)),
            seconds: spread(ends.rolled_back.iter().copied()),
            success_seconds: spread(ends.succeeded.iter().copied()),
            failed_while_proven: spread(
                runs.iter().filter_map(|run| run.failed_while_proven).map(|failed| failed as f64),
            ),
            watch: Watched::of(plan, runs),
            floor: floor_of(plan, traffic),
            waiting_for: waited_for(runs),
            ends,
        }
    }
}

/// The spread of numbers; `None` where there are none.
pub(super) fn spread(numbers: impl IntoIterator<Item = f64>) -> Option<Spread> {
    let simulate::Spread { median, p90, p95 } = simulate::Spread::of(numbers)?;
    Some(Spread { median, p90, p95 })
}

/// The floor at the plan's first weight.
fn floor_of(plan: &Plan, traffic: &Traffic) -> Option<Floor> {
    let analysis = plan.analysis.as_ref()?;
    let margin = Margin { ratio: analysis.failures.max_ratio, added: analysis.failures.max_added };
    let weight = (1..=plan.steps.len()).find_map(|step| plan.weight_at(step))?;
    // Copies are pairs: the canary has half of their outcomes.
    let weight = Some(weight).filter(|weight| *weight < Weight::FULL).map(|weight| match weight {
        Weight::ZERO => Stratum::Copied.share(weight),
        weight => weight.fraction(),
    })?;
    let (canary, stable) = (traffic.canary.failures, traffic.stable.failures);
    let floor = floor::canary_requests(weight, canary, stable, margin, analysis.false_rollback_rate)?;
    Some(Floor { canary_requests: floor })
}

/// What the runs that went on to the end waited for, and how many of them, most first.
pub(super) fn waited_for(runs: &[Run]) -> Vec<(String, u64)> {
    let mut waits: Vec<(String, u64)> = Vec::new();
    for wait in runs.iter().filter_map(|run| run.waits_at.as_ref()) {
        match waits.iter_mut().find(|(known, _)| known == wait) {
            Some((_, count)) => *count += 1,
            None => waits.push((wait.clone(), 1)),
        }
    }
    waits.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    waits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_are_read_with_their_units() {
        let incident = "30%@10m+3m".parse::<IncidentFlag>().unwrap().0;
        let minutes = |count: u64| Duration::from_secs(60 * count);
        assert_eq!(incident, Incident { failures: 0.3, from: minutes(10), lasts: minutes(3) });
        assert_eq!("x5@20m".parse::<DriftFlag>().unwrap().0, Drift { factor: 5.0, over: minutes(20) });
        assert_eq!("x1.5".parse(), Ok(Slower::Times(1.5)));
        assert_eq!("+1s".parse(), Ok(Slower::By(Duration::from_secs(1))));
        for text in ["30%", "30%@10m", "30@10m+3m", "130%@10m+3m", "30%@10+3m", ""] {
            assert!(text.parse::<IncidentFlag>().is_err(), "{text}");
        }
        for text in ["5@20m", "x@20m", "x-1@20m", "x5", "xnan@1m"] {
            assert!(text.parse::<DriftFlag>().is_err(), "{text}");
        }
        for text in ["1.5", "x", "xinf", "+1", "-1s"] {
            assert!(text.parse::<Slower>().is_err(), "{text}");
        }
    }
}
