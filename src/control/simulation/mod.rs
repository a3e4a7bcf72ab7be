//! Months of a daemon's life in seconds: the real core, control loop, router's table, counters and store under everything
//! that can happen, with every invariant looked at after every turn.
//!
//! One seed is one life. It decides what comes: requests, people, other hands, plans that change, kills at every effect,
//! clocks that jump, disks that fail or stand still, servers that lie, a second daemon. Then nothing goes wrong any more,
//! and everything must end, or say what it waits for. A seed that fails is cut down to what it takes, and can be run again
//! alone: `SERIN_SEED=7 SERIN_DAYS=30 cargo test --lib simulation::one -- --ignored --nocapture`.

mod ending;
mod ground;
mod machine;
mod people;
mod plans;
mod rules;
mod script;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::control::simulation::script::Fault;
use machine::{Machine, Seen};
use script::{Happening, Mood, What, script};

/// One seed in so many has its store on the disk, the others have it in memory.
const ON_DISK: u64 = 20;
/// A failing seed is cut down by so many runs at most.
const CUTS_MAX: usize = 400;

/// Where stores are that are in memory.
fn memory() -> PathBuf {
    let shm = Path::new("/dev/shm");
    if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() }
}

/// Lives through what happens; what was seen until it ended, and why it ended early if it did.
fn live(seed: u64, happenings: &[Happening]) -> (Seen, Result<(), (usize, Fault)>) {
    let root = if seed.is_multiple_of(ON_DISK) { std::env::temp_dir() } else { memory() };
    let dir = tempfile::tempdir_in(root).unwrap();
    let mut machine = match Machine::new(&dir.path().join("data"), seed) {
        Ok(machine) => machine,
        Err(fault) => return (Seen::new(), Err((0, fault))),
    };
    for (number, happening) in happenings.iter().enumerate() {
        if let Err(fault) = machine.live(happening) {
            return (machine.seen, Err((number, fault)));
        }
    }
    let settled = machine.settle().map_err(|fault| (happenings.len(), fault));
    (machine.seen, settled)
}

/// The least part of what happened after which the same rule is still broken.
fn cut_down(seed: u64, happenings: &[Happening], rule: &str) -> Vec<Happening> {
    let mut kept = happenings.to_vec();
    let (mut size, mut runs) = (kept.len() / 2, 0);
    while size > 0 && runs < CUTS_MAX {
        let mut from = 0;
        while from < kept.len() && runs < CUTS_MAX {
            let to = (from + size).min(kept.len());
            let without: Vec<Happening> = [&kept[..from], &kept[to..]].concat();
            runs += 1;
            match live(seed, &without).1 {
                Err((_, fault)) if fault.starts_with(rule) => kept = without,
                _ => from = to,
            }
        }
        size /= 2;
    }
    kept
}

/// Lives through a seed; a failure with what it takes to see it again.
fn run(seed: u64, days: u64) -> Result<Seen, String> {
    let happenings = script(seed, days);
    let (seen, lived) = live(seed, &happenings);
    let Err((number, fault)) = lived else { return Ok(seen) };
    println!("seed {seed}: {fault}");
    let upto = &happenings[..(number + 1).min(happenings.len())];
    let rule: String = fault.chars().take_while(|char| *char != ':').collect();
    let kept = cut_down(seed, upto, &rule);
    let (_, again) = live(seed, &kept);
    let steps: Vec<String> = kept
        .iter()
        .map(|happening| format!("  after {} ms {:?}", happening.after_ms, happening.what))
        .collect();
    Err(format!(
        "seed {seed} of {days} days: {fault}\ncut down to {} of {} happenings ({}):\n{}\nagain: SERIN_SEED={seed} \
         SERIN_DAYS={days} cargo test --lib simulation::one -- --ignored --nocapture",
        kept.len(),
        happenings.len(),
        again.err().map_or_else(|| "which do not fail".to_owned(), |(_, fault)| fault),
        steps.join("\n")
    ))
}

/// Lives through seeds on as many threads as there are processors.
fn run_all(seeds: std::ops::Range<u64>, days: u64) -> Seen {
    let (next, all) = (AtomicU64::new(seeds.start), Mutex::new(Seen::new()));
    let failed: Mutex<Vec<String>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || failed.lock().unwrap().len() >= 3 {
                        return;
                    }
                    match run(seed, days) {
                        Ok(seen) => {
                            let mut all = all.lock().unwrap();
                            for (what, count) in seen {
                                *all.entry(what).or_default() += count;
                            }
                        }
                        Err(why) => failed.lock().unwrap().push(why),
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    all.into_inner().unwrap()
}

/// Says what was seen, and fails where something never was that should have been.
fn tell(seen: &Seen, least_cells: usize) {
    for (what, count) in seen {
        println!("{count:>9}  {what}");
    }
    for what in [
        "killed",
        "killed while it boots",
        "asked again after a kill",
        "asked twice",
        "the disk stalls",
        "the disk is full",
        "the clock jumps",
        "the process is stopped",
        "the process ends well",
        "another daemon takes over",
        "another hand changes an alias",
        "a version is deleted",
        "a plan breaks",
        "a plan is gone",
        "outside is Good",
        "outside is Bad",
        "outside is NotANumber",
        "outside is Silent",
        "outside is Late",
    ] {
        assert!(seen.contains_key(what), "never seen: {what}");
    }
    let cells = seen.keys().filter(|what| what.contains(" × ")).count();
    println!("{cells} cells of phase and verb");
    assert!(cells >= least_cells, "{cells} cells of phase and verb, of {least_cells}");
}

#[test]
fn whatever_happens_within_a_month_every_invariant_holds() {
    tell(&run_all(0..250, 30), 40);
}

/// A seed found it: an answer that could not be stored was asked for again at once, as often as the other side answered.
#[test]
fn while_nothing_can_be_stored_nobody_outside_is_asked_again_and_again() {
    let happenings = [
        (5_658_033, What::Publish { function: 178 }),
        (6_261_630, What::Outside(Mood::Late)),
        (46, What::Start { plan: 3, to: 0, again: true }),
        (5_624_332, What::Disk { is_stalled: false, for_ms: 60_000 }),
        (375, What::Outside(Mood::NotANumber)),
        (120_000, What::Outside(Mood::Good)),
    ];
    let happenings = happenings.map(|(after_ms, what)| Happening { after_ms, what });
    let (seen, lived) = live(71, &happenings);
    assert_eq!(lived, Ok(()));
    assert!(seen.contains_key("plan outside is started"), "{seen:?}");
}

#[test]
#[ignore = "20 000 seeds of a month; scripts/test-long runs it and shows what was seen"]
fn in_twenty_thousand_months_every_invariant_holds() {
    tell(&run_all(0..20_000, 30), 60);
}

#[test]
#[ignore = "one seed, SERIN_SEED, of SERIN_DAYS; for whoever looks into it"]
#[expect(clippy::disallowed_methods, reason = "a test that is run by hand is told by its environment")]
fn one() {
    let number = |name: &str, otherwise: u64| {
        std::env::var(name).ok().map_or(otherwise, |text| text.parse().expect("a number"))
    };
    match run(number("SERIN_SEED", 0), number("SERIN_DAYS", 30)) {
        Ok(seen) => seen.iter().for_each(|(what, count)| println!("{count:>9}  {what}")),
        Err(why) => panic!("{why}"),
    }
}
