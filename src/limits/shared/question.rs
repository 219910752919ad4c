//! Who asks for what, and what comes of it.

use super::{
    super::{
        decision::Marks,
        tier::{Subject, TierPlan, View},
    },
    call::Asked,
};
use crate::ids::OrgId;
use std::sync::Arc;
use tokio::sync::futures::OwnedNotified;

/// An org, or somebody in it.
pub(super) type Whose = (OrgId, Option<Subject>);

/// When something is decided, in steady nanoseconds, and among how many replicas.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub now: u64,
    pub replicas: u32,
}

/// Who asks for what: at least a unit, and no more than any policy that is enforced ever holds.
#[derive(Clone)]
pub(super) struct Call {
    pub org: OrgId,
    pub who: Subject,
    pub plan: Arc<TierPlan>,
    pub cost: u32,
}

impl Call {
    pub fn view(&self) -> &View {
        self.plan.view(self.who)
    }
}

pub(super) enum Verdict {
    /// It is decided; and Redis had better be asked for more before that is needed.
    Decided(Decided, Option<Question>),
    /// Redis has to be asked.
    Ask(Question),
    /// It is being asked.
    Wait(OwnedNotified),
}

/// A mark for each bucket of the view.
#[derive(Debug)]
pub(super) struct Decided {
    pub admitted: bool,
    pub marks: Marks,
}

/// What to ask Redis, for whom. Whoever gets one asks it, and [`hear`](super::leases::Leases::hear)s what came of it.
pub(super) struct Question {
    pub org: OrgId,
    pub who: Option<Subject>,
    pub cells: Vec<Asked>,
    /// In steady nanoseconds.
    pub sent: u64,
    /// Whether the caller has no other meanwhile.
    pub is_flight: bool,
}
