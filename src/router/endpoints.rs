//! A version at several places: which of them gets a request, and which are left out for a while.
//!
//! The place with the fewest requests under way gets the next, counted over all workers. One that could not be reached,
//! or broke off before a head, three times in a row is left out; from then on it is asked for nothing but a connection,
//! by the router itself and ever more seldom, until it gives one, or for its version's health path if there is one.
//! Nobody is ever refused for this: where all are out, all are tried. How places stand is remembered beyond the table
//! they are in, for a new weight is no reason to forget.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use super::endpoint_health::EndpointHealth;
use super::route::{Route, Service};
use crate::metrics::upstreams::UpstreamState;
use serin_core::lambda::health::HealthPath;
use serin_core::model::arn::{FunctionName, VersionId};

/// How all places stand, and which of them the table has.
#[derive(Default)]
pub(super) struct EndpointBook {
    standings: Mutex<HashMap<Arc<str>, Weak<EndpointHealth>>>,
    /// The versions at several places or with a health path, by the address of their route in the table.
    served: Mutex<BTreeMap<String, Vec<Served>>>,
}

/// A version of a route in the table.
struct Served {
    function: FunctionName,
    version: VersionId,
    places: Arc<Endpoints>,
}

impl EndpointBook {
    /// How a place stands, for all whose connections are alike and who ask it for the same.
    ///
    /// Who asks for something else has a standing of its own: a health path that is wrong puts nobody else out.
    fn standing(&self, service: &Arc<Service>, health: Option<&HealthPath>) -> Arc<EndpointHealth> {
        let health = health.map(|health| format!("{}{health}", service.base_path));
        let name: Arc<str> = match &health {
            None => Arc::clone(&service.authority),
            Some(health) => format!("{}{health}", service.authority).into(),
        };
        let mut standings = locked(&self.standings);
        if let Some(known) = standings.get(&name).and_then(Weak::upgrade) {
            return known;
        }
        standings.retain(|_, standing| standing.strong_count() > 0);
        let new = Arc::new(EndpointHealth::new(Arc::clone(&name), service, health));
        standings.insert(name, Arc::downgrade(&new));
        new
    }

    /// The places that are out and may be tried now; each is given to one caller and counts as tried.
    pub(super) fn due(&self, now: Instant) -> Vec<Arc<EndpointHealth>> {
        let standings: Vec<_> = locked(&self.standings).values().filter_map(Weak::upgrade).collect();
        standings.into_iter().filter(|standing| standing.take_turn(now)).collect()
    }

    /// Notes that a route is in the table, in place of the one before at its address.
    pub(super) fn serve(&self, route: &Route) {
        let served = route.places().map(|(version, places)| Served {
            function: route.address.function().clone(),
            version,
            places: Arc::clone(places),
        });
        let served: Vec<Served> = served.collect();
        let mut all = locked(&self.served);
        if served.is_empty() {
            all.remove(&route.address.key());
        } else {
            all.insert(route.address.key(), served);
        }
    }

    /// Notes that a route is in the table no more.
    pub(super) fn withdraw(&self, route: &Route) {
        locked(&self.served).remove(&route.address.key());
    }

    /// The places in the table that are to be asked for a health path, by their names.
    pub(super) fn asked(&self) -> HashMap<Arc<str>, Arc<EndpointHealth>> {
        let all = locked(&self.served);
        let standings = all.values().flatten().flat_map(|served| served.places.standings());
        let asked = standings.filter(|standing| standing.health().is_some());
        asked.map(|standing| (Arc::clone(&standing.name), Arc::clone(standing))).collect()
    }

    /// The places of every version in the table that is at several or has a health path.
    pub(super) fn upstreams(&self) -> Vec<UpstreamState> {
        let mut upstreams = Vec::new();
        for Served { function, version, places } in locked(&self.served).values().flatten() {
            upstreams.extend(places.places.iter().map(|(service, standing)| UpstreamState {
                function: function.clone(),
                version: *version,
                place: service.named().to_owned(),
                is_up: !standing.is_out(),
            }));
        }
        upstreams
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The places of one version.
pub(super) struct Endpoints {
    places: Vec<(Arc<Service>, Arc<EndpointHealth>)>,
    /// Where the search for the next begins, so that ties go round.
    turn: AtomicUsize,
}

impl Endpoints {
    /// The places of a version, at least one and at most 32; how they stand is in the book.
    pub(super) fn of(
        services: Vec<Arc<Service>>,
        health: Option<&HealthPath>,
        book: &EndpointBook,
    ) -> Endpoints {
        let stand = |service: Arc<Service>| {
            let standing = book.standing(&service, health);
            (service, standing)
        };
        Endpoints { places: services.into_iter().map(stand).collect(), turn: AtomicUsize::new(0) }
    }

    /// What stands before every path, which is the same at all of them.
    pub(super) fn base_path(&self) -> &str {
        self.places.first().map_or("", |(service, _)| &service.base_path)
    }

    fn standings(&self) -> impl Iterator<Item = &Arc<EndpointHealth>> {
        self.places.iter().map(|(_, standing)| standing)
    }

    /// Takes a seat for a request where the fewest are.
    pub(super) fn seat(self: &Arc<Endpoints>) -> EndpointGuard {
        self.seat_beside(0).expect("a version has a place")
    }

    /// The same among the places that are not in `tried`, of which each is a bit.
    fn seat_beside(self: &Arc<Endpoints>, tried: u32) -> Option<EndpointGuard> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let index = fewest(self.places.len(), turn, tried, |index| {
            let standing = &self.places[index].1;
            (standing.is_out(), standing.under_way.load(Ordering::Relaxed))
        })?;
        self.places[index].1.under_way.fetch_add(1, Ordering::Relaxed);
        Some(EndpointGuard { places: Arc::clone(self), index, tried: tried | 1 << index })
    }
}

/// The place with the fewest requests among those that are not out, or among all; the first of them from `turn` on.
fn fewest(count: usize, turn: usize, tried: u32, stands: impl Fn(usize) -> (bool, usize)) -> Option<usize> {
    let around = (0..count).map(|step| (turn % count + step) % count);
    around.filter(|index| tried & 1 << index == 0).min_by_key(|index| stands(*index))
}

/// A request's place, which it keeps until it ends.
pub(super) struct EndpointGuard {
    places: Arc<Endpoints>,
    index: usize,
    tried: u32,
}

impl EndpointGuard {
    /// The service at this place.
    pub(super) fn service(&self) -> &Arc<Service> {
        &self.places.places[self.index].0
    }

    /// How the place stands.
    pub(super) fn standing(&self) -> &EndpointHealth {
        &self.places.places[self.index].1
    }

    /// Whether there are places that were not tried.
    pub(super) fn has_next(&self) -> bool {
        (self.tried.count_ones() as usize) < self.places.places.len()
    }

    /// A seat at a place that was not tried, if there is one.
    pub(super) fn next(&self) -> Option<EndpointGuard> {
        self.places.seat_beside(self.tried)
    }
}

impl Drop for EndpointGuard {
    fn drop(&mut self) {
        self.standing().under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fewest_get_the_next_and_ties_go_round() {
        let all_in = |under_way: [usize; 3]| move |index: usize| (false, under_way[index]);
        for (under_way, turn, tried, chosen) in [
            ([0, 0, 0], 0, 0, Some(0)),
            ([0, 0, 0], 1, 0, Some(1)),
            ([0, 0, 0], 5, 0, Some(2)),
            ([3, 1, 2], 0, 0, Some(1)),
            ([1, 1, 0], 0, 0b100, Some(0)),
            ([1, 1, 0], 1, 0b100, Some(1)),
            ([0, 0, 0], 0, 0b111, None),
        ] {
            assert_eq!(fewest(3, turn, tried, all_in(under_way)), chosen, "{under_way:?} {turn} {tried:b}");
        }
        let out = |outs: [bool; 3]| move |index: usize| (outs[index], [0, 5, 9][index]);
        assert_eq!(fewest(3, 0, 0, out([true, false, false])), Some(1));
        assert_eq!(fewest(3, 0, 0, out([true, true, true])), Some(0), "where all are out, all are tried");
        assert_eq!(fewest(3, 0, 0b010, out([true, false, true])), Some(0));
    }
}
