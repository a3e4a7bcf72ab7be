//! Keys of the language whose engine this serin does not have yet.
//!
//! They are read and checked like any other, so that a plan written today stays right, and then refused where they
//! stand: nothing is accepted and then ignored. When an engine arrives, its line here goes.

use super::diagnose::Faults;
use super::tree::{Content, Node, Style, is_null};

struct Gate {
    /// The keys on the way to it; `*` is every item of a list.
    path: &'static [&'static str],
    why: &'static str,
    help: &'static str,
}

const GATES: &[Gate] = &[Gate {
    path: &["notify"],
    why: "this serin does not notify anybody yet",
    help: "leave the key out; `serin status --wait` and the event stream tell what happens",
}];

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
            } else if !is_harmless(&entry.value) {
                faults.error(entry.place, gate.why).help(gate.help);
            }
        }
        _ => {}
    }
}

/// What has no value has a fault of its own, and `none` asks for nothing.
fn is_harmless(value: &Node) -> bool {
    match &value.content {
        Content::Refused => true,
        Content::Text { text, style: Style::Plain } => is_null(text) || text == "none",
        Content::Text { .. } | Content::List(_) | Content::Map(_) => false,
    }
}
