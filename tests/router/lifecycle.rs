//! Binding, accepting, waiting for clients, and coming to an end.

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use serin::metrics::recorder::Recorder;
use serin::router::server::Router;
use serin::router::settings::{RouterConfig, Timeouts};
use serin::router::table::{Edit, RoutingTable};

use crate::support::client::Client;
use crate::support::router::{TestRouter, config, patient, spec};
use crate::support::until;
use crate::support::upstream::{Script, Version};

fn table(workers: usize) -> Arc<RoutingTable> {
    RoutingTable::new(Recorder::new(workers, Arc::new(|_| {})))
}

#[test]
fn clients_may_connect_before_the_router_runs() {
    let one = Version::start("one");
    let table = table(2);
    let router = Router::bind(config(patient()), Arc::clone(&table)).unwrap();
    let mut early = Client::connect(router.local_addr());
    early.send("GET /shop:live/x HTTP/1.1\r\nHost: a\r\n\r\n");
    table.publish(vec![Edit::Alias(spec(1, 0, &one.target(), &one.target()).into())]);
    let running = router.run().unwrap();
    assert_eq!(early.answer().text(), "one");
    running.shutdown(Duration::ZERO).unwrap();
}

#[test]
fn an_address_is_not_shared_with_another_process() {
    let first = Router::bind(config(patient()), table(2)).unwrap();
    let taken = RouterConfig { addr: first.local_addr(), ..config(patient()) };
    let second = Router::bind(taken.clone(), table(2));
    assert_eq!(second.err().map(|error| error.kind()), Some(ErrorKind::AddrInUse));
    drop(first);
    Router::bind(taken, table(2)).expect("the address is free again");
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = RouterConfig { addr: other.local_addr().unwrap(), ..config(patient()) };
    assert!(Router::bind(taken, table(2)).is_err());
}

#[test]
fn there_are_no_more_workers_than_the_recorder_counts_for() {
    let fault = Router::bind(config(patient()), table(1)).err().unwrap();
    assert!(fault.to_string().contains("2 router workers"), "{fault}");
}

#[test]
fn two_routers_do_not_count_with_one_recorder() {
    let table = table(2);
    let first = Router::bind(config(patient()), Arc::clone(&table)).unwrap().run().unwrap();
    let second = Router::bind(config(patient()), Arc::clone(&table)).unwrap().run();
    assert_eq!(second.err().map(|error| error.kind()), Some(ErrorKind::AlreadyExists));
    first.shutdown(Duration::ZERO).unwrap();
    Router::bind(config(patient()), table).unwrap().run().expect("the first has let go");
}

#[test]
fn every_worker_serves() {
    let one = Version::start("one");
    let router = TestRouter::serving(one.target(), patient());
    // The kernel spreads connections by their ports; an upstream connection is never shared between workers.
    until("both workers have an upstream connection", || {
        assert_eq!(router.client().get("/shop:live/x").text(), "one");
        one.seen().connections() >= 2
    });
}

#[test]
fn a_client_that_says_nothing_is_closed() {
    let one = Version::start("one");
    let timeouts = Timeouts { client_header: Duration::from_millis(100), ..patient() };
    let router = TestRouter::serving(one.target(), timeouts);
    let mut silent = router.client();
    let mut slow = router.client();
    slow.send("GET /shop:live/x HTTP/1.1\r\nHo");
    let mut idle = router.client();
    assert_eq!(idle.get("/shop:live/x").text(), "one");
    for client in [&mut silent, &mut slow, &mut idle] {
        assert!(client.is_closed());
    }
}

#[test]
fn requests_under_way_end_and_no_new_ones_begin() {
    let (slow, answer_now) = Script::late("200 OK");
    let mut router = TestRouter::serving(slow.target(), patient());
    let mut under_way = router.client();
    under_way.send("GET /shop:live/x HTTP/1.1\r\nHost: a\r\n\r\n");
    until("it is dispatched", || router.counts()[0].dispatched == 1);
    let mut idle = router.client();
    assert_eq!(idle.get("/nothing").status, 404);

    let (addr, running) = (router.addr(), router.take());
    let stopping = std::thread::spawn(move || running.shutdown(Duration::from_secs(10)));
    assert!(idle.is_closed(), "an idle connection is closed at once");
    until("nobody listens", || TcpStream::connect(addr).is_err());
    answer_now.send(()).unwrap();
    let answer = under_way.answer();
    assert_eq!((answer.text(), answer.header("connection")), ("late", Some("close")));
    assert!(under_way.is_closed());
    stopping.join().unwrap().unwrap();
    assert_eq!(router.settled(1).completed, 1);
}

#[test]
fn grace_has_an_end() {
    let one = Version::start("one");
    let mut router = TestRouter::serving(one.target(), patient());
    let mut stuck = router.client();
    stuck.send("GET /shop:live/hang HTTP/1.1\r\nHost: a\r\n\r\n");
    until("it is dispatched", || router.counts()[0].dispatched == 1);
    router.take().shutdown(Duration::from_millis(50)).unwrap();
    assert!(stuck.is_closed());
    assert_eq!(router.settled(1).cancelled, 1);
}

#[test]
fn a_router_can_be_started_again_and_counts_on() {
    let one = Version::start("one");
    let mut router = TestRouter::serving(one.target(), patient());
    assert_eq!(router.client().get("/shop:live/x").text(), "one");
    router.take().shutdown(Duration::from_secs(10)).unwrap();
    let again = Router::bind(config(patient()), Arc::clone(&router.table)).unwrap();
    let addr = again.local_addr();
    let running = again.run().unwrap();
    assert_eq!(Client::connect(addr).get("/shop:live/x").text(), "one");
    assert_eq!(router.settled(2).completed, 2);
    running.shutdown(Duration::ZERO).unwrap();
}
