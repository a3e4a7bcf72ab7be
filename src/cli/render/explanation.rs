//! Why a rollout is where it is, in sentences: for whoever was just woken up and knows nothing yet.

use super::Look;
use super::line::{Line, wrapped};
use super::sections::{FailuresShown, Split, failures, gate_needs, history, onward, progress, time_left};
use super::words;
use crate::api::wire::{ArmView, EvidenceView, Explanation, RolloutStatus};
use crate::cli::render::tone::Tone;

const FAILURES_SHOWN: FailuresShown = FailuresShown { count_max: 5, whole_traces: true };
const HISTORY_SHOWN: usize = 8;
/// What a command does stands beside it only where it has this much room.
const GLOSS_WIDTH_MIN: usize = 28;
const WIDTH_MIN: usize = 60;
const WIDTH_MAX: usize = 100;

/// Explains a rollout.
pub fn explanation(explanation: &Explanation, look: &Look) -> Vec<Line> {
    let look = &Look { width: look.width.clamp(WIDTH_MIN, WIDTH_MAX), ..look.clone() };
    let mut page = Page { lines: Vec::new(), look };
    verdict(&mut page, explanation);
    drift(&mut page, explanation);
    evidence(&mut page, explanation);
    gates(&mut page, explanation);
    let notices = explanation.notices.iter().filter(|_| explanation.status.drift.is_none());
    let notices: Vec<&String> = notices.collect();
    if !notices.is_empty() {
        page.section("Note");
        for notice in notices {
            page.say(notice);
        }
    }
    if !explanation.recent_failures.is_empty() {
        page.section("Requests that failed lately");
        let lines = failures(Line::of("  "), &explanation.recent_failures, FAILURES_SHOWN, look);
        page.lines.extend(lines);
    }
    if !explanation.history.is_empty() {
        page.section("Who did what, newest first");
        page.lines.extend(history(&explanation.history, HISTORY_SHOWN, true, look));
    }
    commands(&mut page, explanation);
    page.lines
}

/// Sentences and headings, one below the other.
struct Page<'a> {
    lines: Vec<Line>,
    look: &'a Look,
}

impl Page<'_> {
    fn section(&mut self, heading: &str) {
        self.lines.push(Line::new());
        let mut line = Line::new();
        line.tone(Tone::Strong, heading);
        self.lines.push(line);
    }

    fn say(&mut self, sentence: &str) {
        self.say_in(Tone::Plain, sentence);
    }

    fn say_in(&mut self, tone: Tone, sentence: &str) {
        let sentence = self.look.words(sentence);
        self.lines.extend(wrapped(Line::new(), tone, &sentence, self.look));
    }

    fn item(&mut self, sign: &str, tone: Tone, sentence: &str) {
        let mut head = Line::of("  ");
        head.tone(tone, sign).add(" ");
        let sentence = self.look.words(sentence);
        self.lines.extend(wrapped(head, Tone::Plain, &sentence, self.look));
    }
}

fn verdict(page: &mut Page<'_>, explanation: &Explanation) {
    let (look, status) = (page.look, &explanation.status);
    let mut head = Line::new();
    head.tone(Tone::Strong, words::target(status)).add(": ");
    head.tone(words::tone(status), words::verdict(status));
    page.lines.push(head);
    let by = status.trigger.reason.as_ref().map_or(String::new(), |reason| format!(" (\"{reason}\")"));
    page.say(&format!(
        "Plan {} moves it from v{} to v{}. {} started it {}{by}; its rollout is {}.",
        status.plan,
        status.stable_version,
        status.canary_version,
        status.trigger.actor,
        words::ago(&status.started_at, look),
        status.id,
    ));
    let traffic = Split::now(explanation).in_words();
    let place = match (status.step.index, status.is_final()) {
        (0, false) => format!("It has not begun: the first of its {} steps is ahead", status.step.count),
        (index, false) => format!("It is at step {index} of {}", status.step.count),
        (index, true) => format!("It ended at step {index} of {}", status.step.count),
    };
    let verb = if status.is_final() { "the alias has" } else { "traffic goes to" };
    page.say(&format!("{place}; {verb} {traffic} now."));
    if !status.reason.is_empty() && status.drift.is_none() && status.phase != "Succeeded" {
        page.say(&format!("Why: {}.", status.reason.trim_end_matches('.')));
    }
    if status.retry_of.is_some() {
        page.say("It repeats an earlier rollout of the same plan and version.");
    }
}

fn drift(page: &mut Page<'_>, explanation: &Explanation) {
    let Some(drift) = &explanation.status.drift else { return };
    page.section("Somebody else changed the alias");
    page.say(&format!(
        "{} changed it at {} from {} to {}. Nothing was overwritten, and the rollout goes no further until a person \
         says what is to be: `resume --restore` puts back {}, `resume --adopt` goes on from {}.",
        drift.actor,
        words::clock(&drift.at, page.look),
        drift.expected.text,
        drift.found.text,
        drift.expected.text,
        drift.found.text,
    ));
    if explanation.armed {
        page.say("Rollback stays armed: the alias still names both versions.");
    } else {
        page.say("Rollback is not armed any more: the alias no longer names both versions.");
    }
}

fn evidence(page: &mut Page<'_>, explanation: &Explanation) {
    let (look, status) = (page.look, &explanation.status);
    let has_counts = explanation.arms.iter().any(|arm| arm.requests > 0);
    if status.evidence.is_none() && !has_counts && status.exposure.requests == 0 {
        return;
    }
    page.section("Evidence");
    let share = explanation.arms.iter().find(|arm| arm.role == "canary").map(|arm| arm.share);
    if let Some(share) = share.filter(|_| has_counts) {
        page.say(&format!("At {} so far:", words::share(share)));
        for arm in &explanation.arms {
            let name = if arm.role == "baseline" {
                "its baseline:".to_owned()
            } else {
                format!("v{}:", arm.version)
            };
            page.item(&name, Tone::Canary, &arm_in_words(arm, look));
        }
    }
    let exposure = &status.exposure;
    page.say(&format!(
        "Over the whole rollout v{} has had {}, {} of them failed.",
        status.canary_version,
        words::plural(exposure.requests as usize, "request", "requests"),
        words::count(exposure.failures)
    ));
    if let Some(copies) = &status.mirrored {
        page.say(&format!(
            "It was sent {}, and {} of them failed; nobody waited for those.",
            words::plural(copies.requests as usize, "copy", "copies"),
            words::count(copies.failures)
        ));
    }
    let Some(evidence) = &status.evidence else { return };
    if let Some((low, high)) = evidence.ratio {
        page.say(&match words::failure_ratio(low, high) {
            Some(ratio) => format!("The canary fails {ratio} times as often as stable."),
            None => "How the two failure rates compare cannot be said yet.".to_owned(),
        });
    }
    let harm = progress(evidence.ln_harm, evidence.ln_harm_limit);
    let way = words::percent(harm);
    page.say(&match (harm >= 1.0, status.is_final(), explanation.armed) {
        (true, _, _) => "Harm: the limit for a rollback is reached.".to_owned(),
        (false, true, _) => format!("Harm: {way} of the way to a rollback."),
        (false, false, true) => {
            let enough = evidence.failures_to_rollback.filter(|failures| *failures > 0).map(|failures| {
                if evidence.users.is_some() {
                    let more = words::plural(failures as usize, "more canary user", "more canary users");
                    return format!(" About {more} who meet a failure before stable's do would do it.");
                }
                let more = words::plural(
                    failures as usize,
                    "more failed canary request",
                    "more failed canary requests",
                );
                format!(" About {more} in a row would do it.")
            });
            format!(
                "Harm: {way} of the way to a rollback, which would take the canary out at once.{}",
                enough.unwrap_or_default()
            )
        }
        (false, false, false) => {
            format!(
                "Harm: {way} of the way to a rollback, which is not armed: nothing would happen by itself."
            )
        }
    });
    for line in beside(evidence) {
        page.say(&line);
    }
    if let (Some(ln_proof), Some(limit), Some(claim)) =
        (evidence.ln_proof, evidence.ln_proof_limit, &explanation.proof_claim)
    {
        let proof = words::percent(progress(ln_proof, limit));
        page.say(&format!("Proof: {proof} of the way to showing that it is {claim}."));
    }
}

/// What is refused and given up, what the canary's warm-up excuses, and what is not judged yet.
fn beside(evidence: &EvidenceView) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(refusals) = evidence.refusals.as_ref().filter(|refusals| refusals.canary_refused > 0) {
        lines.push(format!(
            "It refused {} with a 4xx status or its gRPC counterpart; stable refused {}.",
            words::plural(refusals.canary_refused as usize, "request", "requests"),
            words::count(refusals.stable_refused)
        ));
    }
    if let Some(patience) = evidence.patience.as_ref().filter(|patience| patience.canary_gave_up > 0) {
        lines.push(format!(
            "Clients gave up {} of it after waiting 100 ms or longer without an answer, and {} of stable{}.",
            words::plural(patience.canary_gave_up as usize, "request", "requests"),
            words::count(patience.stable_gave_up),
            match patience.ln_harm {
                Some(_) => ", which counts as failed for the proof",
                None => ", which proves nothing",
            }
        ));
    }
    if let Some(warming) = &evidence.warming {
        lines.push(format!(
            "It is warming up: for {} more requests and {:.0} s its latency is held against a wide limit, and the bake \
             has not begun.",
            words::count(warming.requests),
            warming.seconds
        ));
    }
    if let Some(open) = &evidence.open {
        lines.push(format!(
            "Not judged yet: {} of the canary and {} of stable, which or whose neighbours have not ended; until then \
             stable's count as failed and the canary's as good.",
            words::plural(open.canary as usize, "request", "requests"),
            words::count(open.stable)
        ));
    }
    lines
}

fn arm_in_words(arm: &ArmView, look: &Look) -> String {
    let latency = match (arm.p50_ms, arm.p99_ms) {
        (None, None) => String::new(),
        (p50, p99) => format!("; p50 {}, p99 {}", words::latency(p50, look), words::latency(p99, look)),
    };
    format!(
        "{} of {} failed ({}){latency}",
        words::count(arm.failures),
        words::plural(arm.requests as usize, "request", "requests"),
        words::failure_rate(arm.failures, arm.requests, look)
    )
}

fn gates(page: &mut Page<'_>, explanation: &Explanation) {
    let (look, status) = (page.look, &explanation.status);
    if status.is_final() {
        let (rollback, target) = (&explanation.rollback, words::target(status));
        let next = match (&rollback.to, &rollback.further) {
            (Some(to), _) => {
                format!("Nothing. v{to} is kept: `serin rollback {target}` restores it at once.")
            }
            (None, Some(further)) => {
                format!("Nothing. `serin rollback {target} --to {further}` goes further back, to v{further}.")
            }
            (None, None) => return,
        };
        page.section("What is next");
        page.say(&next);
        return;
    }
    page.section("What is next");
    match status.phase.as_str() {
        "Promoting" | "RollingBack" => {
            page.say("The change is committed; it is done once the router has confirmed it.");
            return;
        }
        "Paused" if status.drift.is_some() => page.say("Nothing by itself: it waits for a person."),
        "Paused" => {
            let needs = status.waiting_for.as_ref().map_or("", |waiting| waiting.needs.as_str());
            page.say(&format!("Nothing by itself: it waits for a person ({needs})."));
        }
        _ => {}
    }
    let subject = onward(explanation);
    if explanation.gates.is_empty() {
        page.say(&format!("It goes on to {subject} at once."));
        return;
    }
    page.say(&format!("Before {subject}:"));
    let glyphs = look.glyphs();
    for gate in &explanation.gates {
        let (sign, tone) = if gate.met { (glyphs.yes, Tone::Good) } else { (glyphs.no, Tone::Caution) };
        let needs = gate_needs(gate, explanation, look);
        let text = if needs.is_empty() { gate.label.clone() } else { format!("{}: {needs}", gate.label) };
        page.item(sign, tone, &text);
    }
    let waiting = status.waiting_for.as_ref().filter(|_| !status.waits_for_person());
    if let Some(waiting) = waiting
        && !matches!(waiting.kind.as_str(), "proof" | "approval")
        && let Some(left) = time_left(waiting.until.as_deref(), look)
    {
        page.say(&format!(
            "Nobody has to do anything: in about {} it will {}.",
            words::span(left),
            waiting.then
        ));
    }
}

fn commands(page: &mut Page<'_>, explanation: &Explanation) {
    if explanation.commands.is_empty() {
        return;
    }
    page.section("What you can do");
    let widest = explanation.commands.iter().map(|command| super::line::width(command)).max().unwrap_or(0);
    let is_beside = widest + 5 + GLOSS_WIDTH_MIN <= page.look.width;
    for command in &explanation.commands {
        let mut head = Line::of("  ");
        head.tone(Tone::Strong, command.clone());
        if is_beside {
            head.pad_to(widest + 5);
        } else {
            page.lines.push(std::mem::replace(&mut head, Line::of("    ")));
        }
        let lines = wrapped(head, Tone::Quiet, &gloss(command, explanation), page.look);
        page.lines.extend(lines);
    }
}

/// Whether somebody has moved the alias to where the canary is not.
fn is_elsewhere(status: &RolloutStatus) -> bool {
    let canary = Some(status.canary_version.as_str());
    status.drift.as_ref().map(|drift| &drift.found).is_some_and(|found| {
        Some(found.function_version.as_str()) != canary && found.additional_version.as_deref() != canary
    })
}

/// What a command would do here.
fn gloss(command: &str, explanation: &Explanation) -> String {
    let status = &explanation.status;
    let stable = &status.stable_version;
    let verb = command.split(' ').nth(1).unwrap_or_default();
    match verb {
        "rollback" if command.contains(" --to ") => {
            let version = command.split(' ').next_back().unwrap_or_default();
            format!("all traffic to v{version} at once")
        }
        "rollback" if status.phase == "Succeeded" => match &explanation.rollback.to {
            Some(to) => format!("back to v{to} at once"),
            None => "back to the version before".to_owned(),
        },
        "rollback" => format!("all traffic back to v{stable} at once, and end the rollout"),
        "abort" if status.phase == "Pending" => "cancel it before it begins".to_owned(),
        "abort" if is_elsewhere(status) => "end the rollout; the alias stays as it is".to_owned(),
        "abort" => format!("all traffic to v{stable}, and end the rollout"),
        "pause" => "keep the weight and go no further; it is still judged".to_owned(),
        "resume" if command.ends_with("--restore") => "put the plan's weight back, and go on".to_owned(),
        "resume" if command.ends_with("--adopt") => "keep what was found, and go on from it".to_owned(),
        "resume" => "go on".to_owned(),
        "approve" => "let it pass this step".to_owned(),
        "promote" => "go on without what it still waits for".to_owned(),
        "retry" => "start the same plan and version anew".to_owned(),
        "history" => "everything that happened".to_owned(),
        _ => String::new(),
    }
}
