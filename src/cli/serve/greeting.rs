//! What the daemon says when it runs: where everything is, and what whoever starts it must know.
//!
//! On a terminal it is a short text; elsewhere the same facts are log lines, the addresses among their fields.

use std::io::{self, IsTerminal};

use crate::cli::render::Look;
use crate::cli::render::line::{Line, wrapped};
use crate::cli::render::tone::Tone;
use crate::cli::render::words;
use crate::cli::session::Session;
use crate::config::ServeConfig;
use crate::daemon::{Daemon, PlansSeen};
use serin_core::model::time::human;

const LABEL_WIDTH: usize = 11;
/// So many faulty plan files are told of one by one.
const FAULTS_TOLD_MAX: usize = 10;

/// Says that the daemon runs.
pub fn greet(daemon: &Daemon, config: &ServeConfig, session: &Session) {
    let facts = Facts::of(daemon, config);
    if io::stderr().is_terminal() {
        let look = session.terminal.look_of_errors();
        session.terminal.note_as_is(&look.print(&facts.text(&look)));
    } else {
        facts.log(daemon, config);
    }
}

struct Facts {
    api: String,
    router: String,
    tls: Option<String>,
    example: String,
    data: String,
    plans: String,
    plan_faults: Vec<String>,
    changes: String,
    notes: Vec<String>,
    problems: Vec<String>,
    drain: String,
}

impl Facts {
    fn of(daemon: &Daemon, config: &ServeConfig) -> Facts {
        let seen = daemon.plans();
        let router = format!("http://{}", daemon.router_addr);
        let tls = daemon.router_tls_addr.map(|addr| format!("https://{addr}, with {}", certificate(config)));
        let (owners, others) = daemon.principals();
        let mut notes = Vec::new();
        let changes = match (daemon.wants_credentials(), owners + others) {
            (false, _) => {
                notes.push(
                    "on loopback without tokens or principals: whoever reaches the API is the owner"
                        .to_owned(),
                );
                "want no credentials".to_owned()
            }
            (true, 0) => "want a bearer token, one of SERIN_TOKEN".to_owned(),
            (true, _) => format!(
                "want a signature or a token: {}, {} held to policies",
                words::plural(owners, "owner", "owners"),
                words::plural(others, "other", "others")
            ),
        };
        if owners + others == 0 {
            notes.push("permissions are stored, and hold nobody without --principals".to_owned());
        }
        if config.router_is_open() {
            notes.push(shown_to_others(config, daemon.wants_credentials()));
        }
        notes.extend(daemon.lacking());
        Facts {
            api: format!("http://{}", daemon.api_addr),
            example: format!("{router}/{{function}}:{{alias}}/path"),
            router,
            tls,
            data: config.data_dir.display().to_string(),
            plans: in_words(&seen),
            plan_faults: first_of(seen.faults),
            changes,
            notes,
            problems: daemon.problems.clone(),
            drain: human(config.drain),
        }
    }

    fn text(&self, look: &Look) -> Vec<Line> {
        let mut head = Line::new();
        head.tone(Tone::Strong, concat!("serin ", env!("CARGO_PKG_VERSION"))).add(" is running");
        let mut lines = vec![head];
        let mut say = |tone: Tone, label: &str, text: &str| {
            let mut line = Line::of("  ");
            line.tone(tone, label).pad_to(LABEL_WIDTH);
            lines.extend(wrapped(line, Tone::Plain, &look.words(text), look));
        };
        say(Tone::Quiet, "API", &self.api);
        say(Tone::Quiet, "router", &format!("{}, requests as {}", self.router, self.example));
        if let Some(tls) = &self.tls {
            say(Tone::Quiet, "", tls);
        }
        say(Tone::Quiet, "data", &self.data);
        say(Tone::Quiet, "plans", &self.plans);
        for fault in &self.plan_faults {
            say(Tone::Quiet, "", fault);
        }
        say(Tone::Quiet, "changes", &self.changes);
        for note in &self.notes {
            say(Tone::Caution, "note", note);
        }
        for problem in &self.problems {
            say(Tone::Bad, "problem", problem);
        }
        say(Tone::Quiet, "stop", &format!("Ctrl-C; requests under way get {} to end", self.drain));
        lines
    }

    fn log(&self, daemon: &Daemon, config: &ServeConfig) {
        tracing::info!(
            pid = std::process::id(),
            api.addr = %daemon.api_addr,
            router.addr = %daemon.router_addr,
            router.tls_addr = daemon.router_tls_addr.map(tracing::field::display),
            data.dir = %config.data_dir.display(),
            plans = self.plans,
            changes = self.changes,
            "serin is running: API {}, router {}{}, requests as {}",
            self.api,
            self.router,
            self.tls.as_ref().map(|tls| format!(" and {tls}")).unwrap_or_default(),
            self.example
        );
        for fault in &self.plan_faults {
            tracing::warn!("a plan file is not in order: {fault}");
        }
        for note in &self.notes {
            tracing::warn!("{note}");
        }
        for problem in &self.problems {
            tracing::warn!("found at boot: {problem}");
        }
    }
}

/// The first few of the faults, and how many more there are.
fn first_of(mut faults: Vec<String>) -> Vec<String> {
    let more = faults.len().saturating_sub(FAULTS_TOLD_MAX);
    faults.truncate(FAULTS_TOLD_MAX);
    if more > 0 {
        faults.push(format!("and {more} more; `serin plan list` has them all"));
    }
    faults
}

/// What whoever reaches a router that other machines reach gets to see there.
fn shown_to_others(config: &ServeConfig, wants_credentials: bool) -> String {
    let bound = match config.routes.len() {
        0 => String::new(),
        routes => format!("{}, ", words::plural(routes, "route", "routes")),
    };
    let versions = match config.shows_versions() {
        true => " and, released or not, every version by number and $LATEST",
        false => "",
    };
    let invoke = match (config.shows_invoke(), wants_credentials) {
        (false, _) => "Invoke is off",
        (true, true) => "Invoke wants credentials",
        (true, false) => "and every function can be invoked, for nobody is asked for credentials",
    };
    format!(
        "other machines reach the router: it shows them {bound}every alias as /{{function}}:{{alias}}/{versions}; {invoke}"
    )
}

fn certificate(config: &ServeConfig) -> String {
    config.tls.as_ref().map(|tls| tls.cert.display().to_string()).unwrap_or_default()
}

fn in_words(seen: &PlansSeen) -> String {
    let Some(directory) = &seen.directory else {
        return "none: `serin start FILE` sends a plan along (--plans DIR reads a directory)".to_owned();
    };
    let fine = words::plural(seen.sound, "file in order", "files in order");
    match seen.faults.len() {
        0 => format!("{directory}: {fine}"),
        faulty => format!("{directory}: {fine}, {faulty} not"),
    }
}
