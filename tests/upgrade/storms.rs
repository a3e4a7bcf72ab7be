//! Storms of upgrades and kills: who was not killed goes on, whoever else was.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::SmallRng;
use rustix::process::{Pid, Signal, kill_process};
use serin::chance;

use super::STANDING;
use super::kills::holder;
use super::relay::{Relay, send};
use crate::store::disk::kill;
use crate::support::until;
use crate::support::users::service;

/// Ends a watch, whatever happens meanwhile.
struct Watched<'a>(&'a AtomicBool);

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Watches who comes and goes; the processes that were there last, once nobody is.
fn watch(relay: &Relay, is_over: &AtomicBool) -> BTreeSet<i32> {
    let mut last = BTreeSet::new();
    while !is_over.load(Ordering::Relaxed) {
        let now: BTreeSet<i32> = relay.processes().into_iter().collect();
        if !now.is_empty() {
            last = now;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    last
}

/// Upgrades and kills at once; who was killed.
fn storm(relay: &Relay, luck: &mut SmallRng) -> BTreeSet<i32> {
    let mut killed = BTreeSet::new();
    for _ in 0..luck.random_range(2..8) {
        std::thread::sleep(Duration::from_millis(luck.random_range(0..120)));
        let processes = relay.processes();
        let Some(victim) = processes.get(luck.random_range(0..processes.len().max(1))) else { continue };
        // Whether it is there still is its own affair.
        let pid = Pid::from_raw(*victim).unwrap();
        let is_kill = luck.random_range(0..3) == 0;
        // Before it has said what SIGUSR2 is to it, that signal would end it.
        let listens = holder(relay) == Some(*victim);
        if is_kill {
            killed.insert(*victim);
            let _ = kill_process(pid, Signal::KILL);
        } else if listens {
            let _ = kill_process(pid, Signal::USR2);
        }
    }
    killed
}

fn storms(count: usize, seed: u64) {
    let dir = tempfile::tempdir().unwrap();
    let mut relay = Relay::start(dir.path(), &[]);
    relay.roll_out(service("1"), service("2"), STANDING);
    // On addresses of its own, as people's are: nobody else can find out those that the kernel has chosen.
    kill(&relay);
    relay.boot(&[]);
    let mut luck: SmallRng = chance::seeded(seed);
    let (mut survived, mut booted) = (0, 0);
    for number in 0..count {
        let is_over = AtomicBool::new(false);
        let (killed, last) = std::thread::scope(|scope| {
            let watching = scope.spawn(|| watch(&relay, &is_over));
            let watched = Watched(&is_over);
            let killed = storm(&relay, &mut luck);
            until(&format!("storm {number}: one process is whole, or nobody is there"), || {
                match relay.processes().as_slice() {
                    [] => holder(&relay).is_none(),
                    [alone] => holder(&relay) == Some(*alone) && relay.running().contains(alone),
                    _ => false,
                }
            });
            drop(watched);
            (killed, watching.join().unwrap())
        });
        if relay.processes().is_empty() {
            // Whoever ended unharmed had left everything to one that decided, and that one was killed.
            let decided = |pid: &&i32| relay.logged_by(&format!("process {pid} "), "has taken over");
            let ended: BTreeSet<&i32> = last.difference(&killed).collect();
            let is_well = ended.is_empty() || killed.iter().any(|pid| decided(&pid));
            assert!(
                is_well,
                "storm {number}: {ended:?} ended without being killed, of {last:?}; killed: {killed:?}"
            );
            relay.boot(&[]);
            booted += 1;
        } else {
            survived += 1;
        }
        assert_eq!(relay.status(), 200, "storm {number}");
        assert_eq!(relay.rollout()["phase"], "Progressing", "storm {number}");
    }
    println!("after {survived} storms somebody served on, in {booted} everybody was killed");
    send(holder(&relay).unwrap(), Signal::TERM);
    until("it has ended", || relay.processes().is_empty());
    assert_eq!(serin::store::fsck(&relay.dir.join("data"), None).unwrap(), []);
}

#[test]
fn after_a_storm_of_upgrades_and_kills_who_was_not_killed_serves() {
    storms(12, 2026);
}

#[test]
#[ignore = "some minutes; scripts/test-long runs it"]
fn after_two_hundred_storms_who_was_not_killed_serves() {
    storms(200, 7);
}
