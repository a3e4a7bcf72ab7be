//! The process that takes over, as the one that hands over sees it.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::image::Image;
use super::message::{Asked, Greeting, TABLE_FORMAT, ToPredecessor, ToSuccessor};
use super::wire;
use crate::config;

/// A successor that takes nothing for so long hears no more.
const TELLING_MAX: Duration = Duration::from_secs(5);

/// What is handed over: every socket on which connections may wait.
pub struct Sockets {
    /// The router's.
    pub routers: Vec<TcpListener>,
    /// The API's.
    pub api: TcpListener,
}

/// What is heard of a successor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Its word.
    Said(ToPredecessor),
    /// It has ended, or closed its end; how, in words.
    Gone(String),
}

/// A process that was started to take over. Dropping it leaves it alone.
pub struct Successor {
    child: Child,
    told: mpsc::Sender<ToSuccessor>,
    heard: mpsc::Receiver<ToPredecessor>,
    name: String,
    telling: Option<JoinHandle<()>>,
}

impl Successor {
    /// Starts a program, and hands it the sockets; the table and everything after go through `tell`.
    ///
    /// `installed` is the program that upgrades are looked for in, whichever one is started now.
    pub fn start(
        image: &Image,
        installed: &Image,
        sockets: &Sockets,
        asked: Option<Asked>,
        asks_for: &[String],
    ) -> io::Result<Successor> {
        let (ours, theirs) = UnixStream::pair()?;
        let secrets = config::to_hand_over();
        let mut command = image.command(installed);
        // It inherits the environment; a watchdog that names this process would not be fed by that one.
        command
            .env(config::HANDOVER, if secrets.is_empty() { "1" } else { config::HANDOVER_OF_SECRETS })
            .env_remove("WATCHDOG_PID")
            .stdin(Stdio::from(OwnedFd::from(theirs)));
        let child = command.spawn()?;
        // Its end of the pair is its own from here on: who reads it sees its death.
        drop(command);
        let name = format!("process {} ({})", child.id(), image.program().display());
        let greeting = Greeting {
            table_format: TABLE_FORMAT,
            serin: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            routers: sockets.routers.len(),
            asked,
            secrets,
            asks_for: asks_for.to_vec(),
        };
        let descriptors: Vec<_> = sockets.routers.iter().chain([&sockets.api]).map(AsFd::as_fd).collect();
        let greeted = wire::send(&ours, &greeting).and_then(|()| wire::send_descriptors(&ours, &descriptors));
        let (told, telling) = mpsc::channel::<ToSuccessor>();
        let (hears, heard) = mpsc::channel();
        let mut successor = Successor { child, told, heard, name, telling: None };
        // One that is gone before it took anything is heard of like one that is gone later.
        if greeted.is_ok() {
            successor.listen(ours, telling, hears)?;
        }
        Ok(successor)
    }

    /// Two threads, so that neither whoever tells nor whoever asks ever waits for the other process.
    fn listen(
        &mut self,
        stream: UnixStream,
        telling: mpsc::Receiver<ToSuccessor>,
        hears: mpsc::Sender<ToPredecessor>,
    ) -> io::Result<()> {
        let writing = stream.try_clone()?;
        writing.set_write_timeout(Some(TELLING_MAX))?;
        let telling_thread =
            std::thread::Builder::new().name("handover-tell".to_owned()).spawn(move || {
                for message in telling {
                    if wire::send(&writing, &message).is_err() {
                        // It is gone, which the other thread tells.
                        return;
                    }
                }
            })?;
        self.telling = Some(telling_thread);
        std::thread::Builder::new().name("handover-hear".to_owned()).spawn(move || {
            while let Ok(message) = wire::receive(&stream) {
                if hears.send(message).is_err() {
                    return;
                }
            }
        })?;
        Ok(())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Which process it is, in words.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tells it something, without waiting; one that is gone hears nothing.
    pub fn tell(&self, message: ToSuccessor) {
        let _ = self.told.send(message);
    }

    /// A way to tell it of edits from the thread that publishes them.
    pub fn teller(&self) -> impl FnMut(Vec<crate::router::table::Edit>) + Send + 'static {
        let told = self.told.clone();
        move |edits| _ = told.send(ToSuccessor::Table { edits })
    }

    /// Waits for its next word; `None` when none comes in time.
    pub fn hear(&mut self, patience: Duration) -> Option<Heard> {
        match self.heard.recv_timeout(patience) {
            Ok(message) => Some(Heard::Said(message)),
            Err(mpsc::RecvTimeoutError::Timeout) => None,
            Err(mpsc::RecvTimeoutError::Disconnected) => Some(Heard::Gone(self.ended())),
        }
    }

    /// Leaves it alone once it has been told everything.
    pub fn part(self) {
        let Successor { told, telling, .. } = self;
        drop(told);
        if let Some(telling) = telling {
            // A thread that panicked has told what it could.
            let _ = telling.join();
        }
    }

    /// Ends it if it has not ended, and tells how it did.
    pub fn end(&mut self) -> String {
        let killed = self.child.kill();
        self.told_how(killed)
    }

    /// How it ended, once its line is closed.
    ///
    /// Its descriptors go a moment before the rest of it does. One that lives on without its line would be a stranger on
    /// our sockets, so it does not.
    fn ended(&mut self) -> String {
        for _ in 0..100 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return self.told_how(Ok(()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.end()
    }

    fn told_how(&mut self, killed: io::Result<()>) -> String {
        match killed.and_then(|()| self.child.wait()) {
            Ok(status) => format!("it ended with {status}"),
            Err(why) => format!("it could not be ended: {why}"),
        }
    }
}
