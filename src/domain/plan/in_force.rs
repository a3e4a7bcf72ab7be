//! Keys of the language whose engine this serin does not have yet.
//!
//! They are read and checked like any other, so that a plan written today stays right, and then refused where they
//! stand: nothing is accepted and then ignored. When an engine arrives, its line here goes.

use super::diagnose::Faults;
use super::suggest::is_like_none;
use super::tree::{Content, Node, Style, is_null};

/// Whether latency is judged; until then a plan that does not mention it has none.
pub(super) const LATENCY_IS_JUDGED: bool = false;

struct Gate {
    /// The keys on the way to it; `*` is every item of a list.
    path: &'static [&'static str],
    /// A value that asks for nothing, and is let pass.
    harmless: &'static str,
    why: &'static str,
    help: &'static str,
}

const GATES: &[Gate] = &[
    Gate {
        path: &["analysis", "latency"],
        harmless: "none",
        why: "this serin does not judge latency yet",
        help: "leave the key out, or write `latency: none`",
    },
    Gate {
        path: &["analysis", "minDispersion"],
        harmless: "1",
        why: "this serin does not apply a `minDispersion` above 1 yet",
        help: "leave the key out; dispersion is still estimated",
    },
    Gate {
        path: &["whenStableUnhealthy"],
        harmless: "hold",
        why: "this serin does not watch the stable version's own health yet",
        help: "leave the key out",
    },
    Gate {
        path: &["stableUnhealthy"],
        harmless: "",
        why: "this serin does not watch the stable version's own health yet",
        help: "leave the key out",
    },
    Gate {
        path: &["routing"],
        harmless: "",
        why: "this serin routes by weight alone, without affinity, override and mirror",
        help: "leave the key out",
    },
    Gate {
        path: &["notify"],
        harmless: "",
        why: "this serin does not notify anybody yet",
        help: "leave the key out; `serin status --wait` and the event stream tell what happens",
    },
];

/// Refuses what a plan asks for and nothing would do.
pub(super) fn check(root: &Node, faults: &mut Faults) {
    for gate in GATES {
        visit(root, gate.path, gate, faults);
    }
}

/// Each key without an engine, by its path, and what is said of it.
pub(super) fn without_engine() -> impl Iterator<Item = (&'static [&'static str], &'static str)> {
    GATES.iter().map(|gate| (gate.path, gate.why))
}

/// Whether something would act on the value of a key.
pub(super) fn holds(path: &[&str]) -> bool {
    !GATES.iter().any(|gate| gate.path == path)
}

fn visit(node: &Node, path: &[&str], gate: &Gate, faults: &mut Faults) {
    match (path, &node.content) {
        (["*", rest @ ..], Content::List(items)) => {
            items.iter().for_each(|item| visit(item, rest, gate, faults));
        }
        ([key, rest @ ..], Content::Map(entries)) => {
            let Some(entry) = entries.iter().find(|entry| entry.key == *key) else { return };
            if !rest.is_empty() {
                visit(&entry.value, rest, gate, faults);
            } else if !is_harmless(&entry.value, gate) {
                faults.error(entry.place, gate.why).help(gate.help);
            }
        }
        _ => {}
    }
}

/// What has no value has a fault of its own.
fn is_harmless(value: &Node, gate: &Gate) -> bool {
    match &value.content {
        Content::Refused => true,
        Content::Text { text, style: Style::Plain } if is_null(text) => true,
        Content::Text { text, .. } => {
            let number = |text: &str| text.parse::<f64>().ok();
            // What should have been `none` is told so, and would be harmless then.
            text == gate.harmless
                || gate.harmless == "none" && is_like_none(text)
                || number(text).is_some_and(|value| number(gate.harmless) == Some(value))
        }
        Content::List(_) | Content::Map(_) => false,
    }
}
