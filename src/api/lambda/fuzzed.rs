//! What fuzzers are let in to of Lambda's API: bodies and calls, as handlers read them.

use axum::http::{Method, Uri};
use axum::response::IntoResponse;

use super::call::Call;
use super::error::LambdaError;
use super::operations::{self, OPERATIONS, Operation};
use super::request::Body;
use super::validate::Violations;
use super::{aliases, configuration, event_invoke, event_sources, permissions};

/// Reads a body as one request or another does; what is refused with its status and its text.
pub(crate) fn body(pick: u8, bytes: &[u8]) -> Result<(), (u16, String)> {
    let mut violations = Violations::default();
    let read = match pick % 5 {
        0 => aliases::fuzzed(bytes, &mut violations),
        1 => permissions::fuzzed(bytes, &mut violations),
        2 => event_invoke::fuzzed(bytes, &mut violations),
        3 => Body::read(bytes).and_then(|body| event_sources::fuzzed(&body, &mut violations)),
        _ => Body::read(bytes).and_then(|body| {
            configuration::refuse_foreign(&body)?;
            configuration::read(&body, &mut violations).map(|_| ())
        }),
    };
    read.and_then(|()| violations.refuse()).map_err(told)
}

/// Function and qualifier that a call names, or why it is refused.
type Called = Result<(String, Option<String>), (u16, String)>;

/// What the API takes a request for, with `name` in its path; `None` where it names no function.
pub(crate) fn called(pick: u8, name: &str, query: &str) -> Option<Called> {
    let operation: &Operation = &OPERATIONS[usize::from(pick) % OPERATIONS.len()];
    let uri: Uri = format!("/x?{query}").parse().ok()?;
    let key = if operation.path.contains("{resource}") { "resource" } else { "function" };
    let method: Method = operation.method.parse().expect("a method");
    assert!(operations::at(&method, operation.path).next().is_some());
    let read = Call::read(&method, operation.path, vec![(key.to_owned(), name.to_owned())], &uri);
    match read {
        Ok(call) => {
            let call = call?;
            assert_eq!(call.operation.method, operation.method);
            assert!(call.operation.takes_qualifier || call.query().get("Qualifier").is_none());
            let function = call.function.as_ref()?;
            Some(Ok((function.name.to_string(), function.qualifier.clone())))
        }
        Err(error) => Some(Err(told(error))),
    }
}

fn told(error: LambdaError) -> (u16, String) {
    let text = format!("{error:?}");
    (error.into_response().status().as_u16(), text)
}
