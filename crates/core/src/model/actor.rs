//! Who changes things, and how sure serin is of it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How an actor's name became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Standing {
    /// By a bearer token or an access key's secret that only they hold.
    Token,
    /// By their own word: the command line's `user@host`.
    Claimed,
    /// By an access key in a signature that was not checked.
    Unverified,
    /// serin itself: evidence, time, or a plan's trigger.
    Daemon,
}

/// Who did or asked for something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The name; without control characters, at most 128 characters.
    pub name: String,
    /// What the name is worth.
    pub standing: Standing,
}

impl Actor {
    /// An actor whose name is made harmless for logs and terminals.
    pub fn new(name: &str, standing: Standing) -> Actor {
        let visible = name.chars().filter(|char| !char.is_control()).take(128).collect::<String>();
        let name = if visible.trim().is_empty() { "anonymous".to_owned() } else { visible };
        Actor { name, standing }
    }

    /// serin itself.
    pub fn daemon() -> Actor {
        Actor { name: "serin".to_owned(), standing: Standing::Daemon }
    }

    /// Whether a plan's approver `listed` is this actor: the whole name, or the user before the `@` of a claim.
    pub fn is(&self, listed: &str) -> bool {
        let user = self.name.split('@').next().unwrap_or(&self.name);
        self.name == listed || (self.standing == Standing::Claimed && user == listed)
    }
}

/// Writes the name and, where it is worth less than a token, what it is worth.
impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.standing {
            Standing::Token | Standing::Daemon => f.pad(&self.name),
            Standing::Claimed => f.pad(&format!("{} (claimed)", self.name)),
            Standing::Unverified => f.pad(&format!("{} (unverified)", self.name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_harmless_and_say_what_they_are_worth() {
        let actor = Actor::new("ana@web1\u{1b}[2J\n", Standing::Claimed);
        assert_eq!(actor.to_string(), "ana@web1[2J (claimed)");
        assert!(Actor::new("ana@web1", Standing::Claimed).is("ana"));
        assert!(!Actor::new("ana@web1", Standing::Token).is("ana"));
        assert_eq!(Actor::new("\n", Standing::Unverified).to_string(), "anonymous (unverified)");
    }
}
