//! Counts clients' connections: how many are open, and how many were turned away and why.
//!
//! Threads share these, for a limit is the process's. They are touched when a connection begins and ends, and by no
//! request.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why a connection was closed before, or without, an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// As many as there may be in all are open.
    InAll,
    /// As many as there may be of its address are open.
    OfAddress,
    /// It did not begin with a PROXY header that can be read.
    ProxyHeader,
    /// Its TLS handshake failed or took too long.
    TlsHandshake,
    /// It had asked for nothing for longest when another came and there was no room.
    NoRequest,
    /// It had been idle for longest since its last answer when another came and there was no room.
    Idle,
    /// Its client asked over HTTP/2 only to cancel.
    Http2Resets,
    /// A request over HTTP/2 beside others, when as much as there may be is under way; its connection goes on.
    Http2Requests,
}

impl Refused {
    /// All of them.
    pub const ALL: [Refused; 8] = [
        Refused::InAll,
        Refused::OfAddress,
        Refused::ProxyHeader,
        Refused::TlsHandshake,
        Refused::NoRequest,
        Refused::Idle,
        Refused::Http2Resets,
        Refused::Http2Requests,
    ];

    /// As metrics call it.
    pub fn name(self) -> &'static str {
        match self {
            Refused::InAll => "max_connections",
            Refused::OfAddress => "max_connections_per_ip",
            Refused::ProxyHeader => "proxy_protocol",
            Refused::TlsHandshake => "tls_handshake",
            Refused::NoRequest => "no_request",
            Refused::Idle => "idle",
            Refused::Http2Resets => "http2_resets",
            Refused::Http2Requests => "http2_requests",
        }
    }
}

/// How many connections there may be at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// In all, where each request over HTTP/2 beside another is as good as one; no limit unless given.
    pub in_all: Option<usize>,
    /// Of one client address, or of one /64 of IPv6; no limit unless given.
    pub of_address: Option<usize>,
}

/// The connections of one router.
#[derive(Debug, Default)]
pub struct Connections {
    limits: ConnectionLimits,
    open: AtomicUsize,
    /// Connections, and requests over HTTP/2 beside another on the same one.
    taken: AtomicUsize,
    refused: [AtomicU64; Refused::ALL.len()],
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

impl Connections {
    /// None yet, with limits to come.
    pub fn new(limits: ConnectionLimits) -> Arc<Connections> {
        Arc::new(Connections { limits, ..Connections::default() })
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// How many were turned away for a reason.
    pub fn refused(&self, why: Refused) -> u64 {
        self.refused[why as usize].load(Ordering::Relaxed)
    }

    /// Counts one as turned away.
    pub fn refuse(&self, why: Refused) {
        self.refused[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one in, until the permit is dropped; one too many is counted as turned away.
    pub fn admit(self: &Arc<Connections>) -> Option<Permit> {
        let permit = self.try_admit();
        if permit.is_none() {
            self.refuse(Refused::InAll);
        }
        permit
    }

    /// The same for one that is asked about again if it is one too many.
    pub fn try_admit(self: &Arc<Connections>) -> Option<Permit> {
        let slot = self.slot()?;
        self.open.fetch_add(1, Ordering::Relaxed);
        Some(Permit { slot })
    }

    fn slot(self: &Arc<Connections>) -> Option<Slot> {
        let before = self.taken.fetch_add(1, Ordering::Relaxed);
        let slot = Slot { connections: Arc::clone(self), address: None };
        self.limits.in_all.is_none_or(|max| before < max).then_some(slot)
    }

    fn addresses(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection that is counted in.
#[derive(Debug)]
pub struct Permit {
    slot: Slot,
}

impl Permit {
    /// Counts it for its client's address, too; false, and counted as turned away, if that is one too many.
    pub fn belongs_to(&mut self, address: IpAddr) -> bool {
        let is_one = self.slot.belongs_to(network(address));
        if !is_one {
            self.slot.connections.refuse(Refused::OfAddress);
        }
        is_one
    }

    /// Counts a request beside another on this connection in, for it needs a connection to a version of its own;
    /// `None`, and counted as turned away, if that is one too many in all.
    pub fn beside(&self) -> Option<Slot> {
        let beside = self.slot.connections.slot();
        if beside.is_none() {
            self.slot.connections.refuse(Refused::Http2Requests);
        }
        beside
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.slot.connections.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is counted in, until it is dropped.
#[derive(Debug)]
pub struct Slot {
    connections: Arc<Connections>,
    address: Option<IpAddr>,
}

impl Slot {
    fn belongs_to(&mut self, address: IpAddr) -> bool {
        let Some(max) = self.connections.limits.of_address else { return true };
        let mut addresses = self.connections.addresses();
        let count = addresses.entry(address).or_default();
        if *count >= max {
            if *count == 0 {
                addresses.remove(&address);
            }
            return false;
        }
        *count += 1;
        drop(addresses);
        self.address = Some(address);
        true
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.taken.fetch_sub(1, Ordering::Relaxed);
        if let Some(address) = self.address {
            let mut addresses = self.connections.addresses();
            if let Some(count) = addresses.get_mut(&address) {
                *count -= 1;
                if *count == 0 {
                    addresses.remove(&address);
                }
            }
        }
    }
}

/// What counts as one client: an address, of IPv6 the 64 bits that a network is given.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_of_what_is_open_now() {
        let connections = Connections::new(ConnectionLimits { in_all: Some(3), of_address: Some(1) });
        let mut admitted: Vec<Permit> = (0..3).map(|_| connections.admit().unwrap()).collect();
        assert!(connections.admit().is_none());
        assert_eq!((connections.open(), connections.refused(Refused::InAll)), (3, 1));
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(admitted[0].belongs_to(address("2001:db8::1")));
        assert!(!admitted[1].belongs_to(address("2001:db8::2")), "the same network");
        assert!(admitted[1].belongs_to(address("2001:db8:0:1::2")));
        assert!(admitted[2].belongs_to(address("10.0.0.1")));
        admitted.remove(2);
        let mut another = connections.admit().unwrap();
        assert!(another.belongs_to(address("::ffff:10.0.0.1")));
        assert_eq!(connections.refused(Refused::OfAddress), 1);
        drop((admitted, another));
        assert_eq!((connections.open(), connections.addresses().len()), (0, 0));
    }

    #[test]
    fn requests_beside_others_are_as_good_as_connections() {
        let connections = Connections::new(ConnectionLimits { in_all: Some(3), of_address: Some(1) });
        let mut permit = connections.admit().unwrap();
        assert!(permit.belongs_to([10, 0, 0, 1].into()));
        let beside: Vec<Slot> = (0..2).map(|_| permit.beside().unwrap()).collect();
        assert!(permit.beside().is_none() && connections.admit().is_none());
        assert_eq!((connections.open(), connections.refused(Refused::Http2Requests)), (1, 1));
        drop(beside);
        assert!(permit.beside().is_some());
        drop(permit);
        assert_eq!((connections.open(), connections.taken.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn nobody_is_turned_away_without_limits() {
        let connections = Connections::new(ConnectionLimits::default());
        let mut permit = connections.admit().unwrap();
        assert!(permit.belongs_to([127, 0, 0, 1].into()));
        assert!(connections.addresses().is_empty(), "nothing is kept that nobody asks for");
    }
}
