//! The daemon is replaced by another process of serin's while it runs: by a newer program, or to mend what crashed.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::sync::oneshot;

use super::manager::Manager;
use super::{Ears, LOOK_EVERY};
use crate::cli::exit::Exit;
use crate::clock;
use crate::config::{self, ServeConfig};
use crate::daemon::{Asked, Daemon, Image, Inheritance, Offer, Risen, Rising, Taker};
use serin_core::model::actor::Actor;

/// A crash that could not be mended is tried to be mended again after this.
const HEAL_EVERY: Duration = Duration::from_secs(5);

/// How long the addresses of a process that has ended may be taken.
const IN_PLACE_MAX: Duration = Duration::from_secs(5);

/// A successor that serves, and what it was given.
pub struct Begun {
    offer: Offer,
    taker: Taker,
}

type Beginning = oneshot::Receiver<anyhow::Result<Begun>>;

/// Whether a successor is being started.
pub struct Upgrade {
    installed: Image,
    beginning: Option<Beginning>,
    is_called_off: Arc<AtomicBool>,
    healed: Option<Instant>,
}

impl Upgrade {
    /// None is.
    pub fn none(installed: &Image) -> Upgrade {
        Upgrade { installed: installed.clone(), beginning: None, is_called_off: Arc::default(), healed: None }
    }

    /// SIGUSR2 came: starts the program that is installed now, unless one is being started.
    pub fn ask(&mut self, daemon: &Daemon) {
        if std::process::id() == 1 {
            tracing::error!(
                "not upgraded: this is the first process of its container, which ends with it; replace the container"
            );
            return;
        }
        if self.beginning.is_some() {
            refuse();
            return;
        }
        tracing::info!("SIGUSR2: starting {} to take over", self.installed.program().display());
        let asked = Asked { actor: Actor::daemon(), reason: Some("SIGUSR2".to_owned()) };
        self.begin(daemon, self.installed.clone(), Some(asked));
    }

    /// The control thread or the store's writer has crashed: starts this program anew beside this process.
    pub fn heal(&mut self, daemon: &Daemon) {
        let now = clock::instant_now();
        let is_due = self.healed.is_none_or(|healed| now.duration_since(healed) >= HEAL_EVERY);
        if self.beginning.is_some() || !is_due {
            return;
        }
        if self.healed.replace(now).is_none() {
            if daemon.is_standing() {
                tracing::info!("there is a store again: a process that works with it is started");
            } else {
                tracing::error!(
                    "the control plane has crashed: requests are answered by the last table, and a process that decides \
                     again is started"
                );
            }
        }
        let reason =
            if daemon.is_standing() { "the store is there again" } else { "the control plane had crashed" };
        let asked = Asked { actor: Actor::daemon(), reason: Some(reason.to_owned()) };
        self.begin(daemon, self.installed.running(), Some(asked));
    }

    fn begin(&mut self, daemon: &Daemon, image: Image, asked: Option<Asked>) {
        let (done, beginning) = oneshot::channel();
        let (installed, is_called_off) = (self.installed.clone(), Arc::clone(&self.is_called_off));
        let trial = daemon.trial();
        let begun = daemon.offer().and_then(|offer| {
            let begin = move || {
                // Whoever takes over must be able to write; where nobody is, who decides already is the better one.
                let refused = "the store takes no change now, and would take none from another process";
                let tried = trial().context(refused);
                let taken = tried.and_then(|()| offer.take_up(&image, &installed, asked, &is_called_off));
                // Whoever waits for it may have been told to stop meanwhile.
                if let Err(Ok(begun)) = done.send(taken.map(|taker| Begun { offer, taker })) {
                    begun.taker.call_off();
                }
            };
            let thread = std::thread::Builder::new().name("upgrade".to_owned()).spawn(begin);
            thread.context("cannot start a thread for it").map(|_| ())
        });
        match begun {
            Ok(()) => self.beginning = Some(beginning),
            Err(why) => tracing::error!("not upgraded: {why:#}"),
        }
    }

    /// Waits for a successor that serves; `None` when nobody is being started, or nothing came of it, which is logged.
    pub async fn begun(&mut self) -> Option<Begun> {
        let came = self.beginning.as_mut()?.await;
        self.beginning = None;
        let why = match came {
            Ok(Ok(begun)) => return Some(begun),
            Ok(Err(why)) => format!("{why:#}"),
            Err(_) => "starting it panicked".to_owned(),
        };
        tracing::error!("not upgraded: {why}; process {} goes on as before", std::process::id());
        None
    }

    /// The daemon is to stop: nobody is to go on in its place.
    pub async fn call_off(&mut self) {
        self.is_called_off.store(true, Ordering::Relaxed);
        if let Some(beginning) = self.beginning.take()
            && let Ok(Ok(begun)) = beginning.await
        {
            begun.taker.call_off();
        }
    }
}

fn refuse() {
    tracing::warn!(
        "SIGUSR2: an upgrade is under way already, and this one is refused; try again when it is over"
    );
}

/// Takes what the process that started this one hands over, its secrets first.
pub fn take_what_is_given() -> io::Result<Inheritance> {
    let mut given = Inheritance::take()?;
    config::hand_in(std::mem::take(&mut given.secrets));
    Ok(given)
}

/// Takes over from the process that started this one; `None` when it was told to stop before it was whole.
pub async fn take_over(
    config: &ServeConfig,
    given: io::Result<Inheritance>,
    ears: &mut Ears,
) -> anyhow::Result<Option<Daemon>> {
    let inheritance = match given {
        Ok(inheritance) => inheritance,
        Err(why) => return start_in_place(config, &why).map(Some),
    };
    let rising = Rising::begin(config, inheritance)?;
    let is_stopping = Arc::new(AtomicBool::new(false));
    let (done, mut ended) = oneshot::channel();
    let is_told = Arc::clone(&is_stopping);
    std::thread::Builder::new()
        .name("take-over".to_owned())
        .spawn(move || {
            // Nobody listens any more after a second signal.
            let _ = done.send(rising.finish(&is_told));
        })
        .context("cannot start a thread to take over")?;
    loop {
        tokio::select! {
            risen = &mut ended => {
                return match risen.unwrap_or_else(|_| bail!("taking over panicked"))? {
                    Risen::Daemon(daemon) => Ok(Some(*daemon)),
                    Risen::Stopped => {
                        tracing::info!("stopped before the store was taken over");
                        Ok(None)
                    }
                };
            }
            signal = ears.stop.next() => {
                if is_stopping.swap(true, Ordering::Relaxed) {
                    bail!("cut short by a second signal ({signal}); requests under way were cut");
                }
                tracing::info!(signal, "stopping: requests under way may end; a second signal cuts them");
            }
            () = ears.upgrade.next() => refuse(),
        }
    }
}

/// Starts where a process was to hand over and ended before it could: nobody else is there to serve.
fn start_in_place(config: &ServeConfig, why: &std::io::Error) -> anyhow::Result<Daemon> {
    if config.api.port() == 0 || config.router.port() == 0 {
        bail!("cannot take over from the process before: {why}");
    }
    if config::is_to_be_given_secrets() {
        // It would be one that asks for less.
        bail!("the process before has ended before it handed its secrets over ({why}); start serin anew");
    }
    tracing::warn!(
        "the process before has ended before it handed over ({why}); this one starts in its place"
    );
    let begun = clock::instant_now();
    loop {
        match Daemon::start(config) {
            Ok(daemon) => return Ok(daemon),
            // The kernel may not have taken it apart yet.
            Err(_) if clock::instant_now().duration_since(begun) < IN_PLACE_MAX => {
                std::thread::sleep(LOOK_EVERY)
            }
            Err(error) => return Err(error),
        }
    }
}

/// Leaves everything to a successor, and ends when what was begun here has ended.
pub async fn make_way(
    daemon: Daemon,
    Begun { offer, taker }: Begun,
    (config, installed): (&ServeConfig, &Image),
    mut manager: Manager,
    ears: &mut Ears,
) -> anyhow::Result<Exit> {
    tracing::info!(
        successor.pid = taker.pid(),
        "process {} answers requests; leaving them to it",
        taker.pid()
    );
    let (is_stopping, is_settled) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (done, mut ended) = oneshot::channel();
    let (is_told, tells, drain, installed) =
        (Arc::clone(&is_stopping), Arc::clone(&is_settled), config.drain, installed.clone());
    std::thread::Builder::new()
        .name("make-way".to_owned())
        .spawn(move || {
            let settled = |pid| {
                Manager::handed_over(pid);
                tells.store(true, Ordering::Relaxed);
            };
            let made = daemon.make_way(offer, taker, &installed, drain, &is_told, settled);
            // As in `take_over`.
            let _ = done.send(made);
        })
        .context("cannot start a thread to make way")?;
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            made = &mut ended => {
                made.unwrap_or_else(|_| bail!("making way panicked"))?;
                tracing::info!("ended; another process goes on");
                return Ok(Exit::Done);
            }
            signal = ears.stop.next() => {
                if is_stopping.swap(true, Ordering::Relaxed) {
                    bail!("cut short by a second signal ({signal}); requests under way were cut");
                }
                tracing::info!(signal, "ending anyway: requests under way may end; a second signal cuts them");
            }
            () = ears.upgrade.next() => refuse(),
            _ = ticks.tick() => if !is_settled.load(Ordering::Relaxed) {
                manager.alive_between();
            }
        }
    }
}
