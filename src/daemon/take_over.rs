//! Taking over: traffic first, by the table that was handed over; the store when it is free; and only then decisions.

use super::waiting::wait_until;
use crate::daemon::waiting::missing;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::ground::{Ground, Traffic};
use super::opened::{self, Opened};
use super::{Daemon, access};
use crate::clock;
use crate::config::ServeConfig;
use crate::control::handle::Control;
use crate::handover::{Asked, Gone, Inheritance, Line, ToPredecessor, ToSuccessor};
use crate::store::{Need, StoreError};
use serin_core::model::actor::Actor;

/// How long a wait goes on before it is looked whether it still makes sense.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A store that cannot be opened is tried again after this.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// A store that is held longer is worth a line in the log.
const HELD_MAX: Duration = Duration::from_secs(10);
/// How long the process before may take to say farewell, and the journal to note it.
const FAREWELL_MAX: Duration = Duration::from_secs(2);

/// A process that may answer requests already and does not decide yet.
pub struct Rising {
    config: ServeConfig,
    ground: Ground,
    line: Line,
    predecessor: Predecessor,
}

/// Who was here before.
struct Predecessor {
    from: String,
    pid: u32,
    asked: Option<Asked>,
    /// Whether its table was understood.
    gave_table: bool,
    is_gone: bool,
}

/// What came of it.
pub enum Risen {
    /// The daemon, which is whole now.
    Daemon(Box<Daemon>),
    /// It was told to stop before it was whole, and has.
    Stopped,
}

/// Why a wait for the store ended without it.
enum End {
    /// A signal.
    Stop,
    /// Another process has taken over instead.
    Leave,
}

impl Rising {
    /// Serves by the table that was handed over; without one that can be understood, says that it needs the store first.
    pub fn begin(config: &ServeConfig, inheritance: Inheritance) -> anyhow::Result<Rising> {
        let Inheritance { sockets, table, late, from, pid, asked, secrets: _, asks_for: asked_for, line } =
            inheritance;
        let asks_for = config.asks_for();
        if let Some(missing) = missing(&asked_for, &asks_for) {
            anyhow::bail!(
                "this process does not take over from process {pid}, which asks who asks by {missing}: it was started without"
            );
        }
        let mut ground = Ground::lay(config, access(config)?, sockets.api, Some(sockets.routers))?;
        let recorder = Arc::clone(&ground.recorder);
        std::thread::Builder::new()
            .name("late-counts".to_owned())
            .spawn(move || {
                for late in late.iter().flatten() {
                    if !recorder.add_late(&late) {
                        tracing::debug!(?late, "late counts of an epoch that is not known here");
                    }
                }
            })
            .context("cannot start a thread for late counts")?;
        let gave_table = table.is_some();
        match table {
            Some(edits) => {
                ground.table.publish(edits);
                ground.traffic = Traffic::Flowing(ground.traffic.flow()?);
                tracing::info!(
                    pid = std::process::id(),
                    predecessor.pid = pid,
                    "taking over from serin {from}: requests are answered by its table until the store is free"
                );
                line.say(&ToPredecessor::Serving { asks_for });
            }
            None => {
                tracing::warn!(
                    pid = std::process::id(),
                    predecessor.pid = pid,
                    "taking over from serin {from}: its routing table is in a format that this version does not know, so \
                     it goes on answering until this one has read the store"
                );
                line.say(&ToPredecessor::NeedsStore { asks_for });
            }
        }
        let predecessor = Predecessor { from, pid, asked, gave_table, is_gone: false };
        Ok(Rising { config: config.clone(), ground, line, predecessor })
    }

    /// Waits for the store, and becomes the daemon; serves on for as long as the store cannot be had.
    pub fn finish(mut self, is_stopping: &AtomicBool) -> anyhow::Result<Risen> {
        let had = self.wait_for_release(is_stopping).and_then(|()| self.wait_for_store(is_stopping));
        let opened = match had {
            Ok(opened) => opened,
            Err(End::Stop) => {
                let drain = self.config.drain;
                self.end(drain)?;
                return Ok(Risen::Stopped);
            }
            Err(End::Leave) => {
                self.leave()?;
                anyhow::bail!(
                    "this process could not take the store over, and another one has taken over instead"
                );
            }
        };
        let Rising { config, ground, line, predecessor } = self;
        let daemon = Daemon::rise(&config, ground, opened, |table| table)?;
        if !predecessor.gave_table {
            line.say(&ToPredecessor::Serving { asks_for: config.asks_for() });
        }
        line.say(&ToPredecessor::Settled);
        // The service manager must have heard who is who from the one it knows, before this one speaks to it.
        let begun = clock::instant_now();
        while !predecessor.is_gone && elapsed(begun) < FAREWELL_MAX {
            match line.hear(LOOK_EVERY) {
                Ok(Some(ToSuccessor::Farewell)) | Err(Gone) => break,
                Ok(_) => {}
            }
        }
        note(&daemon.control, predecessor);
        Ok(Risen::Daemon(Box::new(daemon)))
    }

    /// Takes edits over until the process before has closed the store.
    fn wait_for_release(&mut self, is_stopping: &AtomicBool) -> Result<(), End> {
        while !self.predecessor.is_gone {
            match self.hear(LOOK_EVERY, is_stopping)? {
                Some(ToSuccessor::Released) => return Ok(()),
                Some(ToSuccessor::Table { edits }) if self.predecessor.gave_table => {
                    self.ground.table.publish(edits);
                }
                Some(_) | None => {}
            }
        }
        tracing::warn!(
            predecessor.pid = self.predecessor.pid,
            "the process before has ended without a word; this one goes on alone"
        );
        Ok(())
    }

    fn wait_for_store(&mut self, is_stopping: &AtomicBool) -> Result<Opened, End> {
        let begun = clock::instant_now();
        let (mut told_held, mut told) = (false, None);
        let api_addr = self.ground.api_listener.local_addr().unwrap_or(self.config.api);
        loop {
            // As long as somebody else could decide instead, whoever cannot write does not. Who is alone, or was started
            // in the place of a lost one, goes on with what can be read.
            let is_last = self.predecessor.is_gone || self.predecessor.asked.is_none();
            let need = if is_last { Need::Read } else { Need::Write };
            let pause = match opened::open(need, &self.config, api_addr) {
                Ok(opened) => return Ok(opened),
                Err(why @ StoreError::Held { .. }) => {
                    if elapsed(begun) > HELD_MAX && !std::mem::replace(&mut told_held, true) {
                        tracing::error!(
                            "requests are answered by the last table, and nothing is decided: {why}"
                        );
                    }
                    LOOK_EVERY
                }
                Err(why) => {
                    let why = format!("{:#}", anyhow::Error::new(why));
                    if told.as_ref() != Some(&why) {
                        tracing::error!(
                            "the store cannot be taken over: {why}; requests are answered by the last table"
                        );
                        self.line.say(&ToPredecessor::Failed { why: why.clone() });
                        told = Some(why);
                    }
                    RETRY_AFTER
                }
            };
            self.hear(pause, is_stopping)?;
        }
    }

    /// Waits for a word for so long, or for a reason to end.
    fn hear(&mut self, patience: Duration, is_stopping: &AtomicBool) -> Result<Option<ToSuccessor>, End> {
        if is_stopping.load(Ordering::Relaxed) {
            return Err(End::Stop);
        }
        if self.predecessor.is_gone {
            std::thread::sleep(patience);
            return Ok(None);
        }
        match self.line.hear(patience) {
            Ok(Some(ToSuccessor::Leave)) => Err(End::Leave),
            Ok(message) => Ok(message),
            Err(Gone) => {
                self.predecessor.is_gone = true;
                Ok(None)
            }
        }
    }

    /// Sees off who is still here, and ends; another process accepts from the same sockets.
    fn leave(self) -> anyhow::Result<()> {
        if let Traffic::Flowing(router) = &self.ground.traffic {
            router.leave();
            wait_until(self.config.drain, || router.has_left());
        }
        self.end(Duration::ZERO)
    }

    fn end(self, drain: Duration) -> anyhow::Result<()> {
        let Ground { traffic, running_runtimes, logs, events, .. } = self.ground;
        let drained = match traffic {
            Traffic::Flowing(router) => router.shutdown(drain),
            Traffic::Waiting(_) => Ok(()),
        };
        let ended = running_runtimes.shut_down(Duration::ZERO);
        logs.close();
        events.close();
        drained.context("the router did not end well")?;
        ended.context("the functions did not end well")
    }
}

fn elapsed(since: Instant) -> Duration {
    clock::instant_now().duration_since(since)
}

/// Tells the history of every live rollout that another process goes on with it.
fn note(control: &Control, before: Predecessor) {
    let lost = || Asked {
        actor: Actor::daemon(),
        reason: Some(format!("process {} could not go on with its successor", before.pid)),
    };
    let Asked { actor, reason } = before.asked.unwrap_or_else(lost);
    let noted = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let noted = noted.map_err(|why| why.to_string()).and_then(|runtime| {
        let noting = control.note_take_over(actor, reason, before.from, env!("CARGO_PKG_VERSION").to_owned());
        // The timer must be made inside of the runtime.
        let bounded = runtime.block_on(async { tokio::time::timeout(FAREWELL_MAX, noting).await });
        bounded.map_err(|_| "the store is slow".to_owned())?.map_err(|why| why.to_string())
    });
    if let Err(why) = noted {
        tracing::warn!("the history of rollouts does not say that another process goes on: {why}");
    }
}
