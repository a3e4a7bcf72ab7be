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
fn holder(relay: &Relay) -> Option<i32> {
    let note = serin::store::holder_of(&relay.dir.join("data"))?;
    note.split("pid ").nth(1)?.split(',').next()?.parse().ok()
}

#[test]
fn whoever_is_killed_somebody_serves() {
    let dir = tempfile::tempdir().unwrap();
    let mut relay = Relay::start(dir.path(), &[]);
    relay.roll_out(service("1"), service("2"), STANDING);
    let (mut survived, mut replaced) = (0, 0);
    for victim in [Victim::New, Victim::Old, Victim::Both] {
        for after in AFTER_MS {
            let old = holder(&relay).unwrap();
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
            // One that was being started at this very moment finds nobody, and goes on or ends.
            until("what is left holds the store, or nobody is left", || {
                relay.processes().is_empty() || holder(&relay).is_some()
            });
            if relay.processes().is_empty() {
                relay.boot(&[]);
                replaced += 1;
            } else {
                survived += 1;
            }
            let place = format!("{victim:?} killed after {after} ms");
            until(&place, || {
                // One process, which holds the store: nobody is left of the upgrade.
                let processes = relay.processes();
                processes.len() == 1 && holder(&relay) == Some(processes[0])
            });
            assert_eq!(relay.status(), 200, "{place}");
            assert_eq!(relay.rollout()["phase"], "Progressing", "{place}");
        }
    }
    println!("{survived} kills left a daemon that served on, after {replaced} it was booted");
    assert!(survived >= 2 * AFTER_MS.len() - 4, "{survived}");
    let last = holder(&relay).unwrap();
    send(last, Signal::TERM);
    until("it has ended", || relay.processes().is_empty());
    assert_eq!(serin::store::fsck(&relay.dir.join("data"), None).unwrap(), []);
}
