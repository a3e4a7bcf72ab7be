//! Making way: a successor is started, and from when it answers requests this process only ends what it has begun.
//!
//! Before the successor serves, nothing has happened, and this process goes on. After that one of the two always holds
//! the sockets: a successor that is lost before it decides is replaced by another process of the program that runs here,
//! which was able to read this store.

use crate::daemon::waiting::wait_until;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};

use super::{Daemon, join};
use crate::clock;
use crate::daemon::waiting::missing;
use crate::handover::{Asked, Heard, Image, Sockets, Successor, ToPredecessor, ToSuccessor};
use crate::metrics::recorder::{Recorder, Remainder, VersionCounts};
use crate::router::table::RoutingTable;
use serin_core::model::time::human;

/// How long a new process may take to serve.
const SERVING_MAX: Duration = Duration::from_secs(10);
/// How long it may take to decide, the check of a large store included.
const SETTLING_MAX: Duration = Duration::from_secs(300);
/// How long requests under way are waited for, so that what comes of them is evidence, before the store is released.
const QUIET_MAX: Duration = Duration::from_secs(1);
/// Quiet is when nothing was under way and nothing came in for so long.
const QUIET: Duration = Duration::from_millis(100);
/// How often a successor is told what requests of this process came to.
const LATE_EVERY: Duration = Duration::from_millis(100);
/// How often is looked at what another process or thread does.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How much longer than requests under way take to end a successor leaves their events alone.
const LEASE_BEYOND_DRAIN: Duration = Duration::from_secs(10);
/// So many processes are started in the place of a lost one.
const REPLACEMENTS_MAX: usize = 3;

/// What a successor is given; holding it holds the sockets.
pub struct Offer {
    sockets: Sockets,
    table: Arc<RoutingTable>,
    /// By what this process asks who asks.
    asks_for: Vec<String>,
}

/// A successor that answers requests, or that can do so once it has the store.
pub struct Taker {
    successor: Successor,
    serves: bool,
}

impl Taker {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.successor.pid()
    }

    /// Ends it: nobody takes over.
    pub fn call_off(mut self) {
        self.successor.end();
    }
}

impl Offer {
    /// Starts a program and waits until it serves; fails, with that program ended, if it does not within ten seconds.
    ///
    /// Until then this process serves as ever, and afterwards both do, by the same table.
    pub fn take_up(
        &self,
        image: &Image,
        installed: &Image,
        asked: Option<Asked>,
        is_stopping: &AtomicBool,
    ) -> anyhow::Result<Taker> {
        let successor = Successor::start(image, installed, &self.sockets, asked, &self.asks_for)
            .with_context(|| format!("cannot start {}", image.program().display()))?;
        self.table.hand_on(successor.teller());
        let taken = wait_for_service(successor, &self.asks_for, is_stopping);
        if taken.is_err() {
            self.table.keep_to_itself();
        }
        taken
    }
}

fn wait_for_service(
    mut successor: Successor,
    asked_for: &[String],
    is_stopping: &AtomicBool,
) -> anyhow::Result<Taker> {
    let begun = clock::instant_now();
    loop {
        match successor.hear(LOOK_EVERY) {
            Some(Heard::Said(
                ref said @ (ToPredecessor::Serving { ref asks_for }
                | ToPredecessor::NeedsStore { ref asks_for }),
            )) => {
                // One of another version may not know that it must not.
                if let Some(missing) = missing(asked_for, asks_for) {
                    successor.end();
                    bail!("{} would not ask who asks by {missing}, and was ended", successor.name());
                }
                return Ok(Taker { successor, serves: matches!(said, ToPredecessor::Serving { .. }) });
            }
            Some(Heard::Said(said)) => {
                successor.end();
                bail!("{} said {said:?} before it served", successor.name());
            }
            Some(Heard::Gone(how)) => {
                bail!("{} did not come to serve: {how}; its own lines say why", successor.name());
            }
            None if is_stopping.load(Ordering::Relaxed) => {
                successor.end();
                bail!("serin is to stop");
            }
            None if clock::instant_now().duration_since(begun) > SERVING_MAX => {
                successor.end();
                bail!("{} did not serve within {} s, and was ended", successor.name(), SERVING_MAX.as_secs());
            }
            None => {}
        }
    }
}

impl Daemon {
    /// What a successor is given.
    pub fn offer(&self) -> anyhow::Result<Offer> {
        let routers = self.router.sockets().context("cannot copy the router's sockets")?;
        let api = self.api_listener.try_clone().context("cannot copy the API's socket")?;
        let asks_for = self.asks_for.clone();
        Ok(Offer { sockets: Sockets { routers, api }, table: Arc::clone(&self.table), asks_for })
    }

    /// Leaves traffic and store to a successor, and ends when every request that was begun here has ended.
    ///
    /// That takes `drain` at most, counted from when the successor decides. `settled` is called then, with its process
    /// id. `is_stopping` says that nobody is to go on if the successor is lost. Fails if it was lost and nobody could be
    /// put in its place, or if a part of this daemon did not end well.
    pub fn make_way(
        mut self,
        offer: Offer,
        taker: Taker,
        installed: &Image,
        drain: Duration,
        is_stopping: &AtomicBool,
        settled: impl FnOnce(u32),
    ) -> anyhow::Result<()> {
        let Taker { mut successor, mut serves } = taker;
        self.event_sources.stop();
        self.async_invocations.leave(drain + LEASE_BEYOND_DRAIN);
        // The API's socket is the successor's from here on: who connects waits until that one decides.
        self.stop_api.send_replace(Some(SETTLING_MAX + drain));
        let mut deciding = Some((self.control_thread, self._watching, self.keeper, self._store));
        let mut replaced = 0;
        let decides = loop {
            if serves {
                self.router.leave();
            }
            if let Some((control_thread, watching, keeper, store)) = deciding.take() {
                wait_for_quiet(&self.recorder);
                drop(watching);
                self.control.close();
                if let Err(why) = join(control_thread, "the control plane") {
                    tracing::error!("{why}; what it had not stored is lost");
                }
                drop(keeper);
                self.writer.clone().close();
                // The lock goes last: who has it may write.
                drop(store);
            }
            successor.tell(ToSuccessor::Released);
            let lost = match settle(&mut successor) {
                Settling::Serves => {
                    serves = true;
                    continue;
                }
                Settling::Decides => break true,
                // It runs the very program that had this store, and will have it when anybody can.
                Settling::Unable(_) if replaced > 0 => continue,
                Settling::Unable(why) | Settling::Lost(why) => why,
            };
            if is_stopping.load(Ordering::Relaxed) {
                tracing::info!("{} has ended, too: {lost}", successor.name());
                break false;
            }
            tracing::error!(
                "{} is not in charge: {lost}; the program that ran before is started",
                successor.name()
            );
            if replaced >= REPLACEMENTS_MAX {
                bail!("{replaced} processes in a row were lost before they decided; the last one: {lost}");
            }
            let replacement = loop {
                replaced += 1;
                match offer.take_up(&installed.running(), installed, None, is_stopping) {
                    Ok(replacement) => break replacement,
                    Err(why) if replaced >= REPLACEMENTS_MAX => {
                        return Err(why.context("nobody could be put in the place of the lost successor"));
                    }
                    Err(why) => tracing::error!("{why:#}; trying again"),
                }
            };
            // It may be serving still; whom it has accepted it sees off.
            successor.tell(ToSuccessor::Leave);
            Taker { successor, serves } = replacement;
        };
        self.table.keep_to_itself();
        self.router.forget_sockets();
        drop((offer, self.api_listener));
        if decides {
            settled(successor.pid());
            successor.tell(ToSuccessor::Farewell);
            tracing::info!(
                successor.pid = successor.pid(),
                drain_ms = drain.as_millis() as u64,
                "{} has taken over; requests that were begun here get {} to end",
                successor.name(),
                human(drain)
            );
        }
        self.stop_api.send_replace(Some(drain));
        let (router, api_thread, event_sources) = (self.router, self.api_thread, self.event_sources);
        let async_invocations = self.async_invocations;
        // What was taken from queues is handled by this router, and deleted after.
        let emptying = std::thread::Builder::new()
            .name("emptying".to_owned())
            .spawn(move || {
                let emptied = event_sources.end(drain);
                async_invocations.end(drain).and(emptied)
            })
            .context("cannot start a thread to see the event sources off")?;
        let (recorder, mut late) = (self.recorder, Remainder::beyond(self.control.judged()));
        let mut tell_late = || {
            let counts = late.take(&recorder);
            if !counts.is_empty() {
                successor.tell(ToSuccessor::Late { counts });
            }
        };
        let has_ended = || router.has_left() && api_thread.is_finished() && emptying.is_finished();
        let begun = clock::instant_now();
        while !has_ended() && clock::instant_now().duration_since(begun) < drain {
            tell_late();
            wait_until(LATE_EVERY, has_ended);
        }
        let drained = router.shutdown(Duration::ZERO);
        tell_late();
        successor.part();
        let ended = self.runtimes.shut_down(Duration::ZERO);
        let emptied = join(emptying, "the thread of the event sources").and_then(|emptied| Ok(emptied?));
        self.stop_api.send_replace(Some(Duration::ZERO));
        let served = join(api_thread, "the API").and_then(|served| Ok(served?));
        drop(self.stop_meter);
        let metered = join(self.meter_thread, "the meter");
        self.logs.close();
        self.events.close();
        drained.context("the router did not end well")?;
        ended.context("the functions did not end well")?;
        emptied.context("the event sources did not end well")?;
        served.context("the API did not end well")?;
        metered
    }
}

enum Settling {
    /// It answers requests, which it did not do before.
    Serves,
    /// It has the store.
    Decides,
    /// It serves on and cannot have the store; why, in words.
    Unable(String),
    /// It is no more; how it ended, in words.
    Lost(String),
}

/// Waits for what comes of a successor.
fn settle(successor: &mut Successor) -> Settling {
    match successor.hear(SETTLING_MAX) {
        Some(Heard::Said(ToPredecessor::Serving { .. })) => Settling::Serves,
        Some(Heard::Said(ToPredecessor::Settled)) => Settling::Decides,
        Some(Heard::Said(ToPredecessor::Failed { why })) => Settling::Unable(why),
        Some(Heard::Said(ToPredecessor::NeedsStore { .. })) => {
            Settling::Lost("it asked for the store twice".to_owned())
        }
        Some(Heard::Gone(how)) => Settling::Lost(how),
        None => {
            let how = successor.end();
            Settling::Lost(format!("it did not decide within {}, and was ended: {how}", human(SETTLING_MAX)))
        }
    }
}

/// Waits until nothing is under way and nothing comes in, or for a second.
///
/// What ends within it is evidence that the successor decides by. Idle connections that speak later are few.
fn wait_for_quiet(recorder: &Recorder) {
    let (mut seen, mut since) = ((0, 0), clock::instant_now());
    wait_until(QUIET_MAX, || {
        let (mut dispatched, mut under_way) = (0, 0);
        let mut add = |counts: &VersionCounts| {
            dispatched += counts.counts.dispatched;
            under_way += counts.counts.in_flight();
        };
        recorder.totals(|_, _, counts| add(counts));
        recorder.direct_totals(|_, _, counts| add(counts));
        let now = clock::instant_now();
        if under_way > 0 || std::mem::replace(&mut seen, (dispatched, under_way)) != (dispatched, under_way) {
            since = now;
        }
        now.duration_since(since) >= QUIET
    });
}
