//! Versions with a health path: who is asked, what follows from the answers, and what does not.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serin::router::settings::{RouterConfig, Timeouts};
use serin::router::table::Edit;
use serin_core::lambda::function::Target;

use crate::support::router::{ALIAS, TestRouter, config, patient};
use crate::support::until;
use crate::support::upstream::{Script, Version, answer_at, read_request, reset, write};

/// What a place does when it is asked how it is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Health {
    Answers(u16),
    Hangs,
    Resets,
    /// Waits with its answer until it is told another.
    Holds,
}

struct State {
    health: Mutex<Health>,
    told: Condvar,
    /// How often it was asked, and for what.
    asked: AtomicUsize,
    last_asked: Mutex<String>,
    /// Whether it takes requests and answers none.
    breaks_requests: AtomicBool,
    /// Whether it is silent, but stays connected.
    hangs_requests: AtomicBool,
    served: AtomicUsize,
}

/// A place that is as well as it is told to be.
struct Place {
    script: Script,
    state: Arc<State>,
}

impl Place {
    fn start(health: Health) -> Place {
        let state = Arc::new(State {
            health: Mutex::new(health),
            told: Condvar::new(),
            asked: AtomicUsize::new(0),
            last_asked: Mutex::default(),
            breaks_requests: AtomicBool::new(false),
            hangs_requests: AtomicBool::new(false),
            served: AtomicUsize::new(0),
        });
        let shared = Arc::clone(&state);
        let script = Script::start(move |mut stream, _| {
            while let Some(request) = read_request(&mut stream) {
                if !request.contains("user-agent: serin-health") {
                    if shared.breaks_requests.load(Ordering::SeqCst) {
                        return reset(stream);
                    }
                    shared.served.fetch_add(1, Ordering::SeqCst);
                    if !shared.hangs_requests.load(Ordering::SeqCst) {
                        write(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
                    }
                    continue;
                }
                *shared.last_asked.lock().unwrap() = request;
                shared.asked.fetch_add(1, Ordering::SeqCst);
                let told = shared.health.lock().unwrap();
                match *shared.told.wait_while(told, |health| *health == Health::Holds).unwrap() {
                    Health::Answers(status) => {
                        write(&mut stream, format!("HTTP/1.1 {status} So\r\ncontent-length: 2\r\n\r\nso"));
                    }
                    Health::Resets => return reset(stream),
                    Health::Hangs | Health::Holds => {}
                }
            }
        });
        Place { script, state }
    }

    fn is(&self, health: Health) {
        *self.state.health.lock().unwrap() = health;
        self.state.told.notify_all();
    }

    fn addr(&self) -> SocketAddr {
        self.script.addr()
    }

    fn asked(&self) -> usize {
        self.state.asked.load(Ordering::SeqCst)
    }

    fn served(&self) -> usize {
        self.state.served.load(Ordering::SeqCst)
    }

    /// Waits until what it answered to so many checks is known; the router asks again only then.
    #[track_caller]
    fn until_checked(&self, checks: usize) {
        let before = self.asked();
        until("it is asked again and again", || self.asked() > before + checks);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.is(Health::Hangs);
    }
}

fn asked_for(url: &str, health: &str) -> Target {
    Target::Http {
        url: url.parse().unwrap(),
        health: Some(health.parse().unwrap()),
        timeouts: Default::default(),
    }
}

fn at(places: &[SocketAddr]) -> Target {
    let places: Vec<String> = places.iter().map(SocketAddr::to_string).collect();
    asked_for(&format!("http://{}", places.join(",")), "/healthz")
}

/// One that asks every 40 ms, and takes no answer within 200 ms for none.
fn router(target: Target) -> TestRouter {
    patient_router(target, Duration::from_millis(200))
}

fn patient_router(target: Target, health: Duration) -> TestRouter {
    let timeouts = Timeouts { health, health_every: Duration::from_millis(40), ..patient() };
    TestRouter::listening(target, RouterConfig { workers: Some(2), ..config(timeouts) })
}

/// Whether a place is not left out; `None` where the table has none such.
fn is_up(router: &TestRouter, place: SocketAddr) -> Option<bool> {
    let upstreams = router.table.upstreams();
    upstreams.iter().find(|upstream| upstream.place == place.to_string()).map(|upstream| upstream.is_up)
}

#[track_caller]
fn until_it_is(router: &TestRouter, place: SocketAddr, up: bool) {
    until(if up { "it is let in" } else { "it is left out" }, || is_up(router, place) == Some(up));
}

#[test]
fn a_place_that_is_not_well_gets_nothing_until_it_is_well() {
    for ill in [Health::Answers(503), Health::Answers(404), Health::Hangs, Health::Resets] {
        let (good, bad) = (Place::start(Health::Answers(200)), Place::start(ill));
        let router = router(at(&[good.addr(), bad.addr()]));
        let mut sent = 0;
        let mut get = || {
            sent += 1;
            assert_eq!(router.client().get("/shop:live/x").status, 200, "{ill:?}");
        };
        // It answers requests meanwhile, which makes it no better.
        until("it is left out", || {
            get();
            is_up(&router, bad.addr()) == Some(false)
        });
        let before = bad.served();
        for _ in 0..20 {
            get();
        }
        bad.until_checked(3);
        get();
        assert_eq!((bad.served(), is_up(&router, good.addr())), (before, Some(true)), "{ill:?}");
        bad.is(Health::Answers(200));
        until_it_is(&router, bad.addr(), true);
        until("it gets requests again", || {
            get();
            bad.served() > before
        });
        // The requests, and none of the checks.
        assert_eq!(router.settled(sent).failures.total(), 0);
    }
}

#[test]
fn two_and_three_hundreds_are_well() {
    for status in [200, 299, 302, 399] {
        let place = Place::start(Health::Answers(status));
        let router = router(at(&[place.addr()]));
        place.until_checked(5);
        assert_eq!(is_up(&router, place.addr()), Some(true), "{status}");
    }
}

#[test]
fn a_place_that_refuses_connections_is_left_out_until_it_is_back() {
    let good = Place::start(Health::Answers(200));
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let router = router(at(&[good.addr(), gone]));
    until_it_is(&router, gone, false);
    answer_at(gone, "back");
    until_it_is(&router, gone, true);
    until("it gets requests", || router.client().get("/shop:live/x").text() == "back");
}

#[test]
fn the_only_place_and_all_places_are_tried_although_they_are_out() {
    let places = [Place::start(Health::Answers(500)), Place::start(Health::Hangs)];
    let addrs = [places[0].addr(), places[1].addr()];
    for all in [&addrs[..1], &addrs[..]] {
        let router = router(at(all));
        let before = places.each_ref().map(Place::served);
        for addr in all {
            until_it_is(&router, *addr, false);
        }
        for _ in 0..20 {
            assert_eq!(router.client().get("/shop:live/x").status, 200);
        }
        assert!((0..all.len()).all(|index| places[index].served() >= before[index] + 10));
        assert_eq!(router.settled(20).failures.total(), 0);
        assert!(all.iter().all(|addr| is_up(&router, *addr) == Some(false)), "requests let nobody in");
    }
    places[0].is(Health::Answers(200));
    let router = router(at(&addrs[..1]));
    places[0].until_checked(3);
    assert_eq!(is_up(&router, addrs[0]), Some(true));
}

#[test]
fn a_place_that_is_well_and_breaks_requests_is_put_out_by_them_again_and_again() {
    let (good, bad) = (Place::start(Health::Answers(200)), Place::start(Health::Answers(200)));
    bad.state.breaks_requests.store(true, Ordering::SeqCst);
    let router = patient_router(at(&[good.addr(), bad.addr()]), Duration::from_secs(20));
    // Asks until one fails; while the place is in, one of two does.
    let fail_once = || (0..4).any(|_| router.client().get("/shop:live/x").status == 502);
    for _ in 0..2 {
        assert!(fail_once());
        bad.until_checked(3);
        assert_eq!(is_up(&router, bad.addr()), Some(true));
    }
    // From here on checks wait for their answers, so that it is not let in before somebody looks.
    bad.is(Health::Holds);
    assert!(fail_once(), "the third, after many good checks");
    for _ in 0..3 {
        assert_eq!(is_up(&router, bad.addr()), Some(false));
        assert!(!fail_once(), "it gets nothing");
        bad.is(Health::Answers(200));
        until_it_is(&router, bad.addr(), true);
        bad.until_checked(3);
        bad.is(Health::Holds);
        assert!(fail_once(), "one is enough now");
    }
    assert_eq!(is_up(&router, bad.addr()), Some(false));
    // Once it answers a request, it takes three again.
    bad.is(Health::Answers(200));
    bad.state.breaks_requests.store(false, Ordering::SeqCst);
    until_it_is(&router, bad.addr(), true);
    until("it serves", || router.client().get("/shop:live/x").status == 200 && bad.served() > 0);
    bad.state.breaks_requests.store(true, Ordering::SeqCst);
    assert!(fail_once() && is_up(&router, bad.addr()) == Some(true));
    assert_eq!(router.counts()[0].failures.total(), 7, "three, three times one, and the last");
}

#[test]
fn versions_that_speak_http2_are_asked_in_it() {
    let version = Version::start_http2("two", 1);
    let ask = |health: &str| router(asked_for(&format!("h2c://{}", version.addr()), health));
    let well = ask("/status/204");
    let before = version.seen().requests();
    until("it is asked again and again", || version.seen().requests() > before + 5);
    assert_eq!(is_up(&well, version.addr()), Some(true));
    assert_eq!(well.client().get("/shop:live/x").text(), "two");
    assert_eq!(well.settled(1).completed, 1);
    drop(well);
    for ill in ["/status/500", "/hang"] {
        let router = ask(ill);
        until_it_is(&router, version.addr(), false);
        assert_eq!(router.client().get("/shop:live/x").text(), "two", "no check that hangs is in its way");
    }
    let other = Place::start(Health::Answers(200));
    let router = router(asked_for(&format!("h2c://{}", other.addr()), "/healthz"));
    until_it_is(&router, other.addr(), false);
}

#[test]
fn it_is_asked_behind_the_base_path_and_told_who_asks() {
    let place = Place::start(Health::Answers(200));
    let addr = place.addr();
    let router = router(asked_for(&format!("http://{addr}/base/"), "/healthz?deep=1"));
    place.until_checked(2);
    let asked = place.state.last_asked.lock().unwrap().clone();
    assert_eq!(
        asked,
        format!("GET /base/healthz?deep=1 HTTP/1.1\r\nhost: {addr}\r\nuser-agent: serin-health\r\n\r\n")
    );
    assert_eq!(router.counts()[0].dispatched, 0);
    router.recorder.direct_totals(|_, _, counts| assert_eq!(counts.counts.dispatched, 0));
}

#[test]
fn one_worker_asks_one_check_at_a_time() {
    let (clock, held) = (Place::start(Health::Answers(200)), Place::start(Health::Holds));
    let _router = patient_router(at(&[clock.addr(), held.addr()]), Duration::from_secs(20));
    until("it is asked", || held.asked() == 1);
    clock.until_checked(10);
    assert_eq!(held.asked(), 1);
}

#[test]
fn who_is_out_is_remembered_beyond_a_new_weight() {
    let (good, bad) = (Place::start(Health::Answers(200)), Place::start(Health::Answers(503)));
    let target = at(&[good.addr(), bad.addr()]);
    let router = patient_router(target.clone(), Duration::from_secs(20));
    until_it_is(&router, bad.addr(), false);
    bad.is(Health::Holds);
    let before = bad.served();
    for epoch in 100..120 {
        router.split(epoch, 0, &target, &target);
        assert_eq!(router.client().get("/shop:live/x").status, 200);
    }
    assert_eq!((bad.served(), is_up(&router, bad.addr())), (before, Some(false)));
}

#[test]
fn nobody_is_asked_who_left_the_table() {
    let (stays, leaves) = (Place::start(Health::Answers(200)), Place::start(Health::Answers(200)));
    let (one, two) = (at(&[stays.addr()]), at(&[leaves.addr()]));
    let router = router(one.clone());
    let asked_as = |name: &str| Edit::Function { name: name.parse().unwrap(), latest: two.clone() };
    router.table.publish(vec![asked_as("desk"), asked_as("till")]);
    router.split(2, 500_000, &one, &two);
    // Requests under way keep their version, but not its checks.
    leaves.state.hangs_requests.store(true, Ordering::SeqCst);
    let mut under_way = router.client();
    under_way.send("GET /desk:$LATEST/x HTTP/1.1\r\nHost: a\r\n\r\n");
    until("it is under way", || leaves.served() == 1);
    for name in ["desk", "till"] {
        router.table.publish(vec![Edit::RemoveFunction(name.parse().unwrap())]);
    }
    leaves.until_checked(3);
    router.split(3, 0, &one, &one);
    stays.until_checked(3);
    let before = leaves.asked();
    stays.until_checked(10);
    assert_eq!((leaves.asked(), is_up(&router, leaves.addr())), (before, None));
    router.table.publish(vec![Edit::RemoveAlias(ALIAS.parse().unwrap())]);
    stays.until_checked(3);
    assert_eq!(is_up(&router, stays.addr()), Some(true), "$LATEST is there");
}

#[test]
fn a_wrong_path_of_one_version_harms_no_other_at_the_same_place() {
    let (place, other) = (Version::start("place"), Version::start("other"));
    let places = format!("http://{},{}", place.addr(), other.addr());
    let router = router(asked_for(&places, "/status/200"));
    router.split(2, 500_000, &asked_for(&places, "/status/200"), &asked_for(&places, "/status/404"));
    let ups = |version: &str| -> Vec<bool> {
        let mut upstreams = router.table.upstreams();
        upstreams.retain(|upstream| upstream.version.to_string() == version);
        upstreams.iter().map(|upstream| upstream.is_up).collect()
    };
    until("the places of version 2 are out", || ups("2") == [false, false]);
    assert_eq!((ups("1"), ups("$LATEST")), (vec![true, true], vec![true, true]));
}

/// A router that takes another one's table over, in the words of a handover, asks the same.
#[test]
fn another_router_is_told_of_the_path() {
    let place = Place::start(Health::Answers(503));
    let before = router(at(&[place.addr()]));
    let (tell, told) = std::sync::mpsc::channel();
    before.table.hand_on(move |edits| tell.send(serde_json::to_string(&edits).unwrap()).unwrap());
    let edits: Vec<Edit> = serde_json::from_str(&told.recv().unwrap()).unwrap();
    drop(before);
    let elsewhere = Place::start(Health::Answers(200));
    let after = router(at(&[elsewhere.addr()]));
    after.table.publish(edits);
    until_it_is(&after, place.addr(), false);
}
