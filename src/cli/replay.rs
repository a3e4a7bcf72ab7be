//! `serin replay`: recorded counts through a plan's gates.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::counts_file::{self, Line};
use super::exit::Exit;
use super::flags::TableOrJson;
use super::plan_file::PlanFile;
use super::render::table::Sheet;
use super::render::words::{count, share};
use super::session::Session;
use crate::cli::render::tone::Tone;
use crate::simulate::replay::{Dispersion, Judged, Prior, Recorded, Replay, Verdict};

const EXAMPLES: &str = "\
Examples:
  serin replay --plan plans/checkout.yaml counts.jsonl
  serin history --counts checkout:live | serin replay --plan stricter.yaml -
  serin replay --plan plans/checkout.yaml counts.jsonl --dispersion 1 -o json

COUNTS has a JSON object a line: {\"t\": 10, \"weight\": 0.03, \"stable\": {\"requests\": 970, \"failures\": 1},
\"canary\": {\"requests\": 30, \"failures\": 0}}, where t is the end of the block in seconds and the counts are what
came since the line before. The first line may be {\"prior\": {\"requests\": 8700, \"failures\": 9}}: the stable
version's traffic before, and \"dispersion\" in it how unevenly that failed. One JSON list of such objects does as well,
and so does CSV whose first line is
t,weight,stable_requests,stable_failures,canary_requests,canary_failures (before them prior,,8700,9,,). `advance` says that the proof stands; bakes, windows and people are not replayed.

Exit codes: 0 however it went, 1 when the counts or the plan cannot be read";

/// What to replay.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The plan whose gates the counts go through.
    #[arg(long, value_name = "FILE")]
    plan: PathBuf,
    /// The counts, or `-` for stdin.
    #[arg(value_name = "COUNTS")]
    counts: PathBuf,
    /// How much more failures vary than independent ones would, or `auto` to learn it from the stable version.
    #[arg(long, value_name = "N|auto", default_value = "auto", value_parser = dispersion)]
    dispersion: Dispersion,
    /// How it is printed; as JSON, an object a line.
    #[arg(long, short, value_enum, value_name = "FORM", default_value = "table")]
    output: TableOrJson,
}

fn dispersion(text: &str) -> Result<Dispersion, &'static str> {
    if text == "auto" {
        return Ok(Dispersion::Auto);
    }
    match text.parse::<f64>() {
        Ok(phi) if (1.0..=1e6).contains(&phi) => Ok(Dispersion::Constant(phi)),
        _ => Err("a dispersion is a number from 1 (independent failures) on, or `auto`"),
    }
}

/// Does it.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    let plan = PlanFile::read(&args.plan)?.sound(session)?;
    let from_stdin = args.counts == Path::new("-");
    let name = if from_stdin { "stdin".to_owned() } else { args.counts.display().to_string() };
    let input: Box<dyn Read> = if from_stdin {
        Box::new(std::io::stdin())
    } else {
        Box::new(File::open(&args.counts).with_context(|| format!("cannot read the counts {name}"))?)
    };
    let judged = replay(args, &plan.plan, BufReader::new(input), &name)?;
    let text = match args.output {
        TableOrJson::Json => judged.lines(),
        TableOrJson::Table => judged.table(session),
    };
    session.terminal.print(&text)?;
    Ok(Exit::Done)
}

/// Every block with what it led to.
struct Replayed {
    rows: Vec<(Recorded, Judged)>,
    ln_harm_limit: f64,
    ln_proof_limit: Option<f64>,
}

fn replay(
    args: &Args,
    plan: &serin_core::plan::Plan,
    input: impl BufRead,
    name: &str,
) -> anyhow::Result<Replayed> {
    let begin = |prior: Prior| {
        Replay::begin(plan, args.dispersion, prior).with_context(|| format!("cannot replay {name}"))
    };
    let (mut replay, mut rows) = (None, Vec::new());
    counts_file::read(input, name, |place, line| {
        let place = || place.to_owned();
        match line {
            Line::Prior(prior) if replay.is_none() => replay = Some(begin(prior).with_context(place)?),
            Line::Prior(_) => bail!("{}: `prior` stands in the first line only", place()),
            Line::Block(block) => {
                let replay = match &mut replay {
                    Some(replay) => replay,
                    None => replay.insert(begin(Prior::default())?),
                };
                rows.push((block, replay.judge(&block).with_context(place)?));
            }
        }
        Ok(())
    })?;
    if rows.is_empty() {
        bail!("there is no count in {name}: nothing to replay");
    }
    let replay = replay.expect("a row was judged by it");
    Ok(Replayed { rows, ln_harm_limit: replay.ln_harm_limit(), ln_proof_limit: replay.ln_proof_limit() })
}

impl Replayed {
    fn lines(&self) -> String {
        let line = |(_, judged): &(Recorded, Judged)| {
            serde_json::to_string(judged).expect("a verdict is numbers and a word") + "\n"
        };
        self.rows.iter().map(line).collect()
    }

    fn table(&self, session: &Session) -> String {
        let look = session.terminal.look();
        let heads = [
            "END", "WEIGHT", "STABLE", "FAILED", "CANARY", "FAILED", "LN HARM", "LN PROOF", "PHI", "VERDICT",
        ];
        let mut sheet = Sheet::new(&heads, &look).right(&[0, 1, 2, 3, 4, 5, 6, 7, 8]);
        for (block, judged) in &self.rows {
            let tone = match judged.verdict {
                Verdict::Rollback => Tone::Bad,
                Verdict::Advance => Tone::Good,
                Verdict::Wait => Tone::Plain,
            };
            let proof = judged.ln_proof.map_or_else(|| look.glyphs().none.to_owned(), two_decimals);
            sheet.toned(&[
                (Tone::Plain, &format!("{}s", block.t)),
                (Tone::Plain, &share(block.weight)),
                (Tone::Plain, &count(block.stable.requests)),
                (Tone::Plain, &count(block.stable.failures)),
                (Tone::Plain, &count(block.canary.requests)),
                (Tone::Plain, &count(block.canary.failures)),
                (Tone::Plain, &two_decimals(judged.ln_harm)),
                (Tone::Plain, &proof),
                (Tone::Plain, &two_decimals(judged.phi)),
                (tone, &judged.verdict.to_string()),
            ]);
        }
        let mut text = sheet.text();
        text.push_str(&look.words(&self.summary()));
        text.push('\n');
        text
    }

    fn summary(&self) -> String {
        let first = |verdict: Verdict| self.rows.iter().find(|(_, judged)| judged.verdict == verdict);
        let limits = match self.ln_proof_limit {
            Some(proof) => format!("Rollback at {:.2}, proof at {proof:.2}", self.ln_harm_limit),
            None => format!("Rollback at {:.2}, no proof is asked for", self.ln_harm_limit),
        };
        let proven = first(Verdict::Advance).map(|(block, _)| format!("first proof at {}s", block.t));
        let back = first(Verdict::Rollback).map(|(block, _)| {
            let until = self.rows.iter().take_while(|(each, _)| each.t <= block.t);
            let failed: u64 = until.map(|(each, _)| each.canary.failures).sum();
            format!("rolled back at {}s after {} failed canary requests", block.t, count(failed))
        });
        let said: Vec<String> = [proven, Some(back.unwrap_or_else(|| "not rolled back".to_owned()))]
            .into_iter()
            .flatten()
            .collect();
        format!("{limits}: {}.", said.join(", "))
    }
}

fn two_decimals(number: f64) -> String {
    format!("{number:.2}")
}
