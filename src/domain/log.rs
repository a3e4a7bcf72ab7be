//! What invocations leave behind: log lines, and their numbers minute by minute.

use std::sync::Arc;

use super::arn::{FunctionName, VersionId};
use super::histogram::{BUCKETS, HistogramSnapshot};
use super::time::Timestamp;

/// Whoever takes log lines; it never waits, and drops what it cannot take.
pub type LogSink = Arc<dyn Fn(LogLine) + Send + Sync>;

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
    use crate::domain::arn::VersionNumber;

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
