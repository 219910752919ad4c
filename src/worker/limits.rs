//! Keeps in touch with the other replicas, with whom limits are shared.

use crate::state::AppState;
use tokio_util::sync::CancellationToken;

pub async fn keep_limits(state: AppState, until: CancellationToken) {
    state.limits.keep(until).await;
}
