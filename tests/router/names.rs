//! Versions that are published by name: a name that moves is followed, and nothing that is under way is lost.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use serin::router::names::{Addresses, Resolver};
use serin::router::settings::{RouterConfig, Timeouts};
use serin_core::lambda::function::Target;

use crate::support::http2::Frames;
use crate::support::router::{TestRouter, config, patient};
use crate::support::until;
use crate::support::upstream::{read_request, write};

const OLD: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));
const NEW: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// A resolver that answers as it is told.
#[derive(Default)]
struct Script {
    addresses: Mutex<Vec<IpAddr>>,
    is_down: AtomicBool,
    lookups: AtomicUsize,
}

impl Script {
    fn at(address: IpAddr) -> Arc<Script> {
        let script = Script::default();
        script.move_to(address);
        Arc::new(script)
    }

    fn move_to(&self, address: IpAddr) {
        *self.addresses.lock().unwrap() = vec![address];
    }
}

impl Resolver for Script {
    fn resolve<'a>(&'a self, host: &'a str) -> Addresses<'a> {
        assert_eq!(host, "moving.example");
        self.lookups.fetch_add(1, Ordering::SeqCst);
        let found = match self.is_down.load(Ordering::SeqCst) {
            true => Err(io::Error::other("the resolver is down")),
            false => Ok(self.addresses.lock().unwrap().clone()),
        };
        Box::pin(async { found })
    }
}

/// Listeners on one port of two addresses.
fn both() -> [TcpListener; 2] {
    for _ in 0..100 {
        let old = TcpListener::bind(SocketAddr::new(OLD, 0)).unwrap();
        if let Ok(new) = TcpListener::bind(SocketAddr::new(NEW, old.local_addr().unwrap().port())) {
            return [old, new];
        }
    }
    panic!("no port is free on both addresses");
}

/// Answers with a name for as long as the test runs; `/late` when it is told to.
fn serve(listener: TcpListener, name: &'static str) -> mpsc::Sender<()> {
    let (answer_now, may_answer) = mpsc::channel::<()>();
    let may_answer = Arc::new(Mutex::new(may_answer));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let may_answer = Arc::clone(&may_answer);
            std::thread::spawn(move || {
                while let Some(request) = read_request(&mut stream) {
                    if request.starts_with("GET /late") {
                        let _ = may_answer.lock().unwrap().recv_timeout(Duration::from_secs(20));
                    }
                    write(&mut stream, format!("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{name}"));
                }
            });
        }
    });
    answer_now
}

fn named(scheme: &str, port: u16) -> Target {
    let url = format!("{scheme}://moving.example:{port}").parse().unwrap();
    Target::Http { url, health: None, timeouts: Default::default() }
}

fn router(target: Target, resolver: &Arc<Script>, resolve_every: Duration) -> TestRouter {
    let timeouts = Timeouts { resolve_every, upstream_idle: Duration::from_secs(60), ..patient() };
    let resolver: Arc<dyn Resolver> = Arc::<Script>::clone(resolver);
    TestRouter::listening(target, RouterConfig { workers: Some(1), resolver, ..config(timeouts) })
}

#[test]
fn a_name_that_moves_while_the_old_address_still_answers_is_followed() {
    let [old, new] = both();
    let port = old.local_addr().unwrap().port();
    let (answer_now, _) = (serve(old, "old"), serve(new, "new"));
    let resolver = Script::at(OLD);
    let router = router(named("http", port), &resolver, Duration::from_millis(100));
    let mut client = router.client();
    let mut late = router.client();
    late.send("GET /shop:live/late HTTP/1.1\r\nHost: a\r\n\r\n");
    for _ in 0..10 {
        assert_eq!(client.get("/shop:live/x").text(), "old");
    }
    resolver.move_to(NEW);
    let mut asked = 0;
    until("it is followed", || {
        asked += 1;
        client.get("/shop:live/x").text() == "new"
    });
    answer_now.send(()).unwrap();
    assert_eq!(late.answer().text(), "old", "what is under way there ends there");
    for _ in 0..10 {
        assert_eq!(client.get("/shop:live/x").text(), "new");
    }
    let counts = router.settled(21 + asked);
    assert_eq!((counts.completed, counts.failures.total()), (21 + asked, 0));
}

#[test]
fn a_name_that_moves_is_followed_in_http2_too() {
    let [old, new] = both();
    let port = old.local_addr().unwrap().port();
    // `:status 200` and `:status 204`.
    for (listener, status) in [(old, 0x88), (new, 0x89)] {
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let mut frames = Frames::accept(stream);
                    while let Some(head) = frames.read_until(1) {
                        frames.send(1, 5, head.stream, &[status]);
                    }
                });
            }
        });
    }
    let resolver = Script::at(OLD);
    let router = router(named("h2c", port), &resolver, Duration::from_millis(100));
    let mut client = router.client();
    assert_eq!(client.get("/shop:live/x").status, 200);
    resolver.move_to(NEW);
    until("it is followed", || client.get("/shop:live/x").status == 204);
    assert_eq!(router.counts()[0].failures.total(), 0);
}

#[test]
fn a_name_whose_old_address_is_gone_is_looked_up_at_once() {
    let [old, new] = both();
    let port = old.local_addr().unwrap().port();
    drop(old);
    serve(new, "new");
    let resolver = Script::at(OLD);
    let router = router(named("http", port), &resolver, Duration::from_secs(30));
    let mut client = router.client();
    assert_eq!(client.get("/shop:live/x").status, 502);
    resolver.move_to(NEW);
    assert_eq!(client.get("/shop:live/x").text(), "new", "an address in doubt is not kept for half a minute");
}

#[test]
fn names_are_looked_up_seldom_and_kept_while_nobody_answers() {
    let [old, _new] = both();
    let port = old.local_addr().unwrap().port();
    serve(old, "old");
    let resolver = Script::at(OLD);
    let seldom = router(named("http", port), &resolver, Duration::from_secs(30));
    for _ in 0..20 {
        // Each a connection of its own, for all are under way at once.
        let mut clients: Vec<_> = (0..5).map(|_| seldom.client()).collect();
        clients.iter_mut().for_each(|client| client.send("GET /shop:live/x HTTP/1.1\r\nHost: a\r\n\r\n"));
        clients.iter_mut().for_each(|client| assert_eq!(client.answer().text(), "old"));
    }
    let lookups = resolver.lookups.load(Ordering::SeqCst);
    assert!(lookups <= 5, "{lookups} look-ups for 100 requests: none but those before the first answer");

    let often = router(named("http", port), &resolver, Duration::from_millis(100));
    let mut client = often.client();
    assert_eq!(client.get("/shop:live/x").text(), "old");
    resolver.is_down.store(true, Ordering::SeqCst);
    let before = resolver.lookups.load(Ordering::SeqCst);
    until("it is asked in vain", || resolver.lookups.load(Ordering::SeqCst) > before + 1);
    assert_eq!(client.get("/shop:live/x").text(), "old");
    assert_eq!(often.settled(2).failures.total(), 0);
}
