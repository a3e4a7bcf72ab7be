//! Events kept, tried again, ended, and found again after a restart.

use bytes::Bytes;
use uuid::Uuid;

use super::*;
use serin_core::lambda::async_event::{Report, ReportKind};

fn event(payload: &str) -> AsyncEvent {
    AsyncEvent {
        id: Uuid::from_u128(7),
        function: "f".parse().unwrap(),
        qualifier: Some("live".to_owned()),
        arn: "arn:aws:lambda:us-east-1:000000000000:function:f:live".to_owned(),
        trace: vec![("traceparent".to_owned(), "00-1".to_owned())],
        hops: 1,
        accepted_at: Timestamp(1000),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
    }
}

fn drain(opened: &mut Opened) -> Vec<Waiting> {
    std::iter::from_fn(|| opened.waiting.try_recv().ok()).collect()
}

#[test]
fn events_stay_until_they_are_done() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = Events::open(dir.path()).unwrap();
    assert!(drain(&mut opened).is_empty());
    let events = opened.events.clone();
    for payload in ["1", "2", "3"] {
        block_on(events.accept(event(payload))).unwrap();
    }
    let arrived = drain(&mut opened);
    assert_eq!(arrived.len(), 3);
    let numbers: Vec<i64> = arrived.iter().map(|waiting| waiting.seq).collect();
    let stored = events.reader.load(&numbers).unwrap();
    assert_eq!(stored[1].event, event("2"));

    // One is done, one failed, one ended with a debt and an event that follows.
    let report = Report {
        kind: ReportKind::OnFailure,
        to: "q".to_owned(),
        body: "{}".to_owned(),
        attributes: Default::default(),
    };
    let owed = Owed { since: Timestamp(5), reports: vec![report] };
    events.conclude(numbers[0], Vec::new(), None, Timestamp(0)).blocking_recv().unwrap();
    events.again(numbers[1], 1, Timestamp(61_000)).blocking_recv().unwrap();
    let follows = events.conclude(numbers[2], vec![event("4")], Some(owed.clone()), Timestamp(9));
    follows.blocking_recv().unwrap();
    let arrived = drain(&mut opened);
    assert_eq!(arrived.iter().map(|waiting| waiting.due_at).collect::<Vec<_>>(), [Timestamp(1000)]);
    events.close();

    let opened = Events::open(dir.path()).unwrap();
    let found = opened.events.reader.waiting_after(0).unwrap();
    let shown: Vec<_> =
        found.iter().map(|waiting| (waiting.failures, waiting.due_at.0, waiting.is_owed)).collect();
    assert_eq!(shown, [(1, 61_000, false), (0, 9, true), (0, 1000, false)]);
    let stored = opened.events.reader.load(&[found[1].seq, 99]).unwrap();
    assert_eq!((stored.len(), &stored[0].owed, stored[0].event.payload.len()), (1, &Some(owed), 0));
    opened.events.close();
}

#[test]
fn a_broken_file_is_set_aside_and_told() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(FILE), "no database, but long enough to be taken for one".repeat(40))
        .unwrap();
    let opened = Events::open(dir.path()).unwrap();
    assert!(opened.problem.unwrap().contains("events.db.broken"));
    block_on(opened.events.accept(event("1"))).unwrap();
    opened.events.close();
    assert!(dir.path().join("events.db.broken").exists());
}

#[test]
fn what_cannot_be_written_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let opened = Events::open(dir.path()).unwrap();
    let events = opened.events.clone();
    opened.events.close();
    let refused = block_on(events.accept(event("1"))).unwrap_err();
    assert!(matches!(refused, StoreError::Closed), "{refused}");

    let opened = Events::open(dir.path()).unwrap();
    opened.events.queued_bytes.store(QUEUE_BYTES_MAX + 1, Ordering::Relaxed);
    let refused = block_on(opened.events.accept(event("1"))).unwrap_err();
    assert!(matches!(refused, StoreError::Busy), "{refused}");
    opened.events.close();
}

#[test]
fn a_full_disk_refuses_events_and_forgets_no_change() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    let connection = super::open(&path).unwrap();
    // As good as a full disk: SQLite says the same.
    let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    connection.pragma_update(None, "max_page_count", pages + 20).unwrap();
    let (arrivals, mut waiting) = channel::unbounded_channel();
    let (jobs, queue) = mpsc::channel();
    let mut desk = write::WriterThread::new(&path, Some(connection), arrivals, Arc::default());
    let accept = |payload: &str| {
        let (answer, answered) = oneshot::channel();
        jobs.send(Job::Accept(Box::new(event(payload)), answer)).unwrap();
        answered
    };
    let large = format!("\"{}\"", "x".repeat(30_000));
    let answers: Vec<_> = [large.as_str(), large.as_str(), large.as_str(), "1"].map(accept).into();
    jobs.send(Job::End).unwrap();
    desk.run(&queue);
    let kept: Vec<_> = answers.into_iter().map(|answer| answer.blocking_recv().unwrap()).collect();
    assert!(matches!(kept.as_slice(), [Ok(()), Ok(()), Err(StoreError::Full), Ok(())]), "{kept:?}");
    let told: Vec<i64> = std::iter::from_fn(|| waiting.try_recv().ok()).map(|event| event.seq).collect();
    assert_eq!(told.len(), 3, "nobody hears of what was not kept");

    // A change that finds no room waits, and is made once there is some.
    let change = |change| {
        let (done, made) = oneshot::channel();
        jobs.send(Job::Change(change, done)).unwrap();
        made
    };
    let report = Report {
        kind: ReportKind::DeadLetter,
        to: "q".to_owned(),
        body: "x".repeat(60_000),
        attributes: Default::default(),
    };
    let owed = Owed { since: Timestamp(5), reports: vec![report] };
    let conclude = |seq, owed| Change::Conclude { seq, follow: Vec::new(), owed, due_at: Timestamp(5) };
    let mut made = change(conclude(told[2], Some(owed)));
    jobs.send(Job::End).unwrap();
    desk.run(&queue);
    assert!(made.try_recv().is_err(), "there is no room");
    let gone = [change(conclude(told[0], None)), change(conclude(told[1], None))];
    jobs.send(Job::End).unwrap();
    desk.run(&queue);
    for mut gone in gone {
        gone.try_recv().expect("what makes room is done");
    }
    jobs.send(Job::End).unwrap();
    desk.run(&queue);
    made.try_recv().expect("now there is room");
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
