//! Who asks, as it was made out.

use crate::access::Who;
use serin_core::model::actor::Actor;

/// Who sent a request, and from which region they think they are.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who.
    pub actor: Actor,
    /// The region in their signature.
    pub region: Option<String>,
    /// Who, where they are known and no owner, so that policies say what they may.
    pub held: Option<Who>,
}
