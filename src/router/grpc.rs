//! What became of a gRPC call: `grpc-status`, in the trailers of an answer or in the headers of one that is nothing else.
//!
//! A call that fails is answered 200 all the same, so the HTTP status of a gRPC answer says little. Which codes are the
//! server's errors is OpenTelemetry's list, which is also what maps to 5xx in Envoy's outlier detection.

use hyper::HeaderMap;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// What a gRPC answer means for its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GrpcOutcome {
    /// The call was answered well.
    Answered,
    /// The version refused it: what was asked for was wrong, or called off, it says (1, 3, 5 to 11, 16).
    ///
    /// A client that calls off is gone before its answer; where CANCELLED reaches one, it is the version's word alone.
    Refused,
    /// The version failed, with this code and its name.
    Failed(u16, &'static str),
}

/// What is known of a gRPC answer so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GrpcCall {
    /// The status is yet to come, behind the body.
    Open,
    /// It has come.
    Ended(GrpcOutcome),
}

impl GrpcCall {
    /// The call that an answer's head belongs to; `None` where it is no gRPC.
    ///
    /// gRPC-Web carries its trailers in the body, where they are not looked for: there HTTP's own status counts.
    pub(super) fn begun(head: &HeaderMap) -> Option<GrpcCall> {
        if !is_grpc(head.get(CONTENT_TYPE)?) {
            return None;
        }
        Some(GrpcCall::of(head).unwrap_or(GrpcCall::Open))
    }

    /// The same with the trailers.
    pub(super) fn ended(self, trailers: &HeaderMap) -> GrpcCall {
        GrpcCall::of(trailers).unwrap_or(self)
    }

    fn of(fields: &HeaderMap) -> Option<GrpcCall> {
        fields.get(GRPC_STATUS).map(|status| GrpcCall::Ended(outcome(status)))
    }
}

fn is_grpc(content_type: &HeaderValue) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    let Some((start, rest)) = content_type.as_bytes().split_at_checked(GRPC.len()) else { return false };
    start.eq_ignore_ascii_case(GRPC) && matches!(rest.first(), None | Some(b'+' | b';' | b' ' | b'\t'))
}

/// What a status means; one that is no number is UNKNOWN, as gRPC's clients read it.
fn outcome(status: &HeaderValue) -> GrpcOutcome {
    let code = status.to_str().ok().and_then(|status| status.trim().parse::<u16>().ok());
    match code.unwrap_or(2) {
        0 => GrpcOutcome::Answered,
        1 | 3 | 5..=11 | 16 => GrpcOutcome::Refused,
        4 => GrpcOutcome::Failed(4, "DEADLINE_EXCEEDED"),
        12 => GrpcOutcome::Failed(12, "UNIMPLEMENTED"),
        13 => GrpcOutcome::Failed(13, "INTERNAL"),
        14 => GrpcOutcome::Failed(14, "UNAVAILABLE"),
        15 => GrpcOutcome::Failed(15, "DATA_LOSS"),
        other => GrpcOutcome::Failed(other, "UNKNOWN"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn status(code: &str) -> GrpcOutcome {
        outcome(&code.parse().unwrap())
    }

    #[test]
    fn codes_are_failures_answers_or_refusals() {
        for code in [2, 4, 12, 13, 14, 15, 17, 999] {
            assert!(
                matches!(status(&code.to_string()), GrpcOutcome::Failed(known, _) if known == code),
                "{code}"
            );
        }
        for code in [1, 3, 5, 6, 7, 8, 9, 10, 11, 16] {
            assert_eq!(status(&code.to_string()), GrpcOutcome::Refused, "{code}");
        }
        assert_eq!(status("0"), GrpcOutcome::Answered);
        for odd in ["", "OK", "-1", "1e1", "70000"] {
            assert_eq!(status(odd), GrpcOutcome::Failed(2, "UNKNOWN"), "{odd:?}");
        }
    }

    #[test]
    fn a_status_is_in_the_trailers_or_in_a_head_alone() {
        let begun = |content_type: &str| GrpcCall::begun(&fields(&[("content-type", content_type)]));
        for grpc in ["application/grpc", "Application/GRPC+proto", "application/grpc; charset=utf-8"] {
            assert_eq!(begun(grpc), Some(GrpcCall::Open), "{grpc}");
        }
        for other in
            ["application/grpc-web", "application/grpc-web-text+proto", "application/grpcx", "text/html"]
        {
            assert_eq!(begun(other), None, "{other}");
        }
        assert_eq!(GrpcCall::begun(&fields(&[("grpc-status", "13")])), None, "of no gRPC");
        let alone = fields(&[("content-type", "application/grpc"), ("grpc-status", "14")]);
        let failed = GrpcCall::Ended(GrpcOutcome::Failed(14, "UNAVAILABLE"));
        assert_eq!(GrpcCall::begun(&alone), Some(failed));
        assert_eq!(GrpcCall::Open.ended(&fields(&[("grpc-status", "14")])), failed);
        assert_eq!(GrpcCall::Open.ended(&fields(&[("x-sum", "1")])), GrpcCall::Open);
    }
}
