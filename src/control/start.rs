//! How the control plane is put together and begins.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::handle::{Control, Health, Inbox, Parts};
use super::pulse::Pulse;
use super::scheduler::Scheduler;

impl Control {
    /// Publishes the committed world, makes one round of decisions on stored evidence, and goes on in a thread.
    ///
    /// When this returns, whatever time and evidence led to before the restart has been done: the data plane may open.
    pub fn start(inbox: Inbox, parts: Parts) -> std::io::Result<(Control, std::thread::JoinHandle<()>)> {
        let (control, mut scheduler) = Control::prepare(inbox, parts);
        scheduler.boot();
        let thread = std::thread::Builder::new().name("control".to_owned()).spawn(move || scheduler.run())?;
        Ok((control, thread))
    }

    /// Puts together what decides, and the way to it.
    pub(super) fn prepare(inbox: Inbox, parts: Parts) -> (Control, Scheduler) {
        let control = Control {
            inbox: inbox.sender,
            world: Arc::new(ArcSwap::from_pointee(parts.core.world.clone())),
            book: Arc::new(ArcSwap::from_pointee(parts.book.clone())),
            health: Arc::new(ArcSwap::from_pointee(Health {
                trouble: parts.trouble.clone(),
                problems: parts.problems.clone(),
                standing: parts.standing.clone(),
            })),
            pulse: Pulse::begin(),
            closed: Arc::default(),
            judged: Arc::default(),
        };
        let scheduler = Scheduler::new(inbox.receiver, parts, &control);
        (control, scheduler)
    }
}
