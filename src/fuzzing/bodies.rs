//! Bodies of serin's own API: the first byte picks the request.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::wire::{
    CreateAliasRequest, PromoteRequest, PublishRequest, ResumeRequest, RollbackRequest, StartRequest,
    UpdateAliasRequest, VerbRequest,
};
use serin_core::plan::{Source, load};

/// What is taken is sent by serin's own client so that the same is taken.
pub(super) fn run(data: &[u8]) {
    let Some((pick, body)) = data.split_first() else { return };
    match pick % 8 {
        0 => {
            let Some(start) = same::<StartRequest>(body) else { return };
            if let Some(text) = start.plan_text {
                let _ = load(&Source::new(start.plan, text), None);
            }
        }
        1 => _ = same::<PromoteRequest>(body),
        2 => _ = same::<ResumeRequest>(body),
        3 => _ = same::<VerbRequest>(body),
        4 => _ = same::<RollbackRequest>(body),
        5 => _ = same::<PublishRequest>(body),
        6 => _ = same::<CreateAliasRequest>(body),
        _ => _ = same::<UpdateAliasRequest>(body),
    }
}

fn same<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(body: &[u8]) -> Option<T> {
    let read: T = super::is_written_as_it_is_read(body)?;
    let written = serde_json::to_vec(&read).expect("it was written before");
    let again: T = serde_json::from_slice(&written).expect("and read");
    assert_eq!(again, read);
    Some(read)
}
