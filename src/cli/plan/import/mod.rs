//! `serin plan import`: a manifest of another tool as a plan, and line by line what became of it.
//!
//! Which tool it is shows by the content. What cannot be read is refused with its place, and so is a word that might be
//! a gate and that serin does not know; whatever else has no equal is reported. The plan that is printed is one that
//! `serin lint` takes.

mod argo;
mod argo_analysis;
mod document;
mod draft;
mod flagger;
mod flagger_metrics;
mod pipecd;
mod report;
mod sam;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;

use crate::cli::diagnose::render;
use crate::cli::exit::Exit;
use crate::cli::flags::{TextOrJson, json};
use crate::cli::session::Session;
use document::{BYTES_MAX, Node, Refusal};
use draft::Draft;
use report::{Finding, Import};
use serin_core::plan::{self, Fault, Source};

const EXAMPLES: &str = "\
Examples:
  serin plan import rollout.yaml > plans/checkout.yaml
  serin plan import template.yaml --function Checkout     one function of several
  serin plan import canary.yaml --prometheus http://prometheus:9090
  serin plan import app.pipecd.yaml -o json               plan and report for scripts

The plan goes to stdout, what became of each line to stderr. It reads an Argo Rollout with a canary strategy (with its
AnalysisTemplates in the same file), a Flagger Canary (with its MetricTemplates), a SAM template's DeploymentPreference and
an application of PipeCD, in YAML or JSON, as they are applied: templates of Helm's are rendered first.";

/// What to read.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The manifest.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The alias that the plan moves, where the manifest names none [default: live].
    #[arg(long, value_name = "NAME")]
    alias: Option<String>,
    /// Which function of a SAM template, or which manifest of several by its name.
    #[arg(long, value_name = "NAME")]
    function: Option<String>,
    /// The Prometheus of queries that do not say where theirs is.
    #[arg(long, value_name = "URL")]
    prometheus: Option<String>,
    /// How it is printed.
    #[arg(long, short, value_enum, value_name = "FORM", default_value = "text")]
    output: TextOrJson,
}

/// The plan and the report, for scripts.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Imported<'a> {
    file: &'a str,
    origin: &'a str,
    function: &'a str,
    alias: &'a str,
    plan: &'a str,
    report: &'a [Finding],
}

/// Does it.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    let bytes = read_file(&args.file)?;
    let name = args.file.display().to_string();
    let source = Source::new(name.clone(), bytes.clone());
    let show = |faults: &[Fault], sources: &[Source]| {
        let look = session.terminal.look_of_errors();
        session.terminal.note_as_is(&render(faults, sources, look.color, look.width));
    };
    let mut import = match import(args, &name, &bytes) {
        Ok(import) => import,
        Err(fault) => {
            show(&[*fault], &[source]);
            return Ok(Exit::Failed);
        }
    };
    import.report.sort_by_key(|finding| (finding.line, finding.column));
    // What two steps measure is told once.
    import.report.dedup();
    let plan = import.draft.yaml(&file_name(&args.file));
    let written = Source::new("the plan that comes of it", plan.clone().into_bytes());
    if let Err(faults) = plan::load(&written, None) {
        show(&faults, &[written]);
        anyhow::bail!("{name} makes no plan that is in order; above is what would have come of it");
    }
    if args.output == TextOrJson::Json {
        let Draft { origin, function, alias, .. } = &import.draft;
        let imported = Imported { file: &name, origin, function, alias, plan: &plan, report: &import.report };
        session.terminal.print(&json(&imported))?;
        return Ok(Exit::Done);
    }
    session.terminal.note_as_is(&report::text(&import.report, &session.terminal.look_of_errors()));
    session.terminal.print(&plan)?;
    Ok(Exit::Done)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    let cannot = || format!("cannot read the manifest {}", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(cannot)?;
    // One byte more than is read: its reader says then that it is too long.
    file.take(BYTES_MAX as u64 + 1).read_to_end(&mut bytes).with_context(cannot)?;
    Ok(bytes)
}

/// The tools that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tool {
    Argo,
    Flagger,
    Sam,
    PipeCd,
}

impl Tool {
    /// Whose a document is; `None` of one that stands beside, as a Service does.
    fn of(document: &Node) -> Option<Tool> {
        let tools = [
            (Tool::Argo, argo::is_rollout(document)),
            (Tool::Flagger, flagger::is_canary(document)),
            (Tool::Sam, sam::is_template(document)),
            (Tool::PipeCd, pipecd::is_app(document)),
        ];
        tools.into_iter().find_map(|(tool, is_its)| is_its.then_some(tool))
    }
}

fn import<'a>(args: &'a Args, file: &'a str, bytes: &[u8]) -> Result<Import<'a>, Refusal> {
    let documents = document::parse(file, bytes)?;
    let mut import =
        Import { file, prometheus: args.prometheus.as_deref(), draft: Draft::default(), report: Vec::new() };
    import.draft.alias = "live".to_owned();
    let (tool, document) = choose(&import, &documents, args.function.as_deref())?;
    match tool {
        Tool::Argo => argo::read(&mut import, document, &documents)?,
        Tool::Flagger => flagger::read(&mut import, document, &documents)?,
        Tool::Sam => sam::read(&mut import, document, args.function.as_deref())?,
        Tool::PipeCd => pipecd::read(&mut import, document)?,
    }
    import.draft.name_all_at_once();
    if let Some(alias) = &args.alias {
        import.draft.alias.clone_from(alias);
    }
    Ok(import)
}

/// The document that describes a canary: the only one, or the one of this name.
fn choose<'a>(
    import: &Import<'_>,
    documents: &'a [Node],
    wanted: Option<&str>,
) -> Result<(Tool, &'a Node), Refusal> {
    let name = |document: &Node| {
        let names = [document.text_at(&["metadata", "name"]), document.text_at(&["spec", "name"])];
        names.into_iter().flatten().next().unwrap_or("without a name").to_owned()
    };
    let mut found: Vec<(Tool, &Node)> =
        documents.iter().filter_map(|document| Some((Tool::of(document)?, document))).collect();
    if let Some(wanted) = wanted {
        // Of a template the function is chosen later.
        found.retain(|(tool, document)| *tool == Tool::Sam || name(document) == wanted);
    }
    match found.as_slice() {
        [one] => Ok(*one),
        [] => {
            let place = documents.first().map(|document| document.place).unwrap_or_default();
            let (said, help) = match wanted {
                Some(wanted) => {
                    (format!("nothing here describes a canary of `{wanted}`"), "look at --function")
                }
                None => (
                    "nothing here describes a canary".to_owned(),
                    "it reads an Argo Rollout, a Flagger Canary, a SAM template with serverless functions, and an \
                     application of PipeCD",
                ),
            };
            Err(import.fault(place, said, help))
        }
        [(_, first), ..] => {
            let names: Vec<String> =
                found.iter().map(|(_, one)| format!("{} (line {})", name(one), one.place.line)).collect();
            let said = format!("{} manifests here describe a canary", found.len());
            Err(import.fault(first.place, said, format!("choose one with --function: {}", names.join(", "))))
        }
    }
}
