//! The document that every operation is written into: what the API is, where, and how to come in.

use crate::{error, limits};
use utoipa::{
    OpenApi,
    openapi::{
        Server,
        path::Operation,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Insula",
        description = "A multi-tenant API platform with per-tier rate limits.\n\n\
            Errors are problem+json (RFC 9457) with a stable `code`. Every authenticated answer says in \
            `RateLimit-Policy` and `RateLimit` what is left of the tier's limits; `x-cost` is what an operation \
            takes of them, `x-permission` what a role must hold for it.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(error::Problem, error::Flaw, limits::Policy)),
    tags(
        (name = "auth", description = "Signing up, in and out."),
        (name = "me", description = "Who is signed in."),
        (name = "org", description = "The organisation."),
        (name = "users", description = "Its members."),
        (name = "invitations", description = "How people become members."),
        (name = "roles", description = "Who may do what."),
        (name = "api keys", description = "How programs come in."),
        (name = "audit", description = "Who did what, kept for good."),
        (name = "limits", description = "How much a tier may do."),
        (name = "decisions", description = "Who may do what, and why a request was refused."),
        (name = "categories", description = "How products are sorted."),
        (name = "products", description = "What is sold."),
        (name = "orders", description = "What was bought."),
        (name = "jobs", description = "What is still being done, and what came of it."),
        (name = "operator: orgs", description = "The organisations, for operators."),
        (name = "operator: tiers", description = "The tiers, for operators."),
        (name = "operator: overrides", description = "Exceptions from tiers that end by themselves, for operators."),
        (name = "operator: limits", description = "What holds for whom, for operators."),
        (name = "operator: usage", description = "What organisations ask for, for operators."),
        (name = "operator: simulations", description = "Tiers tried out on recorded decisions, for operators."),
        (name = "operator: keys", description = "What access tokens are signed with, for operators.")
    )
)]
struct Base;

/// The base document, for the server at `public_url`.
pub fn base(public_url: &str) -> utoipa::openapi::OpenApi {
    let mut document = Base::openapi();
    document.servers = Some(vec![Server::new(public_url)]);
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT or API key")
        .description(Some("An access token of `POST /api/v1/auth/login` (JWT, RFC 8725), or an API key."));
    document
        .components
        .get_or_insert_default()
        .add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
    document
}

/// Each with its method and path.
pub fn operations(
    document: &utoipa::openapi::OpenApi,
) -> impl Iterator<Item = (&'static str, &str, &Operation)> {
    document.paths.paths.iter().flat_map(|(path, item)| {
        let methods = [
            ("GET", &item.get),
            ("POST", &item.post),
            ("PUT", &item.put),
            ("PATCH", &item.patch),
            ("DELETE", &item.delete),
        ];
        methods
            .into_iter()
            .filter_map(|(method, operation)| Some((method, path.as_str(), operation.as_ref()?)))
    })
}
