//! Lines and minutes: written, found, counted and pruned.

use super::*;
use serin_core::lambda::log::stream_name;
use serin_core::model::arn::VersionNumber;

const DAY_MS: i64 = 86_400_000;

fn limits() -> Limits {
    Limits { kept: Duration::from_secs(14 * 86_400), bytes_max: 1 << 30 }
}

fn line(function: &str, version: u64, at_ms: i64, text: &str) -> LogLine {
    let version = VersionNumber(version).into();
    let stream = stream_name(Timestamp(at_ms), version, 1);
    LogLine {
        function: function.parse().unwrap(),
        version,
        stream,
        at: Timestamp(at_ms),
        text: text.to_owned(),
    }
}

fn opened() -> (tempfile::TempDir, Logs) {
    let dir = tempfile::tempdir().unwrap();
    let logs = Logs::open(dir.path(), limits()).unwrap();
    (dir, logs)
}

fn texts(logs: &Logs, filter: &LineFilter) -> Vec<String> {
    logs.reader.lines(filter).unwrap().into_iter().map(|line| line.text).collect()
}

#[test]
fn lines_are_found_by_function_version_stream_time_and_words() {
    let (_dir, logs) = opened();
    let sink = logs.sink();
    sink(line("f", 1, 1_000, "START RequestId: a\nboom: it broke"));
    sink(line("f", 2, 3_000, "START RequestId: b"));
    sink(line("f", 1, 2_000, "END RequestId: a"));
    sink(line("g", 1, 1_500, "START RequestId: c"));
    logs.flush();
    let all = LineFilter::of("f", 100);
    assert_eq!(
        texts(&logs, &all),
        ["START RequestId: a", "boom: it broke", "END RequestId: a", "START RequestId: b"]
    );
    let newest = LineFilter { newest: true, limit: 2, ..all.clone() };
    assert_eq!(texts(&logs, &newest), ["END RequestId: a", "START RequestId: b"]);
    let version = LineFilter { versions: vec!["2".to_owned()], ..all.clone() };
    assert_eq!(texts(&logs, &version), ["START RequestId: b"]);
    let words = LineFilter { terms: vec!["it broke".to_owned(), "boom".to_owned()], ..all.clone() };
    assert_eq!(texts(&logs, &words), ["boom: it broke"]);
    let span = LineFilter { from: Timestamp(1_001), until: Timestamp(3_000), ..all.clone() };
    assert_eq!(texts(&logs, &span), ["END RequestId: a"]);
    let prefix = LineFilter { stream_prefix: Some("1970/01/01/[2]".to_owned()), ..all.clone() };
    assert_eq!(texts(&logs, &prefix), ["START RequestId: b"]);
    let none = LineFilter { streams: vec!["'; DROP TABLE lines; --".to_owned()], ..all.clone() };
    assert!(texts(&logs, &none).is_empty());

    let first = logs.reader.lines(&LineFilter { limit: 2, ..all.clone() }).unwrap();
    let after = LineFilter { after: Some(first[1].cursor), ..all.clone() };
    assert_eq!(texts(&logs, &after), ["END RequestId: a", "START RequestId: b"]);
    let before = LineFilter { before: Some(first[1].cursor), newest: true, ..all.clone() };
    assert_eq!(texts(&logs, &before), ["START RequestId: a"]);
    let came_after = LineFilter { after_id: Some(first[1].cursor.id), ..all };
    assert_eq!(
        texts(&logs, &came_after),
        ["START RequestId: b", "END RequestId: a"],
        "in the order they came"
    );

    let streams =
        logs.reader.streams(&StreamFilter { function: "f".into(), limit: 9, ..Default::default() }).unwrap();
    let versions: Vec<_> = streams.iter().map(|stream| (stream.version.as_str(), stream.last_at.0)).collect();
    assert_eq!(versions, [("1", 2_000), ("2", 3_000)]);
    let names: Vec<_> = logs.reader.functions().unwrap().into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, ["f", "g"]);
}

#[test]
fn minutes_add_up() {
    let (_dir, logs) = opened();
    let series = |qualifier: &str, version: &str| Series {
        function: "f".into(),
        qualifier: qualifier.into(),
        version: version.into(),
    };
    let tally = |invocations: u64, errors: u64| {
        let mut tally = Tally { invocations, errors, ..Tally::default() };
        (0..invocations).for_each(|_| tally.duration.record(1_000));
        tally
    };
    logs.add_minute(Minute(7), vec![(series("live", "1"), tally(3, 1)), (series("live", "2"), tally(2, 0))]);
    logs.add_minute(Minute(7), vec![(series("live", "1"), tally(4, 0))]);
    logs.add_minute(Minute(9), vec![(series("1", "1"), tally(1, 1))]);
    logs.flush();
    let sums = |qualifier: Option<&str>, version: Option<&str>| {
        let minutes = logs.reader.minutes("f", qualifier, version, (Minute(0), Minute(10))).unwrap();
        minutes
            .iter()
            .map(|(_, tally)| (tally.invocations, tally.errors, tally.duration.count()))
            .fold((0, 0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1, sum.2 + one.2))
    };
    assert_eq!(sums(None, None), (10, 2, 10));
    assert_eq!(sums(Some("live"), None), (9, 1, 9));
    assert_eq!(sums(Some("live"), Some("1")), (7, 1, 7));
    assert_eq!(sums(Some("1"), None), (1, 1, 1));
    let first = &logs.reader.minutes("f", Some("live"), Some("1"), (Minute(7), Minute(8))).unwrap()[0];
    assert_eq!((first.0, first.1.duration.sum_us()), (Minute(7), 7_000));
    assert_eq!(logs.reader.series(Minute(8)).unwrap(), [series("1", "1")]);
    logs.prune(Timestamp(9 * 60_000 + 15 * DAY_MS));
    logs.flush();
    assert_eq!(
        logs.reader.series(Minute(0)).unwrap(),
        [series("1", "1")],
        "the rest is older than fifteen days"
    );
}

#[test]
fn old_lines_go_and_the_file_keeps_its_bound() {
    let dir = tempfile::tempdir().unwrap();
    let logs = Logs::open(dir.path(), Limits { bytes_max: 8 << 20, ..limits() }).unwrap();
    let sink = logs.sink();
    sink(line("old", 1, 1_000, "from long ago"));
    for number in 0..6_000 {
        sink(line("f", 1, 20 * DAY_MS + number, &format!("{number} {}", "x".repeat(1_000))));
        if number % 1_000 == 0 {
            logs.flush();
        }
    }
    logs.prune(Timestamp(20 * DAY_MS));
    logs.flush();
    assert!(texts(&logs, &LineFilter::of("old", 9)).is_empty());
    assert!(logs.reader.functions().unwrap().iter().all(|(name, ..)| name != "old"));
    let kept = texts(&logs, &LineFilter::of("f", 10_000));
    assert!(
        (500..=1_000).contains(&kept.len()) && kept.last().is_some_and(|line| line.starts_with("5999 ")),
        "{}",
        kept.len()
    );
    assert_eq!(logs.dropped(), 0);
}

#[test]
fn a_function_that_says_much_evicts_its_own_lines_and_nobody_elses() {
    let dir = tempfile::tempdir().unwrap();
    let logs = Logs::open(dir.path(), Limits { bytes_max: 4 << 20, ..limits() }).unwrap();
    let sink = logs.sink();
    for number in 0..20 {
        sink(line("quiet", 1, 20 * DAY_MS + number, &format!("{number} of the quiet one")));
    }
    for number in 0..8_000 {
        sink(line("loud", 1, 20 * DAY_MS + number, &"x".repeat(1_000)));
        if number % 1_000 == 0 {
            logs.flush();
        }
    }
    logs.prune(Timestamp(20 * DAY_MS));
    logs.flush();
    assert_eq!(texts(&logs, &LineFilter::of("quiet", 100)).len(), 20);
    assert!((200..600).contains(&texts(&logs, &LineFilter::of("loud", 10_000)).len()));
    // So many that each within its share is too much for all: those with the most give.
    for function in 0..40 {
        for number in 0..400 {
            sink(line(&format!("f{function}"), 1, 20 * DAY_MS + number, &"x".repeat(1_000)));
        }
        logs.flush();
    }
    logs.prune(Timestamp(20 * DAY_MS));
    logs.flush();
    assert_eq!(texts(&logs, &LineFilter::of("quiet", 100)).len(), 20);
    let kept: usize = (0..40).map(|f| texts(&logs, &LineFilter::of(&format!("f{f}"), 1_000)).len()).sum();
    assert!((1_500..4_200).contains(&kept), "{kept}");
}

#[test]
fn what_cannot_be_taken_is_counted_and_a_broken_file_is_begun_anew() {
    let (jobs, _queue) = mpsc::sync_channel(1);
    let (dir, logs) = opened();
    let full = Logs { jobs, ..logs.clone() };
    let sink = full.sink();
    (0..3).for_each(|at_ms| sink(line("f", 1, at_ms, "x")));
    assert_eq!(full.dropped(), 2);
    drop((sink, full));
    let (jobs, _queue) = mpsc::sync_channel(QUEUE_LINES_MAX);
    let stalled = Logs { jobs, queued_bytes: Arc::default(), dropped: Arc::default(), ..logs.clone() };
    let (sink, long) = (stalled.sink(), "x".repeat(1 << 20));
    (0..18).for_each(|at_ms| sink(line("f", 1, at_ms, &long)));
    assert_eq!(stalled.dropped(), 2, "what waits is bounded by its bytes, too");
    drop((sink, stalled));
    logs.close();
    std::fs::write(
        dir.path().join(FILE),
        "this is no database, and long enough to be read as one".repeat(100),
    )
    .unwrap();
    let logs = Logs::open(dir.path(), limits()).unwrap();
    logs.sink()(line("f", 1, 1, "after"));
    logs.flush();
    assert_eq!(texts(&logs, &LineFilter::of("f", 9)), ["after"]);
    assert!(dir.path().join("logs.db.broken").exists());
}

fn runs(function: &str, version: u64, ends_ms: &[(i64, u64)]) -> Runs {
    let run = |(ended_at, took_us): &(i64, u64)| Run {
        id: uuid::Uuid::from_u128(*ended_at as u128),
        ended_at: Timestamp(*ended_at),
        took_us: *took_us,
    };
    let version = VersionNumber(version).into();
    let stream = stream_name(Timestamp(0), version, 1);
    Runs { function: function.parse().unwrap(), version, stream, runs: ends_ms.iter().map(run).collect() }
}

/// Lines that are kept as numbers are found as if each had been written: whatever is asked for, in pages of any size.
#[test]
fn invocations_that_say_nothing_are_found_line_by_line() {
    let (_dir, kept) = opened();
    let (_other_dir, plain) = opened();
    let sinks = kept.sinks();
    let write_plainly = |runs: &Runs| {
        for run in &runs.runs {
            for number in 0..Run::LINES {
                let (function, stream) = (runs.function.clone(), Arc::clone(&runs.stream));
                let (at, text) = (run.line_at(number), run.line(number, runs.version) + "\n");
                plain.sink()(LogLine { function, version: runs.version, stream, at, text });
            }
        }
    };
    let mut ended_at = 10_000;
    for round in 0..4_u64 {
        // Long ones begin before others have ended; the last round has more than one row.
        let count = if round == 3 { 700 } else { 5 };
        let ends: Vec<(i64, u64)> = (0..count)
            .map(|index| {
                ended_at += 7;
                (ended_at, (index % 5) * 9_500 + round)
            })
            .collect();
        let some = runs("f", 1 + round % 2, &ends);
        write_plainly(&some);
        (sinks.runs)(some);
        if round == 1 {
            for logs in [&kept, &plain] {
                logs.flush();
                logs.sink()(line("f", 1, ended_at + 1, "said by a process"));
            }
        }
        let others = runs("g", 1, &[(ended_at, 1)]);
        write_plainly(&others);
        (sinks.runs)(others);
        kept.flush();
        plain.flush();
    }
    let all = LineFilter::of("f", 10_000);
    let seen = |logs: &Logs, filter: &LineFilter| -> Vec<(Timestamp, String, String)> {
        let lines = logs.reader.lines(filter).unwrap().into_iter();
        lines.map(|line| (line.cursor.at, line.version, line.text)).collect()
    };
    let sorted = |mut lines: Vec<(Timestamp, String, String)>| {
        lines.sort();
        lines
    };
    assert_eq!(seen(&kept, &all).len(), 3 * (3 * 5 + 700) + 1);
    let words = |terms: &[&str]| terms.iter().map(|term| (*term).to_owned()).collect::<Vec<_>>();
    for filter in [
        all.clone(),
        LineFilter { versions: words(&["2"]), ..all.clone() },
        LineFilter { stream_prefix: Some("1970/01/01/[1]".to_owned()), ..all.clone() },
        LineFilter { terms: words(&["REPORT", "38.00 ms"]), ..all.clone() },
        LineFilter { from: Timestamp(10_030), until: Timestamp(10_071), ..all.clone() },
        LineFilter::of("g", 100),
    ] {
        assert_eq!(sorted(seen(&kept, &filter)), sorted(seen(&plain, &filter)), "{filter:?}");
    }
    let (of_kept, of_plain) = (
        kept.reader.streams(&StreamFilter { function: "f".into(), limit: 9, ..Default::default() }).unwrap(),
        plain.reader.streams(&StreamFilter { function: "f".into(), limit: 9, ..Default::default() }).unwrap(),
    );
    assert_eq!(of_kept, of_plain);

    let whole = kept.reader.lines(&all).unwrap();
    assert!(whole.is_sorted_by_key(|line| line.cursor));
    for size in [1, 7, 100] {
        let mut pages: Vec<StoredLine> = Vec::new();
        loop {
            let after = pages.last().map(|line| line.cursor);
            let page = kept.reader.lines(&LineFilter { after, limit: size, ..all.clone() }).unwrap();
            if page.is_empty() || (size == 1 && pages.len() == 50) {
                break;
            }
            pages.extend(page);
        }
        assert_eq!(pages, whole[..pages.len()], "pages of {size}");
        assert!(size == 1 || pages.len() == whole.len());
    }
    let newest = kept.reader.lines(&LineFilter { newest: true, limit: 9, ..all.clone() }).unwrap();
    assert_eq!(newest, whole[whole.len() - 9..]);
    let before = LineFilter { newest: true, limit: 9, before: Some(newest[0].cursor), ..all.clone() };
    assert_eq!(kept.reader.lines(&before).unwrap(), whole[whole.len() - 18..whole.len() - 9]);
    let mut came = whole.clone();
    came.sort_by_key(|line| line.cursor.id);
    let after_id = |id, limit| LineFilter { after_id: Some(id), limit, ..all.clone() };
    assert_eq!(kept.reader.lines(&after_id(0, 10_000)).unwrap(), came);
    assert_eq!(kept.reader.lines(&after_id(came[20].cursor.id, 40)).unwrap(), came[21..61]);
    assert!(came.windows(2).all(|two| two[0].cursor.id < two[1].cursor.id), "no number stands twice");
    assert!(kept.reader.last_id().unwrap() >= came.last().unwrap().cursor.id);
}

#[test]
fn invocations_that_say_nothing_go_when_they_are_old_too_many_or_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let logs = Logs::open(dir.path(), Limits { bytes_max: 4 << 20, ..limits() }).unwrap();
    let sinks = logs.sinks();
    (sinks.runs)(runs("old", 1, &[(1_000, 1)]));
    logs.flush();
    (sinks.runs)(runs("quiet", 1, &[(20 * DAY_MS, 1)]));
    for round in 0..60 {
        let ends: Vec<_> = (0..512).map(|index| (20 * DAY_MS + round * 512 + index, 1_000)).collect();
        (sinks.runs)(runs("loud", 1, &ends));
        logs.flush();
    }
    logs.prune(Timestamp(20 * DAY_MS));
    logs.flush();
    assert!(texts(&logs, &LineFilter::of("old", 9)).is_empty());
    assert_eq!(texts(&logs, &LineFilter::of("quiet", 9)).len(), Run::LINES);
    let loud = texts(&logs, &LineFilter::of("loud", 1_000_000)).len() / Run::LINES;
    assert!((8_000..17_000).contains(&loud), "an eighth of the room is for about 16 000: {loud}");
    let streams = |function: &str| logs.reader.stream(function, &runs(function, 1, &[]).stream).unwrap();
    assert!(streams("old").is_none() && streams("loud").is_some());
    logs.forget("loud");
    (sinks.runs)(runs("loud", 1, &[(20 * DAY_MS, 1)]));
    logs.flush();
    assert_eq!(texts(&logs, &LineFilter::of("loud", 9)).len(), Run::LINES, "those of its successor");
    assert_eq!(logs.dropped(), 0);
    drop(sinks);
    logs.close();
}

/// Nobody asks and nothing else comes: they are written all the same, soon.
#[test]
fn invocations_that_say_nothing_are_written_unasked() {
    let (_dir, logs) = opened();
    (logs.sinks().runs)(runs("f", 1, &[(1_000, 1)]));
    while texts(&logs, &LineFilter::of("f", 9)).len() < Run::LINES {
        std::thread::sleep(Duration::from_millis(10));
    }
}
