//! The plan that comes of a manifest, and how it is written: each line of it names the line it comes from.

use std::time::Duration;

use serin_core::model::time::human;

/// A share of the traffic, in ten-thousandths of a percent, which is as finely as a plan says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(pub u32);

impl Share {
    /// Everything.
    pub const ALL: Share = Share(1_000_000);
    /// What a plan's weight may be before it says how the first one is earned.
    const UNASKED: Share = Share(50_000);

    /// Reads percent, as in `20`, `12.5` or `10%`; `None` where it is no number from 0 to 100.
    pub fn read(text: &str) -> Option<Share> {
        let percent: f64 = text.trim().trim_end_matches('%').trim_end().parse().ok()?;
        (0.0..=100.0).contains(&percent).then(|| Share((percent * 1e4).round() as u32))
    }

    /// As a plan writes it.
    pub fn text(self) -> String {
        let (whole, rest) = (self.0 / 10_000, self.0 % 10_000);
        let digits = format!("{rest:04}");
        let digits = digits.trim_end_matches('0');
        if digits.is_empty() { format!("{whole}%") } else { format!("{whole}.{digits}%") }
    }
}

/// A step of the plan.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A weight.
    Weight(Share),
    /// Time at the present weight.
    Bake(Duration),
    /// Weights that rise alike.
    Ramp {
        /// The last of them.
        to: Share,
        /// By so much each.
        by: Share,
        /// Each for so long.
        every: Duration,
    },
    /// A person's `resume`.
    Pause,
    /// People's consent: the map behind `approval`.
    Approval(String),
    /// A web hook: the map behind `webhook`.
    Webhook(String),
    /// Metrics that hold for so long.
    Analysis(Vec<String>, Duration),
}

impl Step {
    fn text(&self) -> String {
        match self {
            Step::Weight(share) => share.text(),
            Step::Bake(span) => format!("bake: {}", human(*span)),
            Step::Ramp { to, by, every } => {
                format!("ramp: {{to: {}, by: {}, every: {}}}", to.text(), by.text(), human(*every))
            }
            Step::Pause => "pause: {}".to_owned(),
            Step::Approval(map) => format!("approval: {{{map}}}"),
            Step::Webhook(map) => format!("webhook: {{{map}}}"),
            Step::Analysis(metrics, span) => {
                format!("analysis: {{metrics: [{}], for: {}}}", metrics.join(", "), human(*span))
            }
        }
    }

    /// The weight that the canary has after it.
    fn weight(&self) -> Option<Share> {
        match self {
            Step::Weight(share) | Step::Ramp { to: share, .. } => Some(*share),
            Step::Bake(_) | Step::Pause | Step::Approval(_) | Step::Webhook(_) | Step::Analysis(..) => None,
        }
    }

    fn first_weight(&self) -> Option<Share> {
        match self {
            Step::Ramp { to, by, .. } => Some(*to.min(by)),
            Step::Weight(share) => Some(*share),
            Step::Bake(_) | Step::Pause | Step::Approval(_) | Step::Webhook(_) | Step::Analysis(..) => None,
        }
    }
}

/// A metric of a Prometheus.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metric {
    /// Its name.
    pub name: String,
    /// Where the Prometheus is.
    pub url: String,
    /// What it is asked.
    pub query: String,
    /// The least that passes, as it was written.
    pub min: Option<String>,
    /// The most that passes, as it was written.
    pub max: Option<String>,
    /// How often it is asked.
    pub interval: Option<Duration>,
    /// When it is asked first.
    pub initial_delay: Option<Duration>,
    /// How many bad answers are borne.
    pub failure_limit: Option<u64>,
    /// From which weight on it is asked.
    pub from: Option<Share>,
    /// The line it comes from.
    pub line: u32,
}

/// A key with a value, and the line it comes from.
type Line = (String, u32);

/// The plan so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draft {
    /// What it comes from, as in "an Argo Rollout".
    pub origin: &'static str,
    /// The function.
    pub function: String,
    /// The alias.
    pub alias: String,
    /// What it is about.
    pub description: Option<Line>,
    /// Labels.
    pub labels: Vec<(String, String)>,
    /// The name of one of CodeDeploy's, instead of steps.
    pub preset: Option<Line>,
    /// The steps, each with its line.
    pub steps: Vec<(Step, u32)>,
    /// The first weight is earned by copies.
    pub mirrors_first: Option<u32>,
    /// Nothing is judged.
    pub unjudged: Option<u32>,
    /// `analysis.failures.max`.
    pub failures_max: Option<Line>,
    /// `analysis.latency.p99Max`.
    pub p99_max: Option<Line>,
    /// `analysis.baseline: split`.
    pub splits_baseline: Option<u32>,
    /// Metrics.
    pub metrics: Vec<Metric>,
    /// `routing.mirror`.
    pub mirror: Option<(Share, u32)>,
    /// `routing.affinity.cookie`.
    pub cookie: Option<Line>,
    /// `timeouts.firstByte`.
    pub first_byte: Option<(Duration, u32)>,
}

impl Draft {
    /// The weight after the last step so far.
    pub fn weight(&self) -> Option<Share> {
        self.steps.iter().rev().find_map(|(step, _)| step.weight())
    }

    fn first_weight(&self) -> Option<Share> {
        self.steps.iter().find_map(|(step, _)| step.first_weight())
    }

    /// Says by its name what is meant, where everything goes over at once.
    pub fn name_all_at_once(&mut self) {
        if let [(Step::Weight(Share::ALL), line)] = self.steps.as_slice() {
            self.preset = Some(("AllAtOnce".to_owned(), *line));
            self.steps.clear();
        }
    }

    /// Whether a weight has no bake of its own, where a plan would take five minutes.
    fn leaves_a_bake_unsaid(&self) -> bool {
        let mut is_unsaid = false;
        for (step, _) in &self.steps {
            match step {
                Step::Weight(_) if is_unsaid => return true,
                Step::Weight(_) => is_unsaid = true,
                Step::Bake(_) => is_unsaid = false,
                Step::Ramp { .. } if is_unsaid => return true,
                Step::Ramp { .. }
                | Step::Pause
                | Step::Approval(_)
                | Step::Webhook(_)
                | Step::Analysis(..) => {}
            }
        }
        // After the last weight there is nothing more to let in.
        false
    }

    /// Adds time at the present weight; what follows time is more of it.
    pub fn bake(&mut self, span: Duration, line: u32) {
        match self.steps.last_mut() {
            Some((Step::Bake(before), _)) => *before += span,
            _ => self.steps.push((Step::Bake(span), line)),
        }
    }

    /// The plan as a file.
    pub fn yaml(&self, file: &str) -> String {
        let mut out = Vec::new();
        let origin = self.origin;
        out.push(format!(
            "# From {origin} in {}, by `serin plan import`; \"line\" is a line there.",
            harmless(file)
        ));
        out.push(
            "# Before it is trusted: `serin lint FILE --rps N` and `serin simulate FILE --rps N`.".to_owned(),
        );
        out.push(format!("function: {}", self.function));
        out.push(format!("alias: {}", quoted(&self.alias)));
        if let Some((text, line)) = &self.description {
            out.push(with_line(format!("description: {}", quoted(text)), *line));
        }
        if !self.labels.is_empty() {
            let labels: Vec<_> =
                self.labels.iter().map(|(key, value)| format!("{key}: {}", quoted(value))).collect();
            out.push(format!("labels: {{{}}}", labels.join(", ")));
        }
        out.push(String::new());
        self.write_steps(&mut out);
        self.write_analysis(&mut out);
        self.write_rest(&mut out);
        let mut text = out.join("\n");
        text.push('\n');
        text
    }

    fn write_steps(&self, out: &mut Vec<String>) {
        let first = self.first_weight().filter(|first| *first > Share::UNASKED);
        let unproven =
            "firstWeight: unproven  # as before; `probe` proves it at 3% first, `mirror` by copies";
        match (self.mirrors_first, first) {
            (Some(line), _) => out.push(with_line("firstWeight: mirror".to_owned(), line)),
            (None, Some(_)) => out.push(unproven.to_owned()),
            (None, None) if self.preset.is_some() => out.push(unproven.to_owned()),
            (None, None) => {}
        }
        if let Some((preset, line)) = &self.preset {
            out.push(with_line(format!("preset: {preset}"), *line));
            return;
        }
        if self.leaves_a_bake_unsaid() {
            out.push("bake: 0s  # the steps say how long; proof is asked for beside it".to_owned());
        }
        out.push("steps:".to_owned());
        for (step, line) in &self.steps {
            out.push(with_line(format!("  - {}", step.text()), *line));
        }
    }

    fn write_analysis(&self, out: &mut Vec<String>) {
        if let Some(line) = self.unjudged {
            out.push(String::new());
            out.push(with_line("analysis: none".to_owned(), line));
            return;
        }
        let mut analysis = Vec::new();
        if let Some((max, line)) = &self.failures_max {
            analysis.push(with_line(format!("  failures: {{max: {max}}}"), *line));
        }
        if let Some((max, line)) = &self.p99_max {
            analysis.push(with_line(format!("  latency: {{p99Max: {max}}}"), *line));
        }
        if let Some(line) = self.splits_baseline {
            analysis.push(with_line("  baseline: split".to_owned(), line));
        }
        if !self.metrics.is_empty() {
            analysis.push("  metrics:".to_owned());
            for metric in &self.metrics {
                metric.write(&mut analysis);
            }
        }
        if !analysis.is_empty() {
            out.push(String::new());
            out.push("analysis:".to_owned());
            out.append(&mut analysis);
        }
    }

    fn write_rest(&self, out: &mut Vec<String>) {
        if self.cookie.is_some() || self.mirror.is_some() {
            out.push(String::new());
            out.push("routing:".to_owned());
        }
        if let Some((cookie, line)) = &self.cookie {
            out.push(with_line(format!("  affinity: {{cookie: {}}}", quoted(cookie)), *line));
        }
        if let Some((share, line)) = self.mirror {
            out.push(with_line(format!("  mirror: {}", share.text()), line));
        }
        if let Some((span, line)) = self.first_byte {
            out.push(String::new());
            out.push(with_line(format!("timeouts: {{firstByte: {}}}", human(span)), line));
        }
    }
}

impl Metric {
    fn write(&self, out: &mut Vec<String>) {
        out.push(with_line(format!("    - name: {}", self.name), self.line));
        out.push("      prometheus:".to_owned());
        out.push(format!("        url: {}", quoted(&self.url)));
        out.push(format!("        query: {}", quoted(&in_one_line(&self.query))));
        let numbers = [("min", &self.min), ("max", &self.max)];
        out.extend(
            numbers.iter().filter_map(|(key, bound)| Some(format!("      {key}: {}", bound.as_ref()?))),
        );
        let spans = [("interval", self.interval), ("initialDelay", self.initial_delay)];
        out.extend(spans.iter().filter_map(|(key, span)| Some(format!("      {key}: {}", human((*span)?)))));
        out.extend(self.failure_limit.map(|limit| format!("      failureLimit: {limit}")));
        out.extend(self.from.map(|share| format!("      from: {}", share.text())));
    }
}

/// A query's lines as one: PromQL does not care, and a plan is easier to read.
fn in_one_line(text: &str) -> String {
    if text.contains('#') {
        // Its comments end with their line.
        return text.trim().to_owned();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn with_line(text: String, line: u32) -> String {
    format!("{text}  # line {line}")
}

/// A text as YAML takes it for a text.
pub fn quoted(text: &str) -> String {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.' | '/');
    let begins_well = text.starts_with(|char: char| char.is_ascii_alphabetic());
    let is_word = !matches!(
        text.to_ascii_lowercase().as_str(),
        "null" | "true" | "false" | "yes" | "no" | "on" | "off" | "none"
    );
    if begins_well && is_word && text.chars().all(is_plain) {
        return text.to_owned();
    }
    serde_json::to_string(text).expect("a text is JSON")
}

/// A name in a comment, which must not end there.
fn harmless(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '?' } else { char }).collect()
}

/// Reads a time as Kubernetes' tools write it: `40`, `40s`, `1h30m`, `1m0.5s`; whole seconds, rounded up.
pub fn span(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let (mut seconds, mut rest) = (0.0, text);
    while !rest.is_empty() {
        let digits = rest.find(|char: char| !char.is_ascii_digit() && char != '.')?;
        let count: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|char: char| char.is_ascii_digit()).unwrap_or(rest.len());
        seconds += count
            * match &rest[..unit] {
                "d" => 86_400.0,
                "h" => 3_600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 0.001,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    // A year is more than any rollout waits.
    (!text.is_empty() && seconds <= 366.0 * 86_400.0).then(|| Duration::from_secs(seconds.ceil() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_kubernetes_tools_write_them() {
        let said = ["40", "40s", "1h30m", "1m0.5s", "250ms", "", "5", "m", "5x", "1h-3m", "99999h"];
        let read: Vec<_> = said.iter().map(|text| span(text).map(|span| span.as_secs())).collect();
        let no = None;
        let read_as = [Some(40), Some(40), Some(5400), Some(61), Some(1), no, Some(5), no, no, no, no];
        assert_eq!(read, read_as);
    }

    #[test]
    fn shares_keep_four_decimals_and_nothing_else_is_one() {
        let said = ["20", "12.5", "10%", "0.00014", "100", "101", "-1", "many", "NaN"];
        let read: Vec<_> = said.iter().filter_map(|text| Share::read(text).map(Share::text)).collect();
        assert_eq!(read, ["20%", "12.5%", "10%", "0.0001%", "100%"]);
    }

    #[test]
    fn texts_stay_texts() {
        let said = ["checkout", "no", "3", "a: b", "line\nbreak", "ü"];
        assert_eq!(
            said.map(quoted),
            ["checkout", "\"no\"", "\"3\"", "\"a: b\"", "\"line\\nbreak\"", "\"ü\""]
        );
    }
}
