//! How the story is shown: a picture drawn over itself on a terminal, lines below each other elsewhere.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::load::Seen;
use crate::api::wire::Explanation;
use crate::cli::render::line::{Line, wrapped};
use crate::cli::render::picture::scene;
use crate::cli::render::sections::entry_text;
use crate::cli::render::tone::Tone;
use crate::cli::render::{Look, words};
use crate::cli::session::Session;
use crate::cli::watch::Screen;
use crate::clock;

/// Elsewhere than on a screen, a line on how evidence stands comes at most this often.
const LINE_EVERY: Duration = Duration::from_secs(3);

/// Where the story is shown.
pub struct View<'a> {
    session: &'a Session,
    screen: Option<Screen>,
    rollout: String,
    last_seq: u64,
    last_line: Instant,
}

impl<'a> View<'a> {
    /// On this session's terminal.
    pub fn new(session: &'a Session) -> View<'a> {
        let now = clock::instant_now();
        View { session, screen: None, rollout: String::new(), last_seq: 0, last_line: now }
    }

    fn look(&self) -> Look {
        let look = self.session.terminal.look();
        Look { width: look.width.min(100), ..look }
    }

    fn print(&self, lines: &[Line]) -> anyhow::Result<()> {
        self.session.terminal.print_on(&self.look().print(lines))
    }

    /// A heading.
    pub fn title(&mut self, text: &str) -> anyhow::Result<()> {
        let mut lines = vec![Line::new()];
        lines.extend(wrapped(Line::new(), Tone::Strong, &self.look().words(text), &self.look()));
        self.print(&lines)
    }

    /// A sentence.
    pub fn say(&self, text: &str) -> anyhow::Result<()> {
        self.print(&wrapped(Line::new(), Tone::Plain, &self.look().words(text), &self.look()))
    }

    /// A file, as it is.
    pub fn quote(&self, text: &str) -> anyhow::Result<()> {
        let quoted = |line: &str| {
            let mut quoted = Line::of("    ");
            quoted.tone(Tone::Quiet, line);
            quoted
        };
        self.print(&text.lines().map(quoted).collect::<Vec<_>>())
    }

    /// What users saw so far.
    pub fn users(&self, seen: &BTreeMap<String, Seen>) -> anyhow::Result<()> {
        self.print(&[users(seen)])
    }

    /// How a rollout stands.
    pub fn rollout(
        &mut self,
        explanation: &Explanation,
        seen: &BTreeMap<String, Seen>,
        is_last: bool,
    ) -> anyhow::Result<()> {
        let is_new = self.rollout != explanation.status.id;
        if is_new {
            self.rollout.clone_from(&explanation.status.id);
        }
        if !self.session.terminal.is_screen {
            return self.lines(explanation, seen);
        }
        if is_new {
            self.screen = Some(Screen::below(self.session));
        }
        let look = self.look();
        let mut lines = scene(explanation, &look);
        lines.insert(0, users(seen));
        let screen = self.screen.get_or_insert_with(|| Screen::below(self.session));
        screen.draw(&look.print(&lines), is_last, self.session)
    }

    /// What is new in the journal, and from time to time how the evidence stands.
    fn lines(&mut self, explanation: &Explanation, seen: &BTreeMap<String, Seen>) -> anyhow::Result<()> {
        let look = self.look();
        let mut lines = Vec::new();
        for event in explanation.history.iter().rev().filter(|event| event.seq > self.last_seq) {
            let mut head = Line::of("  ");
            head.tone(Tone::Quiet, words::clock(&event.at, &look)).add("  ");
            lines.extend(wrapped(head, Tone::Plain, &entry_text(event, &look), &look));
        }
        let last = explanation.history.iter().map(|event| event.seq).max().unwrap_or(0);
        self.last_seq = self.last_seq.max(last);
        if self.last_line.elapsed() >= LINE_EVERY && !explanation.status.is_final() {
            self.last_line = clock::instant_now();
            lines.push(users(seen));
            let needs = explanation.gates.iter().find(|gate| !gate.met).map(|gate| look.words(&gate.needs));
            if let Some(needs) = needs.filter(|needs| !needs.is_empty()) {
                lines.extend(wrapped(Line::of("  needs  "), Tone::Plain, &needs, &look));
            }
        }
        if lines.is_empty() { Ok(()) } else { self.print(&lines) }
    }

    /// How a rollout ended.
    pub fn verdict(&mut self, tone: Tone, explanation: &Explanation) -> anyhow::Result<()> {
        if self.session.terminal.is_screen {
            return Ok(());
        }
        let (status, look) = (&explanation.status, self.look());
        let mut line = Line::of("  ");
        line.tone(tone, status.phase.clone());
        if !status.reason.is_empty() {
            line.add(": ");
        }
        self.print(&wrapped(line, Tone::Plain, &look.words(&status.reason), &look))
    }
}

/// What users saw, by version.
fn users(seen: &BTreeMap<String, Seen>) -> Line {
    let mut line = Line::of("  ");
    line.tone(Tone::Quiet, "users");
    for (version, seen) in seen {
        let name = if version.is_empty() { "no answer".to_owned() } else { format!("v{version}") };
        let failed = if seen.failures == 0 { Tone::Plain } else { Tone::Caution };
        line.add(format!("   {name} {} (", words::count(seen.requests)));
        line.tone(failed, format!("{} failed", words::count(seen.failures))).add(")");
    }
    line
}
