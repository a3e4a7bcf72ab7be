//! WebSockets on a version that loses its traffic: they go on, or are closed within the time that the plan gives.

use std::io::Read;
use std::time::Duration;

use serin::router::table::{Edit, RouteSpec};
use serin_core::lambda::function::Revision;

use crate::support::client::Client;
use crate::support::router::{ALIAS, TestRouter, spec};
use crate::support::until;
use crate::support::upstream::{Script, read_request, write};

fn opened(router: &TestRouter, target: &str) -> Client {
    let mut client = router.client();
    client.send(format!(
        "GET {target} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    ));
    assert_eq!(client.head().unwrap().status, 101);
    client
}

#[track_caller]
fn assert_open(client: &mut Client) {
    client.send("hi");
    assert_eq!(client.read_some(), 2);
}

fn published(router: &TestRouter, versions: [&Script; 2], epoch: u64, ppm: u32, close: Option<Duration>) {
    let spec = spec(epoch, ppm, &versions[0].target(), &versions[1].target());
    router.publish(RouteSpec { close_tunnels: close, ..spec });
}

fn open_to_two(router: &TestRouter) -> usize {
    let two = serin_core::model::arn::VersionNumber(2).into();
    router.table.tunnels().of(&ALIAS.parse().unwrap(), two)
}

#[test]
fn a_tunnel_on_a_version_that_loses_its_traffic_is_left_unless_the_plan_says_otherwise() {
    let (one, two) = (Script::echoing(), Script::echoing());
    let router = TestRouter::start();
    published(&router, [&one, &two], 1, 1_000_000, None);
    let mut tunnel = opened(&router, "/shop:live/chat");
    assert_eq!(open_to_two(&router), 1);
    published(&router, [&one, &two], 2, 0, None);
    assert_open(&mut tunnel);
    assert_eq!((open_to_two(&router), router.counts()[1].in_flight()), (1, 1));
    drop(tunnel);
    until("it ends with its client", || open_to_two(&router) == 0);
}

#[test]
fn tunnels_are_closed_within_the_time_the_plan_gives() {
    let (one, two) = (Script::echoing(), Script::echoing());
    let router = TestRouter::start();
    let soon = Some(Duration::from_millis(200));
    published(&router, [&one, &two], 1, 1_000_000, soon);
    let mut lost: Vec<Client> = (0..8).map(|_| opened(&router, "/shop:live/chat")).collect();
    router.table.publish(vec![Edit::Version {
        function: "shop".parse().unwrap(),
        number: serin_core::model::arn::VersionNumber(2),
        target: two.target(),
    }]);
    let mut by_number = opened(&router, "/shop:2/chat");
    lost.iter_mut().for_each(assert_open);
    published(&router, [&one, &two], 2, 0, soon);
    let mut kept = opened(&router, "/shop:live/chat");
    for tunnel in &mut lost {
        assert_eq!(tunnel.read_some(), 0, "a clean end");
    }
    until("none is left", || open_to_two(&router) == 0);
    assert_open(&mut kept);
    assert_open(&mut by_number);
    let counts = router.counts()[1];
    assert_eq!((counts.completed, counts.failures.total()), (8, 0), "{counts:?}");
}

#[test]
fn a_tunnel_whose_version_gets_traffic_again_in_time_stays() {
    let (one, two) = (Script::echoing(), Script::echoing());
    let router = TestRouter::start();
    let late = Some(Duration::from_secs(3600));
    published(&router, [&one, &two], 1, 1_000_000, late);
    let mut tunnel = opened(&router, "/shop:live/chat");
    published(&router, [&one, &two], 2, 0, late);
    published(&router, [&one, &two], 3, 500_000, Some(Duration::ZERO));
    assert_open(&mut tunnel);
    published(&router, [&one, &two], 4, 0, Some(Duration::ZERO));
    assert_eq!(tunnel.read_some(), 0);
}

#[test]
fn a_tunnel_that_opens_just_as_its_version_loses_its_traffic_is_closed_too() {
    let (answer, may_answer) = std::sync::mpsc::channel::<()>();
    let may_answer = std::sync::Mutex::new(may_answer);
    let two = Script::start(move |mut stream, _| {
        read_request(&mut stream);
        let _ = may_answer.lock().unwrap().recv_timeout(Duration::from_secs(20));
        write(
            &mut stream,
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        );
        stream.set_read_timeout(None).unwrap();
        let _ = stream.read(&mut [0]);
    });
    let one = Script::echoing();
    let router = TestRouter::start();
    published(&router, [&one, &two], 1, 1_000_000, Some(Duration::ZERO));
    let mut client = router.client();
    client.send("GET /shop:live/x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    until("it is asked", || two.connections() == 1);
    published(&router, [&one, &two], 2, 0, Some(Duration::ZERO));
    until("it is published", || router.table.serving(&ALIAS.parse().unwrap()).unwrap().0 == Revision(2));
    answer.send(()).unwrap();
    assert_eq!(client.head().unwrap().status, 101);
    assert_eq!(client.read_some(), 0);
}
