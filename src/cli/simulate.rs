//! `serin simulate`: a plan many times over made-up traffic, before any user sees it.

use crate::cli::simulated::spread;
use crate::cli::simulated::{Ends, Floor, Outcomes, Simulated, Watched};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use super::exit::Exit;
use super::flags::{TableOrJson, VIRTUAL_MAX, json, virtual_span as span};
use super::plan_file::PlanFile;
use super::render::simulation::table;
use super::scenario::Scenario;
use super::session::Session;
use crate::simulate::replay::{Recorded, lines};
use crate::simulate::{self, Run, Traffic};
use serin_core::analysis::boundary::Margin;
use serin_core::analysis::floor;
use serin_core::analysis::mirror::SampleKind;
use serin_core::model::weight::Weight;
use serin_core::plan::Plan;

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
    #[command(flatten)]
    scenario: Scenario,
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
        args.scenario.restart_every.is_none_or(|every| every >= Duration::from_secs(1)),
        "--restart-every is under a second: a daemon that dies faster than that decides nothing"
    );
    anyhow::ensure!(
        args.scenario.prior <= PRIOR_MAX,
        "--prior is more than thirty days: nothing of stable's past is remembered for so long"
    );
    anyhow::ensure!(
        args.scenario.day >= Duration::from_secs(60),
        "--day is under a minute: say how long a day is, as in 20m"
    );
    let traffic = args.scenario.traffic();
    anyhow::ensure!(
        traffic.canary.latency <= VIRTUAL_MAX,
        "the canary would answer after more than 366d, and no simulation goes further: see --canary-latency"
    );
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

/// The floor at the plan's first weight.
fn floor_of(plan: &Plan, traffic: &Traffic) -> Option<Floor> {
    let analysis = plan.analysis.as_ref()?;
    let margin = Margin { ratio: analysis.failures.max_ratio, added: analysis.failures.max_added };
    let weight = (1..=plan.steps.len()).find_map(|step| plan.weight_at(step))?;
    // Copies are pairs: the canary has half of their outcomes.
    let weight = Some(weight).filter(|weight| *weight < Weight::FULL).map(|weight| match weight {
        Weight::ZERO => SampleKind::MirrorCopy.share(weight),
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
