//! Where the hosts of versions are: names are looked up again while they are used, so that one that moves is followed.
//!
//! The system's resolver tells no time to live, so a name is looked up anew every half a minute, apart from requests. A
//! connection to an address that its name no longer has is given up once nothing is under way on it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::timeout;

use crate::clock;

/// How long a name is remembered that nobody connects by, and no connection was made by.
const UNUSED_MAX: Duration = Duration::from_secs(600);

/// The addresses of a host, as they are found.
pub type Addresses<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;

/// What finds the addresses of a host.
pub trait Resolver: Send + Sync {
    /// Looks a name up, in the order in which its addresses are to be tried.
    fn resolve<'a>(&'a self, host: &'a str) -> Addresses<'a>;
}

/// The system's resolver: hosts file, DNS and whatever else it is set up to ask.
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str) -> Addresses<'a> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// One worker's knowledge of names.
pub(super) struct Names {
    resolver: Arc<dyn Resolver>,
    every: Duration,
    names: RefCell<HashMap<String, Rc<Name>>>,
}

/// A host, and where it is.
struct Name {
    host: String,
    addresses: RefCell<Vec<IpAddr>>,
    /// When they were looked up; `None` if they are in doubt.
    known_since: Cell<Option<Instant>>,
    used_at: Cell<Instant>,
    is_looked_up: Cell<bool>,
}

/// Has a name looked up anew by whoever connects next, unless a connection was made; also where nobody waits for it any more.
struct Doubt<'a> {
    name: &'a Name,
    is_founded: bool,
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if self.is_founded {
            self.name.known_since.set(None);
        }
    }
}

/// Where a connection goes: for as long as its host is there.
#[derive(Clone)]
pub(super) struct Whereabouts(Option<(Rc<Name>, IpAddr)>);

impl Whereabouts {
    /// Whether the host still is where the connection goes.
    pub(super) fn is_current(&self) -> bool {
        match &self.0 {
            None => true,
            Some((name, address)) => name.addresses.borrow().contains(address),
        }
    }
}

impl Names {
    /// No names yet; those that come are looked up anew so often.
    pub(super) fn new(resolver: Arc<dyn Resolver>, every: Duration) -> Names {
        Names { resolver, every, names: RefCell::default() }
    }

    /// Connects to a host, whose addresses are tried in their order, each for a fair part of what is left of the limit.
    pub(super) async fn connect(
        &self,
        host: &str,
        port: u16,
        limit: Duration,
    ) -> io::Result<(TcpStream, Whereabouts)> {
        let begun = clock::instant_now();
        if let Ok(address) = host.parse::<IpAddr>() {
            let connected = connect_any(&[address], port, begun, limit).await;
            return connected.map(|(stream, _)| (stream, Whereabouts(None)));
        }
        let name = self.name(host, begun);
        let is_fresh = |since: Instant| begun.saturating_duration_since(since) < self.every;
        let known = name.known_since.get().is_some_and(is_fresh).then(|| name.addresses.borrow().clone());
        let mut doubt = Doubt { name: &name, is_founded: true };
        let connected = match &known {
            // It may have moved since, which is found out within the limit.
            Some(known) => match connect_any(known, port, begun, limit / 2).await {
                Ok(connected) => Ok(connected),
                Err(fault) => {
                    let found = self.look_up(&name).await?;
                    if found == *known { Err(fault) } else { connect_any(&found, port, begun, limit).await }
                }
            },
            None => {
                let found = self.look_up(&name).await?;
                connect_any(&found, port, begun, limit).await
            }
        };
        let (stream, address) = connected?;
        doubt.is_founded = false;
        drop(doubt);
        Ok((stream, Whereabouts(Some((name, address)))))
    }

    /// Looks up anew what is used and was looked up too long ago, and forgets what is not used.
    pub(super) fn refresh(self: &Rc<Self>, now: Instant) {
        let mut names = self.names.borrow_mut();
        names.retain(|_, name| {
            let is_used = Rc::strong_count(name) > 1;
            is_used || now.saturating_duration_since(name.used_at.get()) < UNUSED_MAX
        });
        for name in names.values() {
            // One in doubt is looked up by whoever connects next.
            let is_due = |since: Instant| now.saturating_duration_since(since) >= self.every;
            if name.known_since.get().is_some_and(is_due) && !name.is_looked_up.replace(true) {
                let (names, name) = (Rc::clone(self), Rc::clone(name));
                spawn_local(async move {
                    if let Err(why) = names.look_up(&name).await {
                        // What was known is still the best that is known.
                        name.known_since.set(Some(clock::instant_now()));
                        tracing::debug!(host = name.host, "a version's name was not found again: {why}");
                    }
                    name.is_looked_up.set(false);
                });
            }
        }
    }

    fn name(&self, host: &str, now: Instant) -> Rc<Name> {
        let mut names = self.names.borrow_mut();
        let name = names.entry(host.to_owned()).or_insert_with(|| {
            Rc::new(Name {
                host: host.to_owned(),
                addresses: RefCell::default(),
                known_since: Cell::new(None),
                used_at: Cell::new(now),
                is_looked_up: Cell::new(false),
            })
        });
        name.used_at.set(now);
        Rc::clone(name)
    }

    async fn look_up(&self, name: &Name) -> io::Result<Vec<IpAddr>> {
        let mut found = self.resolver.resolve(&name.host).await?;
        // The same host is often named once for each kind of socket.
        let mut seen = Vec::new();
        found.retain(|address| {
            !seen.contains(address) && {
                seen.push(*address);
                true
            }
        });
        if found.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "its name has no address"));
        }
        name.known_since.set(Some(clock::instant_now()));
        name.addresses.replace(found.clone());
        Ok(found)
    }
}

/// Tries addresses in their order, each for a fair part of what is left of the limit.
async fn connect_any(
    addresses: &[IpAddr],
    port: u16,
    begun: Instant,
    limit: Duration,
) -> io::Result<(TcpStream, IpAddr)> {
    let mut fault = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
    for (index, address) in addresses.iter().enumerate() {
        let left = limit.saturating_sub(clock::instant_now().duration_since(begun));
        let part = left / (addresses.len() - index) as u32;
        match timeout(part, TcpStream::connect(SocketAddr::new(*address, port))).await {
            Ok(Ok(stream)) => return Ok((stream, *address)),
            Ok(Err(refused)) => fault = refused,
            Err(_) => fault = io::Error::new(io::ErrorKind::TimedOut, "its address does not answer"),
        }
    }
    Err(fault)
}
