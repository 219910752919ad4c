//! A receipt for each refusal of a permission or a limit, wherever behind this it was made.

use crate::{authn::Principal, decisions::Refusal, error::Problem, ids::RequestId, state::AppState};
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};

pub async fn receipts(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let extensions = request.extensions();
    let who = (extensions.get::<Principal>().cloned(), extensions.get::<RequestId>().copied());
    let mut response = next.run(request).await;
    if let (Some(principal), Some(id)) = who
        && let Some(problem) = response.extensions_mut().get_mut::<Box<Problem>>()
        && let Some(refusal) = Refusal::of(
            problem,
            principal.org,
            (principal.actor.kind(), principal.actor.uuid()),
            id,
            state.clock.now(),
        )
    {
        state.decisions.keep(refusal);
        problem.extra.insert("explain_url".to_owned(), format!("/api/v1/decisions/{id}").into());
    }
    response
}
