//! What every verb works with: the terminal it speaks to and the daemon it speaks with.

use super::exit::Exit;
use super::flags::Target;
use super::terminal::Terminal;
use crate::api::wire::{Explanation, RoutingView, VerbReply};
use crate::client::{Client, ClientError, RolloutQuery, Transport};
use crate::config;

/// The terminal, and where the daemon is.
#[derive(Debug)]
pub struct Session {
    /// Where words go.
    pub terminal: Terminal,
    url: String,
}

impl Session {
    /// A session at a terminal, with the daemon at `url`.
    pub fn new(terminal: Terminal, url: &str) -> Session {
        Session { terminal, url: url.to_owned() }
    }

    /// The daemon; whether it is there shows when it is asked.
    pub fn client(&self) -> Result<Client, ClientError> {
        let transport = Transport::new(&self.url, config::token().as_deref(), &config::claimed_actor())?;
        Ok(Client::new(transport))
    }

    /// Says what was started, and how to look at it.
    pub fn say_started(&self, reply: &VerbReply) -> anyhow::Result<()> {
        self.say_rollout(reply)?;
        self.terminal
            .note(&format!("look at it with: serin status {}:{} --watch", reply.function, reply.alias));
        Ok(())
    }

    /// Says which rollout was started, and where it is.
    pub fn say_rollout(&self, reply: &VerbReply) -> anyhow::Result<()> {
        let look = self.terminal.look();
        let VerbReply { id, function, alias, message, .. } = reply;
        self.terminal.print(&format!("{function}:{alias}: {}, rollout {id}\n", look.words(message)))?;
        Ok(())
    }

    /// Says what a verb did.
    pub fn say_done(&self, reply: &VerbReply) -> anyhow::Result<Exit> {
        let look = self.terminal.look();
        self.terminal.print(&(look.words(&reply.message) + "\n"))?;
        Ok(Exit::Done)
    }
}

/// The rollout that an operator's verb on `target` would act on: of an alias the active one, else the one that waits,
/// else the newest.
pub fn operable(client: &Client, target: &Target) -> Result<Explanation, ClientError> {
    let Target::Alias(alias) = target else { return client.explain(&target.to_string()) };
    let name = alias.to_string();
    let live = client.rollouts(&RolloutQuery { target: Some(&name), live: true, limit: None })?.rollouts;
    let chosen = live.iter().find(|status| status.phase != "Pending").or(live.first());
    client.explain(chosen.map_or(name.as_str(), |status| status.id.as_str()))
}

/// What an alias is now, where the rollout does not know it: after its end, others may have changed it.
pub fn routing_now(client: &Client, explanation: &Explanation) -> Result<Option<RoutingView>, ClientError> {
    let status = &explanation.status;
    if !status.is_final() {
        return Ok(None);
    }
    match client.alias(&status.function, &status.alias) {
        Ok(alias) => Ok(Some(alias.routing)),
        // The alias may be gone by now; the rollout's own view is all there is.
        Err(error) if error.kind() == Some("notFound") => Ok(None),
        Err(error) => Err(error),
    }
}
