//! What fuzzers call: a function a target, from any bytes to nothing, which panics where serin would be wrong.
//!
//! A file has one target, which holds what comes of the bytes to more than that nobody panics: what is taken is written
//! as it was read, what is refused is refused in words, and no two ways to read the same differ. Where a target needs
//! what is private to a part of the house, that part has a door for it, `fuzzed.rs`. None of it is in a daemon: it is
//! there for tests, which go through everything in `fuzz/corpus`, and for the package in `fuzz/`, which `scripts/fuzz`
//! builds and runs.

mod answers;
mod bodies;
mod evidence;
mod filters;
mod journal;
mod lambda_bodies;
mod lambda_calls;
mod last_table;
mod metric_answers;
mod names;
mod plans;
mod principals;
mod proxy_headers;
mod request_heads;
mod rows;
mod schedules;
mod spans;
mod store_files;
mod zips;

/// A target: its name, which is that of its corpus, and what it calls.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("answers", answers::run),
    ("bodies", bodies::run),
    ("evidence", evidence::run),
    ("filters", filters::run),
    ("journal", journal::run),
    ("lambda_bodies", lambda_bodies::run),
    ("lambda_calls", lambda_calls::run),
    ("last_table", last_table::run),
    ("metric_answers", metric_answers::run),
    ("names", names::run),
    ("plans", plans::run),
    ("principals", principals::run),
    ("proxy_headers", proxy_headers::run),
    ("request_heads", request_heads::run),
    ("rows", rows::run),
    ("schedules", schedules::run),
    ("spans", spans::run),
    ("store_files", store_files::run),
    ("zips", zips::run),
];

/// The bytes before the first of this byte, and those behind it.
fn halves(data: &[u8], between: u8) -> (&[u8], &[u8]) {
    match data.iter().position(|byte| *byte == between) {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (data, &[]),
    }
}

/// What is read from JSON is written so that the same is read again, and written the same.
fn is_written_as_it_is_read<T>(json: &[u8]) -> Option<T>
where
    T: serde::de::DeserializeOwned + serde::Serialize,
{
    let read: T = serde_json::from_slice(json).ok()?;
    let written = serde_json::to_string(&read).expect("what was read is written");
    let again: T = serde_json::from_str(&written).unwrap_or_else(|why| panic!("{why}: {written}"));
    assert_eq!(serde_json::to_string(&again).expect("and once more"), written);
    Some(read)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::TARGETS;

    /// All that was found, and what shows the way: the corpora, a directory a target.
    #[test]
    fn every_corpus_is_gone_through() {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        let (mut files, mut bytes) = (0, 0);
        for (name, run) in TARGETS {
            let mut of_target: Vec<PathBuf> = (std::fs::read_dir(root.join(name))
                .unwrap_or_else(|why| panic!("{name}: {why}")))
            .map(|entry| entry.unwrap().path())
            .collect();
            of_target.sort();
            assert!(!of_target.is_empty(), "{name} has no corpus");
            run(b"");
            for path in of_target {
                let data = std::fs::read(&path).unwrap();
                (files, bytes) = (files + 1, bytes + data.len());
                let shown = path.display().to_string();
                std::panic::catch_unwind(|| run(&data)).unwrap_or_else(|_| panic!("by {shown}"));
            }
        }
        let names: Vec<_> =
            std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), TARGETS.len(), "corpora of no target: {names:?}");
        assert!(bytes < 200 << 10, "{files} files of {bytes} bytes are more than a repository should carry");
    }
}
