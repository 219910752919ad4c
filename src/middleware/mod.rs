//! The stacks a request walks down, top to bottom, one file per layer.

mod audited;
mod authenticate;
mod catch_panic;
mod client_ip;
mod cors;
mod guard;
mod https;
mod ip_limit;
mod measured;
mod prefer;
mod problem;
mod rate_limit;
mod receipts;
mod remembered;
mod request_id;
mod resolve_org;
mod routes;
mod security_headers;
mod timeout;
mod trace;

pub use authenticate::{TICKET, identify, identify_again};
pub use routes::{PublicRoutes, TenantRoutes};

use crate::{authz::Permission, caller::Sight, error, state::AppState};
use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware::{from_fn, from_fn_with_state},
    routing::MethodRouter,
};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;

/// What every request passes, and every answer on its way out.
pub fn outer(state: &AppState, router: Router) -> Router {
    let http = &state.config.http;
    router.layer(
        ServiceBuilder::new()
            .layer(from_fn(request_id::request_id))
            .layer(from_fn_with_state(state.clone(), client_ip::client_ip))
            .layer(from_fn_with_state(state.clone(), trace::trace))
            .layer(from_fn_with_state(state.clone(), measured::measured))
            .layer(cors::cors(&http.allowed_origins))
            .layer(from_fn_with_state(http.require_https, security_headers::security_headers))
            .layer(from_fn(problem::problem))
            .layer(from_fn_with_state(state.clone(), https::https))
            .layer(CatchPanicLayer::custom(catch_panic::answer))
            .layer(from_fn_with_state(http.timeout(), timeout::timeout))
            .layer(DefaultBodyLimit::max(http.body_limit_bytes)),
    )
}

/// What stands before a tenant's route: who, for which org, within which limits, with which permission; operators are
/// written down besides.
fn tenant(state: &AppState, door: Door, route: MethodRouter<AppState>) -> MethodRouter<AppState> {
    route.route_layer(
        ServiceBuilder::new()
            .layer(from_fn_with_state((state.clone(), door), authenticate::authenticate))
            .layer(from_fn_with_state((state.clone(), door), resolve_org::resolve_org))
            .layer(from_fn_with_state(state.clone(), receipts::receipts))
            .layer(from_fn_with_state((state.clone(), door), rate_limit::rate_limit))
            .layer(from_fn_with_state((state.clone(), door), audited::audited))
            .layer(from_fn_with_state((state.clone(), door), guard::guard))
            .layer(from_fn_with_state(door, prefer::prefer)),
    )
}

/// What stands between the others and a read that need not be done each time.
fn remembering(
    state: &AppState,
    door: Door,
    sight: Sight,
    route: MethodRouter<AppState>,
) -> MethodRouter<AppState> {
    route.route_layer(from_fn_with_state((state.clone(), door, sight), remembered::remembered))
}

/// What stands before a route that asks nobody who they are.
fn public(state: &AppState, route: MethodRouter<AppState>) -> MethodRouter<AppState> {
    route
        .route_layer(from_fn(prefer::refuse_trials))
        .route_layer(from_fn_with_state(state.clone(), ip_limit::ip_limit))
}

/// The same where the address itself is the right to it.
fn held(state: &AppState, route: MethodRouter<AppState>) -> MethodRouter<AppState> {
    route
        .route_layer(from_fn(prefer::refuse_trials))
        .route_layer(from_fn_with_state(state.clone(), ip_limit::limit_guesses))
}

/// What an operation asks of its caller.
#[derive(Clone, Copy)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a question of its own, and any of them may be a yes"
)]
struct Door {
    /// The operation's id.
    route: &'static str,
    /// None: membership is enough.
    permission: Option<Permission>,
    /// Units of the tier's quotas.
    cost: u32,
    /// Only the built-in org `platform` comes in here.
    platform: bool,
    /// About the caller's own matters: what an org asks of whoever comes in does not count here, or nobody could do what
    /// it asks.
    personal: bool,
    /// What it changes is changed by one transaction of `TenantDb` alone, so that it can be tried out.
    has_trials: bool,
    /// Whoever can send no credentials may come in by a ticket that stands for them.
    takes_tickets: bool,
}

/// A header that can't be sent is a bug of ours, and no reason to refuse the request.
fn header_value(text: &str) -> Option<axum::http::HeaderValue> {
    axum::http::HeaderValue::from_str(text)
        .inspect_err(|error| tracing::error!(%error, text, "unsendable header"))
        .ok()
}

/// A layer's refusal as an answer.
type Refusable = error::Result<axum::response::Response>;
