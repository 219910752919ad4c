//! The fence: which org this is, and the only doors to its data.
//!
//! Three doors, and no pool in anybody else's reach: [`TenantTx`] for a resolved org, [`PlatformTx`] for
//! operators and workers, and the [`gate`] for the few questions that come before an org is known.

mod directory;
pub mod gate;
mod platform;
mod tx;

pub use directory::{Access, Control, Opening, OrgDirectory, Override, Status};
pub use platform::{PlatformDb, PlatformTx};
pub use tx::{Mode, TenantTx};

use crate::ids::OrgId;

/// The built-in org whose members are operators: made by the migrations.
pub const PLATFORM: OrgId = OrgId::from_uuid(uuid::uuid!("00000000-0000-7000-8000-000000000001"));
