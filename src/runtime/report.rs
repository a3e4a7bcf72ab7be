//! The words Lambda has for an invocation: its log lines, and the errors that are not the handler's.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use uuid::Uuid;

use super::ANSWER_BYTES_MAX;
use serin_core::lambda::process::Runtime;
use serin_core::model::arn::Place;
use serin_core::model::time::Timestamp;

/// The line of a process that begins.
pub(super) fn init_start_line(runtime: Runtime, place: &Place) -> String {
    let (version, arn) = (runtime.version(), runtime.version_arn(place));
    format!("INIT_START Runtime Version: {version}\tRuntime Version ARN: {arn}\n")
}

/// The numbers of an invocation, and how it ended.
pub(super) struct Report<'a> {
    pub(super) id: Uuid,
    pub(super) duration: Duration,
    pub(super) init: Option<Duration>,
    pub(super) memory_mb: u64,
    pub(super) memory_mb_max: u32,
    /// `timeout`, or `error` and its type.
    pub(super) status: Option<(&'static str, Option<&'a str>)>,
}

impl Report<'_> {
    /// The lines after an invocation.
    pub(super) fn lines(&self) -> String {
        let ms = |span: Duration| span.as_secs_f64() * 1e3;
        let billed_ms = (ms(self.duration) + self.init.map_or(0.0, ms)).ceil();
        let mut lines = format!(
            "END RequestId: {id}\nREPORT RequestId: {id}\tDuration: {duration:.2} ms\tBilled Duration: {billed_ms:.0} ms\t\
             Memory Size: {size} MB\tMax Memory Used: {used} MB\t",
            id = self.id,
            duration = ms(self.duration),
            size = self.memory_mb_max,
            used = self.memory_mb,
        );
        if let Some(init) = self.init {
            lines += &format!("Init Duration: {:.2} ms\t", ms(init));
        }
        if let Some((status, kind)) = self.status {
            lines += &format!("Status: {status}\t");
            if let Some(kind) = kind {
                lines += &format!("Error Type: {kind}\t");
            }
        }
        lines.push('\n');
        lines
    }
}

/// What the log says of an invocation that took too long.
pub(super) fn timed_out_line(at: Timestamp, id: Uuid, limit_s: u32) -> String {
    format!(
        "{} {id} Task timed out after {limit_s}.00 seconds\n",
        at.calendar().strftime("%Y-%m-%dT%H:%M:%S.%3fZ")
    )
}

/// The error of an invocation that took too long.
pub(super) fn timed_out(id: Uuid, limit_s: u32) -> Bytes {
    error("Sandbox.Timedout", &format!("RequestId: {id} Error: Task timed out after {limit_s}.00 seconds"))
}

/// The error of an answer that is too large.
pub(super) fn too_large() -> Bytes {
    let text =
        format!("Response payload size exceeded maximum allowed payload size ({ANSWER_BYTES_MAX} bytes).");
    error("Function.ResponseSizeTooLarge", &text)
}

/// The error of a process that ended or never began.
pub(super) fn failed(id: Uuid, kind: &str, words: &str) -> Bytes {
    error(kind, &format!("RequestId: {id} Error: {words}"))
}

fn error(kind: &str, message: &str) -> Bytes {
    Bytes::from(json!({ "errorType": kind, "errorMessage": message }).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_worded_as_lambda_words_them() {
        let id = Uuid::nil();
        let report = |init, status| {
            let (duration, memory_mb) = (Duration::from_micros(1_230), 20);
            Report { id, duration, init, memory_mb, memory_mb_max: 128, status }.lines()
        };
        let same = "END RequestId: 00000000-0000-0000-0000-000000000000\n\
                    REPORT RequestId: 00000000-0000-0000-0000-000000000000\tDuration: 1.23 ms\t";
        let warm = report(None, None);
        let rest = "Billed Duration: 2 ms\tMemory Size: 128 MB\tMax Memory Used: 20 MB\t\n";
        assert_eq!(warm, format!("{same}{rest}"));
        let cold = report(Some(Duration::from_micros(113_510)), Some(("error", Some("Runtime.ExitError"))));
        let rest = "Billed Duration: 115 ms\tMemory Size: 128 MB\tMax Memory Used: 20 MB\tInit Duration: 113.51 ms\t\
                    Status: error\tError Type: Runtime.ExitError\t\n";
        assert_eq!(cold, format!("{same}{rest}"));
        let at = Timestamp::parse("2026-11-22T23:59:59.999Z").unwrap();
        assert_eq!(
            timed_out_line(at, id, 3),
            "2026-11-22T23:59:59.999Z 00000000-0000-0000-0000-000000000000 Task timed out after 3.00 seconds\n"
        );
    }
}
