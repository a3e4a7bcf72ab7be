//! `serin calibrate`: what a plan does to two equal versions under the traffic that an alias was counted to have had.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Serialize;

use super::exit::Exit;
use super::flags::{self, TableOrJson, json};
use super::plan_file::PlanFile;
use super::render::Look;
use super::render::line::{Line, wrapped};
use super::render::words::{count, plural, request_rate, span};
use super::session::Session;
use super::simulate::waited_for;
use crate::api::wire::CountsView;
use crate::cli::render::tone::Tone;
use crate::cli::simulated::Spread;
use crate::cli::simulated::spread;
use crate::client::{Client, ClientError, RolloutQuery};
use crate::simulate::{self, Arm, ReadPlan, Run, Series, Stretch, Traffic};
use serin_core::model::arn::AliasId;
use serin_core::plan::Source;

const EXAMPLES: &str = "\
Examples:
  serin calibrate checkout:live                             by the plan of its newest rollout
  serin calibrate checkout:live --plan stricter.yaml        what another plan would do to the same traffic
  serin calibrate checkout:live --runs 2000 -o json

What is recorded of an alias is what was counted in its rollouts, in blocks of a second and longer. Each run begins anywhere
in that and draws every request anew for two versions that are equal: those that failed then fail on whichever version
they are drawn for. So each rollback is a false one. Counts tell no latencies, no refusals and no users: both versions
answer alike, refuse nothing, and no request knows another.

Exit codes: 0 whatever it comes to, 1 where nothing is recorded or the plan cannot be read";

/// What to calibrate.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// function:alias, whose recorded counts are the traffic.
    #[arg(value_name = "ALIAS")]
    alias: AliasId,
    /// The plan; that of the alias's newest rollout, as it is in the daemon's plans directory, unless given.
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// How long a rollout may take before it counts as still waiting.
    #[arg(long, value_name = "SPAN", default_value = "4h", value_parser = flags::virtual_span)]
    until: Duration,
    /// How many times.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    runs: u64,
    /// Chooses the chances: the same seed and the same counts give the same answer.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How it is printed.
    #[arg(long, short, value_enum, value_name = "FORM", default_value = "table")]
    output: TableOrJson,
}

/// The newest rollouts are enough.
const ROLLOUTS_MAX: u32 = 50;
/// So is a week.
const RECORD_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Less than this says nothing about an alias.
const RECORD_MIN: Duration = Duration::from_secs(10);
const REQUESTS_MIN: u64 = 100;
/// Counts tell no latency; both versions take this long, so that what a plan asks of it is looked at and never met.
const LATENCY: Duration = Duration::from_millis(50);

/// Does it.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    ensure!(!args.until.is_zero(), "--until is no time at all: say how long a rollout may take, as in 4h");
    let client = session.client()?;
    let record = Record::of(&client, &args.alias)?;
    let plan = Arc::new(plan(args, &record, &client, session)?);
    let (requests, failures) = record.series.sum();
    let arm = Arm { failures: failures as f64 / requests.max(1) as f64, latency: LATENCY };
    let per_second = requests as f64 / record.series.lasts().as_secs_f64();
    let traffic =
        Traffic { recorded: Some(Arc::new(record.series.clone())), ..Traffic::steady(per_second, arm, arm) };
    let runs = simulate::many(&plan, &traffic, args.until, args.runs, args.seed);
    let calibrated = Calibrated::new(args, &record, &plan, &runs);
    let text = match args.output {
        TableOrJson::Json => json(&calibrated),
        TableOrJson::Table => calibrated.table(&session.terminal.look()),
    };
    session.terminal.print(&text)?;
    Ok(Exit::Done)
}

/// What is recorded of an alias.
struct Record {
    series: Series,
    rollouts: usize,
    /// The plan of the newest rollout.
    plan: String,
}

impl Record {
    fn of(client: &Client, alias: &AliasId) -> anyhow::Result<Record> {
        let nothing = || {
            format!(
                "nothing is recorded of {alias}: serin keeps counts by block while a rollout runs, so start one (`serin \
                 start`) and ask again; what a plan does to traffic like yours says `serin simulate PLAN --rps N`"
            )
        };
        let target = alias.to_string();
        client.alias(alias.function.as_str(), alias.alias.as_str())?;
        let wanted =
            RolloutQuery { target: Some(&target), limit: Some(ROLLOUTS_MAX), ..RolloutQuery::default() };
        let rollouts = client.rollouts(&wanted)?.rollouts;
        let newest = rollouts.first().with_context(nothing)?;
        let (mut kept, mut lasts) = (Vec::new(), Duration::ZERO);
        for rollout in &rollouts {
            match client.counts(&rollout.id) {
                Ok(counts) => {
                    let end = counts.blocks.last().map_or(0.0, |block| block.t);
                    lasts += Duration::try_from_secs_f64(end).unwrap_or_default();
                    kept.push((rollout, counts));
                }
                // One that never began has none.
                Err(ClientError::Refused { kind, .. }) if kind == "notFound" => {}
                Err(why) => return Err(why.into()),
            }
            if lasts >= RECORD_MAX {
                break;
            }
        }
        let mut series = Series::default();
        for (rollout, counts) in kept.iter().rev() {
            stretches(&rollout.phase, counts).for_each(|stretch| series.push(stretch));
        }
        let (requests, _) = series.sum();
        ensure!(requests > 0, nothing());
        ensure!(
            series.lasts() >= RECORD_MIN && requests >= REQUESTS_MIN,
            "too little is recorded of {alias} to tell anything: {} in {}, and it takes {REQUESTS_MIN} and ten seconds; ask \
             again after its next rollout, or try made-up traffic with `serin simulate PLAN --rps N`",
            plural(requests as usize, "request", "requests"),
            span(series.lasts()),
        );
        Ok(Record { series, rollouts: kept.len(), plan: newest.plan.clone() })
    }
}

/// What came to the alias in each block of a rollout, and how much of it would have failed on its stable version.
fn stretches(phase: &str, counts: &CountsView) -> impl Iterator<Item = Stretch> {
    let is_harmless = phase == "Succeeded";
    let (mut before, mut owed) = (0.0, 0.0);
    counts.blocks.iter().filter_map(move |block| {
        let lasts = Duration::try_from_secs_f64(block.t - before).unwrap_or_default();
        before = block.t;
        let (stable, canary) = (&block.stable, &block.canary);
        if is_harmless {
            let (requests, failures) = (stable.requests + canary.requests, stable.failures + canary.failures);
            return Some(Stretch { lasts, requests, failures });
        }
        if stable.requests == 0 && canary.requests > 0 {
            // Of all that is known here is what one version did of which nothing good is known.
            return None;
        }
        // What a canary got that may have been broken counts as failing as often as stable did at the time.
        let share = stable.failures as f64 / stable.requests.max(1) as f64;
        owed += canary.requests as f64 * share.min(1.0);
        let of_canary = owed.floor();
        owed -= of_canary;
        let failures = stable.failures + of_canary as u64;
        Some(Stretch { lasts, requests: stable.requests + canary.requests, failures })
    })
}

fn plan(args: &Args, record: &Record, client: &Client, session: &Session) -> anyhow::Result<ReadPlan> {
    let (name, source, defaults) = match &args.plan {
        Some(path) => {
            let file = PlanFile::read(path)?;
            file.sound(session)?;
            (file.name, file.source, file.defaults)
        }
        None => {
            let hint = || {
                format!(
                    "the plan {} of the newest rollout is not here any more; name one with --plan FILE",
                    record.plan
                )
            };
            let found = client.plan(&record.plan).with_context(hint)?;
            let text = found.resolved.with_context(hint)?;
            (record.plan.clone(), Source::new(found.file, text), None)
        }
    };
    let read = simulate::read_plan(&name, &source, defaults.as_ref());
    read.map_err(|_| anyhow::anyhow!("the plan {} is not in order", source.name))
}

/// What the runs came to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Calibrated {
    target: String,
    plan: String,
    recorded: Recorded,
    runs: u64,
    seed: u64,
    /// The longest a rollout could take, in seconds.
    until_seconds: f64,
    false_rollbacks: FalseRollbacks,
    /// The share that was promoted.
    promoted: f64,
    /// The share that was neither by the end.
    waiting: f64,
    /// Seconds until promoted, of those that were.
    seconds: Option<Spread>,
    /// What those that went on to the end waited for, and how many of them.
    waiting_for: Vec<(String, u64)>,
}

/// The traffic that was played.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Recorded {
    rollouts: usize,
    seconds: f64,
    requests: u64,
    failures: u64,
}

/// Rollbacks of a version that is equal, as shares of the runs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FalseRollbacks {
    share: f64,
    /// The 95 % interval of it.
    low: f64,
    high: f64,
    /// What the plan promises at most; absent where it judges nothing.
    promised: Option<f64>,
}

impl Calibrated {
    fn new(args: &Args, record: &Record, plan: &ReadPlan, runs: &[Run]) -> Calibrated {
        let ended = |phase: &str| runs.iter().filter(|run| run.phase == phase).count() as f64;
        let all = runs.len() as f64;
        let (promoted, back) = (ended("Succeeded") / all, ended("RolledBack") / all);
        let (low, high) = wilson(back, all);
        let times = runs.iter().filter(|run| run.phase == "Succeeded").map(|run| run.elapsed.as_secs_f64());
        let (requests, failures) = record.series.sum();
        let seconds = record.series.lasts().as_secs_f64();
        Calibrated {
            target: args.alias.to_string(),
            plan: plan.pinned.name.clone(),
            recorded: Recorded { rollouts: record.rollouts, seconds, requests, failures },
            runs: args.runs,
            seed: args.seed,
            until_seconds: args.until.as_secs_f64(),
            false_rollbacks: FalseRollbacks {
                share: back,
                low,
                high,
                promised: plan.plan.analysis.as_ref().map(|analysis| analysis.false_rollback_rate),
            },
            promoted,
            waiting: 1.0 - promoted - back,
            seconds: spread(times),
            waiting_for: waited_for(runs),
        }
    }

    fn table(&self, look: &Look) -> String {
        let Recorded { rollouts, seconds, requests, failures } = self.recorded;
        let in_words = |seconds: f64| span(Duration::from_secs_f64(seconds.round()));
        let mut title = Line::new();
        let head = format!("{}, two equal versions by the plan {}: ", self.target, look.words(&self.plan));
        let rest = format!(
            "{} runs of at most {}, seed {}",
            count(self.runs),
            in_words(self.until_seconds),
            self.seed
        );
        title.tone(Tone::Strong, head + &rest);
        let mut lines = vec![title, Line::new()];
        let mut row = |label: &str, tone: Tone, said: &str| {
            let mut line = Line::new();
            line.tone(Tone::Quiet, label).pad_to(LABEL_WIDTH);
            lines.extend(wrapped(line, tone, &look.words(said), look));
        };
        let share = |share: f64| format!("{:.1}%", share * 100.0);
        row(
            "recorded",
            Tone::Plain,
            &format!(
                "{} of {}: {}, {} of which failed, {}",
                in_words(seconds),
                plural(rollouts, "rollout", "rollouts"),
                plural(requests as usize, "request", "requests"),
                share(failures as f64 / requests.max(1) as f64),
                request_rate(requests as f64 / seconds)
            ),
        );
        let FalseRollbacks { share: back, low, high, promised } = self.false_rollbacks;
        let mut said = format!("{} [{}, {}]", share(back), share(low), share(high));
        let is_broken = promised.is_some_and(|promised| low > promised);
        if let Some(promised) = promised {
            said.push_str(&format!(" of healthy versions; the plan promises {} at most", share(promised)));
        }
        row("rolled back", if is_broken { Tone::Bad } else { Tone::Plain }, &said);
        if is_broken {
            let why = "failures of this alias come together: say by how many with `analysis.minDispersion`, as in 3, and \
                       calibrate again";
            row("", Tone::Caution, why);
        }
        let through = match self.seconds {
            Some(Spread { median, p90, .. }) => format!(
                "{}, half of these within {}, nine of ten within {}",
                share(self.promoted),
                in_words(median),
                in_words(p90)
            ),
            None => "none".to_owned(),
        };
        row("promoted", Tone::Plain, &through);
        if self.waiting > 0.0 {
            let waits = self.waiting_for.iter().map(|(wait, runs)| format!("{} for {wait}", count(*runs)));
            let waits: Vec<String> = waits.collect();
            row("still waiting", Tone::Caution, &format!("{}: {}", share(self.waiting), waits.join(", ")));
        }
        look.print(&lines)
    }
}

const LABEL_WIDTH: usize = 15;

/// The interval of a share at 95 % (Wilson).
fn wilson(share: f64, runs: f64) -> (f64, f64) {
    const Z: f64 = 1.96;
    let middle = (share + Z * Z / (2.0 * runs)) / (1.0 + Z * Z / runs);
    let half = Z / (1.0 + Z * Z / runs) * (share * (1.0 - share) / runs + Z * Z / (4.0 * runs * runs)).sqrt();
    ((middle - half).max(0.0), (middle + half).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::wire::{CountsBlock, ExposureView};

    #[test]
    fn shares_have_their_interval() {
        let (low, high) = wilson(0.01, 1000.0);
        assert!((low - 0.0054).abs() < 2e-4 && (high - 0.0184).abs() < 2e-4, "{low} {high}");
        assert!(wilson(0.0, 200.0).0.abs() < 1e-12 && (wilson(0.0, 200.0).1 - 0.0188).abs() < 2e-4);
    }

    fn block(t: f64, stable: (u64, u64), canary: (u64, u64)) -> CountsBlock {
        let of = |(requests, failures)| ExposureView { requests, failures };
        CountsBlock { t, weight: 0.1, stable: of(stable), canary: of(canary) }
    }

    /// A canary that was taken back tells how much came, and nothing of how much fails.
    #[test]
    fn what_a_bad_canary_failed_is_no_traffic_of_the_alias() {
        let counts = CountsView {
            prior: None,
            blocks: vec![
                block(1.0, (90, 9), (10, 10)),
                block(3.0, (90, 0), (10, 10)),
                block(4.0, (0, 0), (5, 5)),
            ],
        };
        let series = |phase: &str| {
            let mut series = Series::default();
            for (lasts, requests, failures) in played(phase, &counts) {
                series.push(Stretch { lasts: Duration::from_secs(lasts), requests, failures });
            }
            (series.lasts().as_secs(), series.sum())
        };
        assert_eq!(series("RolledBack"), (3, (200, 10)));
        assert_eq!(series("Succeeded"), (4, (205, 34)));
    }

    fn played(phase: &str, counts: &CountsView) -> Vec<(u64, u64, u64)> {
        stretches(phase, counts)
            .map(|stretch| (stretch.lasts.as_secs(), stretch.requests, stretch.failures))
            .collect()
    }
}
