//! What invocations leave behind: log lines, and their numbers minute by minute.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::model::arn::{FunctionName, VersionId};
use crate::model::histogram::{BUCKETS, HistogramSnapshot};
use crate::model::time::Timestamp;

/// Whoever takes log lines; it never waits, and drops what it cannot take.
pub type LogSink = Arc<dyn Fn(LogLine) + Send + Sync>;

/// Whoever takes invocations that say nothing themselves; as above.
pub type RunSink = Arc<dyn Fn(Runs) + Send + Sync>;

/// Both ways into a log.
#[derive(Clone)]
pub struct LogSinks {
    /// For lines.
    pub lines: LogSink,
    /// For invocations whose lines are made when they are read.
    pub runs: RunSink,
}

/// Invocations of one version, one after another as they ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runs {
    /// The function.
    pub function: FunctionName,
    /// The version that ran.
    pub version: VersionId,
    /// Where their lines stand, as CloudWatch names it.
    pub stream: Arc<str>,
    /// At least one.
    pub runs: Vec<Run>,
}

/// One invocation of a version that says nothing itself: an HTTP service, whose output nobody sees.
///
/// Its lines follow from these numbers. Lines by the thousand cost more than the requests they tell of, so they are kept
/// like this and written out for whoever reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The request's id.
    pub id: Uuid,
    /// When it ended.
    pub ended_at: Timestamp,
    /// How long it took, in microseconds.
    pub took_us: u64,
}

impl Run {
    /// How many lines one has.
    pub const LINES: usize = 3;

    /// When it began.
    pub fn begun_at(&self) -> Timestamp {
        Timestamp(self.ended_at.0.saturating_sub_unsigned(self.took_us / 1_000))
    }

    /// When its line with this number, from 0, was said.
    pub fn line_at(&self, number: usize) -> Timestamp {
        if number == 0 { self.begun_at() } else { self.ended_at }
    }

    /// Its line with this number, from 0, without the end of it.
    pub fn line(&self, number: usize, version: impl std::fmt::Display) -> String {
        let id = self.id;
        match number {
            0 => format!("START RequestId: {id} Version: {version}"),
            1 => format!("END RequestId: {id}"),
            _ => {
                let (hundredths, billed_ms) = self.durations();
                let (whole, part) = (hundredths / 100, hundredths % 100);
                // What Lambda writes of memory is left out: nobody measured it.
                format!(
                    "REPORT RequestId: {id}\tDuration: {whole}.{part:02} ms\tBilled Duration: {billed_ms} ms\t"
                )
            }
        }
    }

    /// How many bytes its lines have, their ends included.
    pub fn text_bytes(&self, version_len: usize) -> usize {
        // The three lines with an id of 36 characters, without what differs.
        const FIXED_BYTES: usize = "START RequestId:  Version: \nEND RequestId: \n\
             REPORT RequestId: \tDuration: .00 ms\tBilled Duration:  ms\t\n"
            .len()
            + 3 * 36;
        let (hundredths, billed_ms) = self.durations();
        FIXED_BYTES + version_len + digits(hundredths / 100) + digits(billed_ms)
    }

    /// In hundredths of a millisecond, and in whole ones that have begun.
    fn durations(&self) -> (u64, u64) {
        (self.took_us.saturating_add(5) / 10, self.took_us.div_ceil(1_000))
    }
}

fn digits(number: u64) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

/// The line before an invocation.
pub fn start_line(id: Uuid, version: VersionId) -> String {
    let run = Run { id, ended_at: Timestamp(0), took_us: 0 };
    run.line(0, version) + "\n"
}

/// The lines after an invocation.
pub fn end_lines(id: Uuid, took: Duration) -> String {
    let run = Run { id, ended_at: Timestamp(0), took_us: micros(took) };
    run.line(1, "") + "\n" + &run.line(2, "") + "\n"
}

/// A duration in whole microseconds.
pub fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

/// What one invocation, or the process that runs it, said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// The function.
    pub function: FunctionName,
    /// The version that ran.
    pub version: VersionId,
    /// Which run of the version said it, as CloudWatch names it; see `stream_name`.
    pub stream: Arc<str>,
    /// When.
    pub at: Timestamp,
    /// What; several lines are kept as several.
    pub text: String,
}

/// The name of a stream as Lambda writes it: `2026/11/22/[7]` and 32 hexadecimal digits that tell runs apart.
pub fn stream_name(at: Timestamp, version: VersionId, run: u128) -> Arc<str> {
    format!("{}[{version}]{run:032x}", at.calendar().strftime("%Y/%m/%d/")).into()
}

/// The version in a stream's name.
pub fn version_of_stream(stream: &str) -> Option<&str> {
    Some(stream.split_once('[')?.1.split_once(']')?.0)
}

/// A minute of wall time, counted from 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Minute(pub i64);

impl Minute {
    /// The minute that an instant lies in.
    pub fn of(at: Timestamp) -> Minute {
        Minute(at.0.div_euclid(60_000))
    }

    /// When it begins, in seconds since 1970.
    pub fn begins_s(self) -> i64 {
        self.0.saturating_mul(60)
    }
}

/// Whose requests are counted together: those that addressed one qualifier of a function and ran on one version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Series {
    /// The function.
    pub function: String,
    /// The alias, or the version where it was addressed by number.
    pub qualifier: String,
    /// The version that ran.
    pub version: String,
}

/// What a series was counted to have had in a span of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests that a version got.
    pub invocations: u64,
    /// Those that failed.
    pub errors: u64,
    /// Requests that no version got, because too many were under way.
    pub throttles: u64,
    /// How long the answers took.
    pub duration: HistogramSnapshot,
}

impl Tally {
    /// Adds what was counted elsewhere.
    pub fn merge(&mut self, other: &Tally) {
        self.invocations += other.invocations;
        self.errors += other.errors;
        self.throttles += other.throttles;
        self.duration.merge(&other.duration);
    }

    /// What was counted since an earlier reading of the same counters; all of it, where they began anew.
    pub fn since(&self, earlier: &Tally) -> Tally {
        let began_anew =
            self.invocations < earlier.invocations || self.duration.count() < earlier.duration.count();
        if began_anew {
            return self.clone();
        }
        let mut duration = HistogramSnapshot::default();
        for bucket in 0..BUCKETS {
            duration.add(bucket, self.duration.hits(bucket).saturating_sub(earlier.duration.hits(bucket)));
        }
        duration.add_sum_us(self.duration.sum_us().saturating_sub(earlier.duration.sum_us()));
        Tally {
            invocations: self.invocations - earlier.invocations,
            errors: self.errors.saturating_sub(earlier.errors),
            throttles: self.throttles.saturating_sub(earlier.throttles),
            duration,
        }
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        *self == Tally::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::arn::VersionNumber;

    #[test]
    fn streams_are_named_as_lambda_names_them() {
        let at = Timestamp::parse("2026-11-22T23:59:59.999Z").unwrap();
        let name = stream_name(at, VersionNumber(7).into(), 0xab);
        assert_eq!(&*name, "2026/11/22/[7]000000000000000000000000000000ab");
        assert_eq!(version_of_stream(&name), Some("7"));
        assert_eq!(
            &*stream_name(at, VersionId::Latest, 1),
            "2026/11/22/[$LATEST]00000000000000000000000000000001"
        );
        assert_eq!(version_of_stream("2026"), None);
    }

    #[test]
    fn lines_are_worded_as_lambda_words_them() {
        let id = Uuid::nil();
        assert_eq!(
            start_line(id, VersionNumber(7).into()),
            "START RequestId: 00000000-0000-0000-0000-000000000000 Version: 7\n"
        );
        assert_eq!(
            end_lines(id, Duration::from_micros(2_470)),
            "END RequestId: 00000000-0000-0000-0000-000000000000\n\
             REPORT RequestId: 00000000-0000-0000-0000-000000000000\tDuration: 2.47 ms\tBilled Duration: 3 ms\t\n"
        );
        for took_us in [0, 4, 5, 999, 1_000, 1_001, 9_994, 9_995, 9_999, 10_000, 99_996, 899_999_999] {
            let run = Run { id, ended_at: Timestamp(1_700_000_000_000), took_us };
            let bytes: usize = (0..Run::LINES).map(|number| run.line(number, "$LATEST").len() + 1).sum();
            assert_eq!(run.text_bytes("$LATEST".len()), bytes, "{took_us}");
        }
        let run = Run { id, ended_at: Timestamp(5_000), took_us: 1_999_999 };
        assert_eq!((0..3).map(|number| run.line_at(number).0).collect::<Vec<_>>(), [3_001, 5_000, 5_000]);
        assert!(run.line(2, "7").contains("Duration: 2000.00 ms\tBilled Duration: 2000 ms"));
    }

    #[test]
    fn differences_add_up_to_the_whole() {
        let counted = |latencies_us: &[u64], errors: u64| {
            let mut tally = Tally { invocations: latencies_us.len() as u64, errors, ..Tally::default() };
            latencies_us.iter().for_each(|latency_us| tally.duration.record(*latency_us));
            tally
        };
        let (first, second) = (counted(&[100, 5_000], 1), counted(&[100, 5_000, 5_100, 90], 2));
        let mut sum = first.clone();
        sum.merge(&second.since(&first));
        assert_eq!(sum, second);
        assert!(second.since(&second).is_empty());
        assert_eq!(first.since(&second), first, "counters that began anew count in full");
    }

    #[test]
    fn minutes_begin_when_they_begin() {
        assert_eq!(Minute::of(Timestamp(59_999)), Minute(0));
        assert_eq!(Minute::of(Timestamp(60_000)), Minute(1));
        assert_eq!(Minute::of(Timestamp(-1)), Minute(-1));
        assert_eq!(Minute(2).begins_s(), 120);
    }
}
