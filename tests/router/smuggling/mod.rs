//! Requests that two readers could read differently: refused, or sent on so that there is one way to read them.
//!
//! Each is sent to a router before a version that reads more strictly than any server does. The version's requests are
//! the answers the client gets, one for one and in order, and no more of them than the case allows.

mod cases;
mod fuzz;
mod judge;
mod mutations;
mod strict;

use std::time::Duration;

use judge::{assert_agreed, judge};
use strict::StrictVersion;

use crate::support::router::{TestRouter, patient};

const NEXT: &str = "GET /shop:live/next HTTP/1.1\r\nHost: a\r\n\r\n";
/// For whoever keeps the router waiting, as some cases do.
const PATIENCE: Duration = Duration::from_secs(1);

#[test]
fn cases_by_hand_are_read_alike_by_all() {
    let cases = cases::by_hand();
    assert!(cases.len() >= 300, "{} cases", cases.len());
    assert_agreed(&format!("{} cases", cases.len()), &judge(&cases, PATIENCE));
}

#[test]
fn every_spelling_of_a_framing_is_read_alike_by_all() {
    let cases = mutations::made();
    assert_agreed(&format!("{} cases", cases.len()), &judge(&cases, PATIENCE));
}

#[test]
fn heads_have_a_size_and_a_number_of_lines() {
    let version = StrictVersion::start();
    let router = TestRouter::serving(version.target(), patient());
    let large = |size: usize| {
        let mut client = router.client();
        let _ = client
            .try_send(format!("GET /shop:live/x HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(size)));
        client.try_answer_to("GET").map(|answer| answer.status)
    };
    assert_eq!(large(60_000), Some(200));
    assert!(matches!(large(70_000), Some(431) | None), "None where the reset outruns the answer");
    let many = |lines: usize| {
        let mut client = router.client();
        let lines: String = (1..lines).map(|line| format!("X-{line}: 1\r\n")).collect();
        client.send(format!("GET /shop:live/x HTTP/1.1\r\nHost: a\r\n{lines}\r\n"));
        client.answer().status
    };
    assert_eq!((many(100), many(101)), (200, 431));
    let seen = version.take();
    assert_eq!((seen.requests.len(), seen.refused.len()), (2, 0), "{:?}", seen.refused);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let version = StrictVersion::start();
    let router = TestRouter::serving(version.target(), patient());
    let mut client = router.client();
    client.send(format!("{NEXT}GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n{NEXT}").repeat(3));
    for _ in 0..3 {
        assert_eq!([(); 3].map(|()| client.answer().status), [200, 404, 200]);
    }
    let seen = version.take();
    assert_eq!((seen.requests.len(), seen.refused.len()), (6, 0), "{:?}", seen.refused);
}
