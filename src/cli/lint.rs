//! `serin lint`: checks plan files, shows every fault with its place, and says whether their gates can decide.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::diagnose::render;
use super::exit::Exit;
use super::feasibility::{self, Feasibility, Traffic};
use super::flags::{Share, TextOrJson, json, rate};
use super::plan_file::{PlanFile, in_directory};
use super::session::Session;
use crate::cli::render::tone::Tone;
use crate::config::{PlanEnv, PlanVariable};
use serin_core::model::time::human;
use serin_core::model::weight::Weight;
use serin_core::plan::{self, Fault, Plan, Severity, Source, Step, WantedVariable};

const EXAMPLES: &str = "\
Examples:
  serin lint plans                                every plan of a directory
  serin lint plans/checkout.yaml --resolved       the plan as it is read, with every default filled in
  serin lint plans -o json                        for editors and pipelines
  serin lint plans/checkout.yaml --rps 20         and how long each step takes to be decided
  serin lint plans --against                      the same by the live traffic of each plan's alias

Exit codes: 0 all in order (warnings do not count), 1 faults, or a plan that traffic like this does not decide
before its deadline";

/// What to check.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Plan files, or directories of them.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print the plans that are in order as they are read, with every default filled in, as YAML.
    #[arg(long)]
    resolved: bool,
    /// Also say what each step needs for a decision at so many requests a second to the alias.
    #[arg(long, value_name = "N", value_parser = rate, conflicts_with = "against")]
    rps: Option<f64>,
    /// The share of the stable version's requests that fails, with --rps [default: 0.1%].
    #[arg(long, value_name = "SHARE")]
    stable_failures: Option<Share>,
    /// How many users the alias has at a time, for plans that keep users on a version; with --rps.
    #[arg(long, value_name = "N", requires = "rps", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    users: Option<u64>,
    /// The same by the live counters of each plan's alias, watched at the daemon for five seconds.
    #[arg(long)]
    against: bool,
    /// The variables that the daemon gives to plans, as its own --plan-env says; those that a plan wants beside are named.
    #[arg(long, value_name = "NAME[=HOST,…]", env = "SERIN_PLAN_ENV", value_delimiter = ' ')]
    plan_env: Vec<PlanVariable>,
    /// How it is printed.
    #[arg(long, short, value_enum, value_name = "FORM", default_value = "text")]
    output: TextOrJson,
}

/// What came of one file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Checked {
    file: String,
    ok: bool,
    /// `plan` or `defaults`.
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    steps: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    /// Faults and warnings.
    findings: Vec<Fault>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved: Option<String>,
    /// Variables of the daemon's environment that the plan wants and would not be given, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    wants: Vec<String>,
    /// What the gates need for a decision, where traffic was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    feasibility: Option<Feasibility>,
    #[serde(skip)]
    sources: Vec<Source>,
    #[serde(skip)]
    plan: Option<Plan>,
}

/// Does it.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    let env = PlanEnv::with(&args.plan_env, |_| None);
    feasibility::check(args.rps, args.against, args.stable_failures.map(|share| share.0))?;
    let mut checked = Vec::new();
    for path in &args.files {
        if path.is_dir() {
            let files = in_directory(path)?;
            if files.is_empty() {
                anyhow::bail!("there is no plan in {}: no file there ends in .yaml or .yml", path.display());
            }
            for file in files {
                checked.push(check(&file, args.resolved, &env)?);
            }
        } else {
            checked.push(check(path, args.resolved, &env)?);
        }
    }
    measure(&mut checked, args, session)?;
    let text = match args.output {
        TextOrJson::Json => json(&serde_json::json!({ "files": checked })),
        TextOrJson::Text => text(&checked, args.resolved, session),
    };
    session.terminal.print(&text)?;
    let is_good = |file: &Checked| file.ok && file.feasibility.as_ref().is_none_or(Feasibility::is_in_time);
    Ok(if checked.iter().all(is_good) { Exit::Done } else { Exit::Failed })
}

/// The failure rate of a stable version of which nothing is said.
const STABLE_FAILURES: f64 = 0.001;

/// Says of each sound plan what its gates need under the traffic asked about.
fn measure(checked: &mut [Checked], args: &Args, session: &Session) -> anyhow::Result<()> {
    let plans: Vec<&Plan> = checked.iter().filter_map(|file| file.plan.as_ref()).collect();
    let traffic = match args.rps {
        Some(requests_per_s) => {
            let stable_failures = args.stable_failures.map_or(STABLE_FAILURES, |share| share.0);
            vec![Traffic { requests_per_s, stable_failures, users: args.users }; plans.len()]
        }
        None if args.against && !plans.is_empty() => feasibility::live(&plans, session)?,
        None => return Ok(()),
    };
    let measured = checked.iter_mut().filter(|file| file.plan.is_some()).zip(traffic);
    for (file, traffic) in measured {
        file.feasibility = file.plan.as_ref().map(|plan| Feasibility::of(plan, traffic));
    }
    Ok(())
}

fn check(path: &Path, resolved: bool, env: &PlanEnv) -> anyhow::Result<Checked> {
    let file = PlanFile::read(path)?;
    let mut checked = Checked {
        file: file.source.name.clone(),
        ok: true,
        kind: "plan",
        target: None,
        steps: Vec::new(),
        digest: None,
        findings: Vec::new(),
        resolved: None,
        wants: Vec::new(),
        feasibility: None,
        sources: file.sources(),
        plan: None,
    };
    if plan::is_defaults(&file.source) {
        checked.kind = "defaults";
        checked.findings = plan::check_defaults(&file.source);
        checked.ok = checked.findings.iter().all(|fault| fault.severity == Severity::Warning);
        return Ok(checked);
    }
    match file.load() {
        Ok(loaded) => {
            checked.target = Some(loaded.plan.target.to_string());
            checked.steps = steps(&loaded.plan);
            checked.resolved = resolved.then(|| plan::resolved_yaml(&loaded.plan));
            checked.wants = wants(&loaded.plan, env);
            checked.digest = Some(loaded.digest);
            checked.findings = loaded.warnings;
            checked.plan = Some(loaded.plan);
        }
        Err(faults) => {
            checked.ok = false;
            checked.findings = faults;
        }
    }
    Ok(checked)
}

/// What a plan wants of the daemon's environment beyond what it is given; whether that is set is known there alone.
fn wants(plan: &Plan, env: &PlanEnv) -> Vec<String> {
    let lack = |variable: WantedVariable| env.check(&variable.name, variable.url.as_deref()).err();
    let mut wants: Vec<String> =
        plan.variables().into_iter().filter_map(lack).map(|why| why.to_string()).collect();
    wants.dedup();
    wants
}

fn steps(plan: &Plan) -> Vec<String> {
    let in_words = |step: &Step| match step {
        Step::SetWeight(weight) if *weight > Weight::ZERO => weight.to_string(),
        Step::Bake(span) => format!("bake {}", human(*span)),
        step => step.kind().to_owned(),
    };
    plan.steps.iter().map(in_words).collect()
}

/// With `--resolved` the plans alone go to stdout; what is wrong goes to stderr then.
fn text(checked: &[Checked], resolved: bool, session: &Session) -> String {
    let look = session.terminal.look();
    let glyphs = look.glyphs();
    let (mut told, mut plans) = (String::new(), String::new());
    for file in checked {
        if !file.findings.is_empty() {
            told.push_str(&render(&file.findings, &file.sources, look.color, look.width));
        }
        if file.ok {
            let ok = Tone::Good.paint(glyphs.yes, look.color);
            let what = match &file.target {
                Some(target) => {
                    let arrow = format!(" {} ", glyphs.arrow);
                    format!("{target}, {}", file.steps.join(&arrow))
                }
                None => "defaults for other plans".to_owned(),
            };
            told.push_str(&format!("{ok} {}: {what}\n", look.words(&file.file)));
            for want in &file.wants {
                told.push_str(&format!("  it wants {}\n", look.words(want)));
            }
        }
        if let Some(feasibility) = &file.feasibility {
            told.push_str(&look.print(&feasibility.lines(&look)));
        }
        if let Some(resolved) = &file.resolved {
            if checked.len() > 1 {
                plans.push_str(&format!("--- # {}\n", file.file));
            }
            plans.push_str(resolved.trim_end());
            plans.push('\n');
        }
    }
    if !resolved {
        return told;
    }
    session.terminal.note_as_is(&told);
    plans
}
