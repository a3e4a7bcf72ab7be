//! The way to the control plane: commands and questions go in, snapshots and replies come out.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::oneshot;

use super::data_plane::DataPlane;
use super::pulse::Pulse;
use crate::chance;
use crate::clock::{self, Clock};
use crate::metrics::outside::Settings as OutsideSettings;
use crate::metrics::recorder::{EpochCounts, Recorder};
use crate::router::table::Edit;
use crate::store::{Reader, Spill, StoreError, Writer};
use serin_core::commands::{Action, Command, Refusal, Reply};
use serin_core::engine::core::{Core, Outside};
use serin_core::lambda::alias::AliasId;
use serin_core::model::actor::Actor;
use serin_core::model::time::Moment;
use serin_core::rollout::{Answer, ExternalCheck};
use serin_core::world::World;
use serin_core::world::plans::PlanBook;

/// Why a command got no reply.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It was decided against.
    #[error(transparent)]
    Refused(Refusal),
    /// It was decided, and could not be stored; nothing was changed.
    #[error("nothing was changed: {0}")]
    NotStored(Arc<StoreError>),
    /// It was decided, and could not be stored; the canary is out of the routing table, and it is tried again.
    #[error(
        "not stored yet: {0}; the canary gets no traffic meanwhile, and what was asked is stored as soon as that can be, \
         unless this serin ends before"
    )]
    Owed(Arc<StoreError>),
    /// The daemon is shutting down.
    #[error("serin is shutting down; nothing was changed")]
    Closed,
}

pub(super) type Question = Box<dyn FnOnce(&QueryContext<'_>) + Send>;

pub(super) enum Input {
    Command(Box<Command>, oneshot::Sender<Result<Reply, CommandError>>),
    Ask(Question),
    Alarm(AliasId),
    Plans(Box<PlanBook>),
    Answered(Box<(ExternalCheck, Answer)>),
    Close,
}

/// What a question to the control plane may look at.
pub struct QueryContext<'a> {
    /// World, evidence and deadlines.
    pub core: &'a Core,
    /// Plans, router, store.
    pub outside: &'a Outside<'a>,
    /// Now.
    pub at: Moment,
    /// Aliases whose canary is out of the routing table although that is not committed yet.
    pub overlaid: &'a BTreeSet<AliasId>,
}

/// What everybody may know of the control plane's own state.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// Why commits fail, while they do.
    pub trouble: Option<String>,
    /// What did not add up at boot.
    pub problems: Vec<String>,
    /// Why there is no store at all, so that nobody can be told what it holds.
    pub standing: Option<String>,
}

/// The way to the control plane; cheap to clone.
#[derive(Clone)]
pub struct Control {
    pub(super) inbox: mpsc::Sender<Input>,
    pub(super) world: Arc<ArcSwap<World>>,
    pub(super) book: Arc<ArcSwap<PlanBook>>,
    pub(super) health: Arc<ArcSwap<Health>>,
    pub(super) pulse: Pulse,
    pub(super) closed: Arc<AtomicBool>,
    pub(super) judged: Arc<Mutex<Judged>>,
}

/// Aliases and their counters as they were judged.
type Judged = Vec<(AliasId, Vec<EpochCounts>)>;

/// What the control plane is made of.
pub struct Parts {
    /// World and evidence as loaded.
    pub core: Core,
    /// The plans as first read.
    pub book: PlanBook,
    /// The store's writer.
    pub writer: Writer,
    /// The store's reader.
    pub reader: Reader,
    /// What applies weights.
    pub data_plane: Arc<dyn DataPlane>,
    /// The router's counters.
    pub recorder: Arc<Recorder>,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// How long history is kept.
    pub keep_history: Duration,
    /// What did not add up at boot.
    pub problems: Vec<String>,
    /// What plans are given to ask outside with.
    pub outside: OutsideSettings,
    /// What the router served before and serves on where the world does not tell of it.
    pub last_table: Vec<Edit>,
    /// Where evidence goes that the store does not take.
    pub spill: Spill,
    /// Why nothing can be stored for now, if so.
    pub trouble: Option<String>,
    /// Why there is no store, if there is none.
    pub standing: Option<String>,
}

/// The inbox of a control plane that has not started; the recorder's alarm is built on it.
pub struct Inbox {
    pub(super) sender: mpsc::Sender<Input>,
    pub(super) receiver: mpsc::Receiver<Input>,
}

impl Inbox {
    /// An empty inbox.
    pub fn new() -> Inbox {
        let (sender, receiver) = mpsc::channel();
        Inbox { sender, receiver }
    }

    /// What the recorder calls when a canary fails.
    pub fn alarm(&self) -> Arc<dyn Fn(&AliasId) + Send + Sync> {
        let sender = self.sender.clone();
        Arc::new(move |alias| {
            let _ = sender.send(Input::Alarm(alias.clone()));
        })
    }
}

impl Default for Inbox {
    fn default() -> Inbox {
        Inbox::new()
    }
}

impl Control {
    /// Asks for a change and waits until it is durable and served.
    pub async fn submit(&self, command: Command) -> Result<Reply, CommandError> {
        let (sender, receiver) = oneshot::channel();
        self.inbox.send(Input::Command(Box::new(command), sender)).map_err(|_| CommandError::Closed)?;
        receiver.await.unwrap_or(Err(CommandError::Closed))
    }

    /// Notes in the history of every live rollout that this process goes on with it, and who wanted that.
    pub async fn note_take_over(
        &self,
        actor: Actor,
        reason: Option<String>,
        from: String,
        to: String,
    ) -> Result<(), CommandError> {
        let (fresh, action) = (chance::new_id(clock::wall_now()), Action::TakeOver { from, to });
        self.submit(Command { actor, reason, key: None, fresh, action }).await.map(|_| ())
    }

    /// Asks something of the control plane's memory; `None` when it is shutting down.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&QueryContext<'_>) -> T + Send + 'static,
    ) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        let question: Question = Box::new(move |context| {
            let _ = sender.send(question(context));
        });
        self.inbox.send(Input::Ask(question)).ok()?;
        receiver.await.ok()
    }

    /// Hands over a new reading of the plans directory.
    pub fn plans_changed(&self, book: PlanBook) {
        let _ = self.inbox.send(Input::Plans(Box::new(book)));
    }

    /// Hands over what came back from outside.
    pub(super) fn answered(&self, check: ExternalCheck, answer: Answer) {
        let _ = self.inbox.send(Input::Answered(Box::new((check, answer))));
    }

    /// Ends the thread once what came in before is done.
    pub fn close(&self) {
        let _ = self.inbox.send(Input::Close);
    }

    /// The world as last committed.
    pub fn world(&self) -> Arc<World> {
        self.world.load_full()
    }

    /// The plans as last read.
    pub fn book(&self) -> Arc<PlanBook> {
        self.book.load_full()
    }

    /// How the control plane is.
    pub fn health(&self) -> Arc<Health> {
        self.health.load_full()
    }

    /// The counts that were judged last, once the thread has ended well; what was counted since, nobody judged.
    pub fn judged(&self) -> Vec<(AliasId, Vec<EpochCounts>)> {
        self.judged.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the thread is closing or has ended.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// How many turns the thread has made; it makes at least one a second while it is well. A look while it waits for
    /// the disk counts as one.
    pub fn turns(&self) -> u64 {
        self.pulse.turns()
    }

    /// For how long the thread has made no turn, if that is longer than it ever takes; it then does not come back.
    pub fn is_stuck_for(&self) -> Option<Duration> {
        self.pulse.is_stuck_for().filter(|_| !self.is_closed())
    }
}
