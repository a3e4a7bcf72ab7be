//! A plan laid over the defaults it uses.

use super::tree::{Content, Entry, Node};

/// Keys of a file itself, not of what it says.
const OWN_KEYS: &[&str] = &["apiVersion", "kind", "use"];

/// Maps in which one key is chosen among several: half of one and half of another would be neither.
const CHOICES: &[&str] = &["start", "affinity"];

/// Keys that stand for one another, so that either in the plan sets aside both in the defaults.
const RIVALS: &[&str] = &["steps", "preset"];

/// Completes a plan by what only the defaults say. Every node keeps the place, and so the file, it came from.
pub(super) fn merge(plan: Node, defaults: Node) -> Node {
    let has_rival = match &plan.content {
        Content::Map(entries) => entries.iter().any(|entry| RIVALS.contains(&entry.key.as_str())),
        Content::Text { .. } | Content::List(_) | Content::Refused => false,
    };
    let Content::Map(entries) = defaults.content else { return plan };
    let kept = entries.into_iter().filter(|entry| {
        let key = entry.key.as_str();
        !(OWN_KEYS.contains(&key) || has_rival && RIVALS.contains(&key))
    });
    overlay(plan, kept.collect())
}

fn overlay(node: Node, defaults: Vec<Entry>) -> Node {
    let Node { place, content: Content::Map(mut entries) } = node else { return node };
    for default in defaults {
        match entries.iter_mut().find(|entry| entry.key == default.key) {
            None => entries.push(default),
            Some(own) if !CHOICES.contains(&own.key.as_str()) => {
                if let Content::Map(inner) = default.value.content
                    && let Content::Map(_) = own.value.content
                {
                    let value = std::mem::replace(&mut own.value, Node { place, content: Content::Refused });
                    own.value = overlay(value, inner);
                }
            }
            Some(_) => {}
        }
    }
    Node { place, content: Content::Map(entries) }
}
