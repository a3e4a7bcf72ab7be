//! `kill -9` in the midst of upgrades: whoever is left serves and decides, and a store that nobody is left for boots clean.

use std::time::Duration;

use rustix::process::Signal;

use super::STANDING;
use super::relay::{Relay, send};
use crate::support::until;
use crate::support::users::service;

/// The moments, from before the new process could do anything until after it decides.
const AFTER_MS: [u64; 8] = [0, 5, 10, 20, 40, 110, 130, 180];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Victim {
    Old,
    New,
    Both,
}

/// The process that holds the store, by its note in the directory.
pub(super) fn holder(relay: &Relay) -> Option<i32> {
    let note = serin::store::holder_of(&relay.dir.join("data"))?;
    note.split("pid ").nth(1)?.split(',').next()?.parse().ok()
}

#[test]
fn whoever_is_killed_somebody_serves() {
    let dir = tempfile::tempdir().unwrap();
    let mut relay = Relay::start(dir.path(), &[]);
    relay.roll_out(service("1"), service("2"), STANDING);
    let (mut survived, mut booted) = (0, 0);
    for victim in [Victim::New, Victim::Old, Victim::Both] {
        for after in AFTER_MS {
            let old = holder(&relay).unwrap();
            let taken_over = relay.logged("has taken over");
            let mut new = None;
            until("a process is started", || {
                // Refused until the last one is known to be dead.
                send(old, Signal::USR2);
                new = relay.processes().into_iter().find(|pid| *pid != old);
                new.is_some()
            });
            std::thread::sleep(Duration::from_millis(after));
            let victims = match victim {
                Victim::Old => vec![old],
                Victim::New => vec![new.unwrap()],
                Victim::Both => relay.processes(),
            };
            for pid in victims.iter().filter(|pid| Relay::lives(**pid)) {
                send(*pid, Signal::KILL);
            }
            until("they are dead", || !victims.iter().any(|pid| Relay::lives(*pid)));
            let place = format!("{victim:?} killed after {after} ms");
            until(&place, || {
                // One process, which holds the store and is a whole daemon: nobody is left of the upgrade. Or nobody at
                // all: a new process that had not been given everything has nothing to go on with.
                let processes = relay.processes();
                match processes.as_slice() {
                    [] => holder(&relay).is_none(),
                    [alone] => holder(&relay) == Some(*alone) && relay.running().contains(alone),
                    _ => false,
                }
            });
            if relay.processes().is_empty() {
                if victim == Victim::New {
                    until("only after it had taken over, as the old process was there", || {
                        relay.logged("has taken over") > taken_over
                    });
                }
                relay.boot(&[]);
                booted += 1;
            } else {
                survived += 1;
            }
            assert_eq!(relay.status(), 200, "{place}");
            assert_eq!(relay.rollout()["phase"], "Progressing", "{place}");
        }
    }
    println!("after {survived} kills somebody served on, after {booted} nobody was left and one was booted");
    assert!(survived > AFTER_MS.len() && booted > 0, "{survived} {booted}");
    let last = holder(&relay).unwrap();
    send(last, Signal::TERM);
    until("it has ended", || relay.processes().is_empty());
    assert_eq!(serin::store::fsck(&relay.dir.join("data"), None).unwrap(), []);
}
