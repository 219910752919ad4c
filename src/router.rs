//! The table of contents: every room once, under the stack it stands behind.

use crate::{
    api::{
        api_keys, audit_events, auth, categories, decisions, dev_mail, docs, events, explain, exports, files,
        health, imports, invitations, jobs, limits, me, orders, org, permissions, products, roles, schedules,
        search, tiers, usage, user_permissions, users, webhooks,
    },
    authn::keyring,
    extract::Json,
    middleware, openapi, operator,
    state::AppState,
};
use axum::{Extension, Router, extract::State, http::header, response::IntoResponse, routing::get};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

pub fn router(state: &AppState) -> Router {
    let (api, document) = described(Some(state), &state.config.http.public_url);
    let catalogue = permissions::Catalogue::of(&document);
    let costs = limits::Costs::of(&document);
    let mut router = api
        .layer(Extension(catalogue))
        .layer(Extension(costs))
        .route("/.well-known/jwks.json", get(jwks))
        .merge(health::router())
        .merge(docs::router(document));
    if state.config.dev.mail_page {
        router = router.merge(dev_mail::router());
    }
    middleware::outer(state, router.with_state(state.clone()))
}

/// Everything that is documented, and its document.
fn described(state: Option<&AppState>, public_url: &str) -> (Router<AppState>, OpenApi) {
    let public = [auth::public_routes(), tiers::routes(), files::public_routes()];
    let tenant = [
        auth::routes(),
        me::routes(),
        org::routes(),
        users::routes(),
        invitations::routes(),
        permissions::routes(),
        roles::routes(),
        user_permissions::routes(),
        api_keys::routes(),
        audit_events::routes(),
        limits::routes(),
        usage::routes(),
        explain::routes(),
        decisions::routes(),
        categories::routes(),
        products::routes(),
        products::images::routes(),
        files::routes(),
        search::routes(),
        orders::routes(),
        jobs::routes(),
        schedules::routes(),
        imports::routes(),
        exports::routes(),
        events::routes(),
        webhooks::routes(),
    ];
    let operators = [
        operator::orgs::routes(),
        operator::tiers::routes(),
        operator::overrides::routes(),
        operator::limits::routes(),
        operator::accuracy::routes(),
        operator::usage::routes(),
        operator::simulations::routes(),
        operator::jobs::routes(),
        operator::keys::routes(),
    ];

    let mut api = OpenApiRouter::new();
    for room in public {
        api = api.merge(room.mount(state));
    }
    for room in tenant {
        api = api.merge(room.mount(state));
    }
    let mut operator = OpenApiRouter::new();
    for room in operators {
        operator = operator.merge(room.mount(state));
    }
    OpenApiRouter::with_openapi(openapi::base(public_url))
        .nest("/api/v1", api)
        .nest("/operator/v1", operator)
        .split_for_parts()
}

/// The document alone, for `insula openapi` and whoever generates clients. Sorted, since utoipa keeps
/// extensions in no order: the same release prints the same text.
pub fn document(public_url: &str) -> anyhow::Result<String> {
    let document = openapi::finish(&described(None, public_url).1)?;
    Ok(serde_json::to_string_pretty(&document)?)
}

/// RFC 7517; public, and never limited: whoever verifies our tokens needs it.
async fn jwks(State(state): State<AppState>) -> impl IntoResponse {
    let remembered = format!("public, max-age={}", keyring::MAX_AGE);
    ([(header::CACHE_CONTROL, remembered)], Json(state.keyring.keys().jwks.clone()))
}
