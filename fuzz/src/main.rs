//! One fuzzer for all targets: SERIN_FUZZ_TARGET says which one this process runs.

#![no_main]

use std::sync::LazyLock;

use serin::fuzzing::TARGETS;

static RUN: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let wanted = std::env::var("SERIN_FUZZ_TARGET").unwrap_or_default();
    match TARGETS.iter().find(|(name, _)| *name == wanted) {
        Some((_, run)) => *run,
        None => {
            let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
            panic!("SERIN_FUZZ_TARGET is one of {}", names.join(", "))
        }
    }
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| (*RUN)(data));
