//! What every verb works with: the terminal it speaks to and the daemon it speaks with.

use anyhow::Context;

use super::exit::Exit;
use super::terminal::Terminal;
use crate::api::wire::VerbReply;
use crate::client::{Client, ClientError, Transport};
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
        if reply.is_under_way() {
            self.terminal
                .note(&format!("look at it with: serin status {}:{} --watch", reply.function, reply.alias));
        }
        Ok(())
    }

    /// Says which rollout was started, and where it is.
    pub fn say_rollout(&self, reply: &VerbReply) -> anyhow::Result<()> {
        let look = self.terminal.look();
        let VerbReply { id, function, alias, message, .. } = reply;
        let rollout = id.as_ref().map_or_else(String::new, |id| format!(", rollout {id}"));
        let said = format!("{function}:{alias}: {}{rollout}", look.words(message));
        self.terminal.print(&(said.clone() + "\n")).context(said)
    }

    /// Says what a verb did.
    pub fn say_done(&self, reply: &VerbReply) -> anyhow::Result<Exit> {
        let look = self.terminal.look();
        let said = look.words(&reply.message);
        self.terminal.print(&(said.clone() + "\n")).context(said)?;
        Ok(Exit::Done)
    }
}
