//! What `/livez` says of the thread that decides, as the real binary.

use crate::support::client::{Answer, Client};
use crate::support::faults::shim;
use crate::support::serin::{Daemon, command, serin};
use crate::support::until;
use crate::support::upstream::Version;

fn control(daemon: &Daemon, path: &str) -> Answer {
    let mut api = Client::connect(daemon.api);
    api.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    api.answer()
}

#[test]
fn livez_fails_when_the_thread_that_decides_makes_no_turn_for_a_minute_and_the_router_goes_on() {
    let Some(library) = shim() else { return };
    let dir = tempfile::tempdir().unwrap();
    let trigger = dir.path().join("stuck");
    let mut command = command();
    command.env("LD_PRELOAD", library);
    command.envs([("SHIM_STUCK_THREAD", "control"), ("SHIM_STUCK_TRIGGER", trigger.to_str().unwrap())]);
    let daemon = Daemon::start_as(command, dir.path(), &[]);
    let version = Version::start("one");
    daemon.serin(&["function", "publish", "shop", "--url", &format!("http://{}", version.addr())]).done();
    daemon.serin(&["alias", "create", "shop:live", "--version", "1"]).done();
    assert_eq!(control(&daemon, "/livez").status, 200);
    assert_eq!(daemon.serin(&["health"]).done().out, "ok\n");
    daemon.serin(&["health", "--ready"]).done();
    std::fs::write(&trigger, "").unwrap();
    until("it is said", || control(&daemon, "/livez").status == 503);
    let answer = control(&daemon, "/livez");
    assert!(answer.text().starts_with("the thread that decides has made no turn for 6"), "{}", answer.text());
    daemon.serin(&["health"]).ended(1).complaining(&["503", "the thread that decides has made no turn"]);
    // What it was asked just then it may still have answered.
    until("it is not ready", || control(&daemon, "/readyz").status == 503);
    assert_eq!(Client::connect(daemon.router).get("/shop:live/x").status, 200);
    std::fs::remove_file(&trigger).unwrap();
    until("it goes on", || control(&daemon, "/livez").status == 200);
    daemon.serin(&["alias", "get", "shop:live"]).done();
    let url = daemon.url();
    daemon.stop();
    serin(&["health", "--url", &url]).ended(1).complaining(&["connection refused"]);
}
