//! The document that every operation is written into: what the API is, where, and how to come in.
//!
//! Rooms say what is theirs alone; `finish` adds what follows from it for every operation: bounds, refusals, headers,
//! examples and code samples.

mod answers;
mod bounds;
mod examples;
mod headers;
mod problems;
mod samples;
mod unused;
mod webhooks;
mod words;

use crate::{error, limits};
use serde_json::Value;
use utoipa::{
    OpenApi,
    openapi::{
        ContactBuilder, ObjectBuilder, Required, Server,
        path::{Operation, Parameter, ParameterBuilder, ParameterIn},
        schema::Type,
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
        (name = "usage", description = "How much was asked for."),
        (name = "decisions", description = "Who may do what, and why a request was refused."),
        (name = "categories", description = "How products are sorted."),
        (name = "products", description = "What is sold."),
        (name = "files", description = "What was uploaded."),
        (name = "search", description = "What fits some words."),
        (name = "orders", description = "What was bought."),
        (name = "jobs", description = "What is still being done, and what came of it."),
        (name = "schedules", description = "Jobs that recur."),
        (name = "imports", description = "Rows taken in by the file."),
        (name = "exports", description = "Rows given out by the file."),
        (name = "events", description = "What happened."),
        (name = "webhooks", description = include_str!("webhooks.md")),
        (name = "operator: orgs", description = "The organisations, for operators."),
        (name = "operator: tiers", description = "The tiers, for operators."),
        (name = "operator: overrides", description = "Exceptions from tiers that end by themselves, for operators."),
        (name = "operator: limits", description = "What holds for whom, for operators."),
        (name = "operator: usage", description = "What organisations ask for, for operators."),
        (name = "operator: simulations", description = "Tiers tried out on recorded decisions, for operators."),
        (name = "operator: jobs", description = "What waits, runs and has failed, of all organisations, for operators."),
        (name = "operator: keys", description = "What access tokens are signed with, for operators.")
    )
)]
struct Base;

/// In the documentation of an operation: permissions that its handler asks for, for some of what it does.
pub const FURTHER: &str = "x-further-permissions";

/// In the documentation of an operation: units of the tier's quotas that it takes.
pub const COST: &str = "x-cost";

/// The base document, for the server at `public_url`.
pub fn base(public_url: &str) -> utoipa::openapi::OpenApi {
    let mut document = Base::openapi();
    document.servers = Some(vec![Server::new(public_url)]);
    document.info.contact =
        Some(ContactBuilder::new().name(Some("Whoever runs this server")).url(Some(public_url)).build());
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

/// The document as it is served.
///
/// # Errors
/// None but bugs: what utoipa has written is always JSON.
pub fn finish(document: &utoipa::openapi::OpenApi) -> serde_json::Result<Value> {
    let mut document = serde_json::to_value(document)?;
    // Nobody needs to be told of it before they may know that it is there (OWASP API9:2023).
    document["servers"][0]["x-internal"] = Value::Bool(false);
    problems::describe(&mut document);
    bounds::tighten(&mut document);
    for (_, path, operation) in each(&mut document) {
        answers::complete(operation);
        words::describe(&path, operation);
    }
    webhooks::announce(&mut document);
    headers::declare(&mut document);
    examples::illustrate(&mut document);
    samples::write(&mut document);
    unused::drop(&mut document);
    Ok(document)
}

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// Each operation of a document in JSON, with its method and path.
fn each(document: &mut Value) -> impl Iterator<Item = (&'static str, String, &mut Value)> {
    entries(document, "/paths").flat_map(|(path, item)| {
        let item = item.as_object_mut().into_iter().flatten();
        item.filter_map(|(method, operation)| {
            let method = METHODS.into_iter().find(|known| known == method)?;
            Some((method, path.clone(), operation))
        })
    })
}

/// What there is under a JSON pointer, each with its name; nothing where there is none.
fn entries<'a>(value: &'a mut Value, pointer: &str) -> impl Iterator<Item = (&'a String, &'a mut Value)> {
    value.pointer_mut(pointer).and_then(Value::as_object_mut).into_iter().flatten()
}

fn parameters(operation: &mut Value) -> impl Iterator<Item = &mut Value> {
    operation.pointer_mut("/parameters").and_then(Value::as_array_mut).into_iter().flatten()
}

/// What a `$ref` stands for, through as many as there are.
fn resolve<'a>(document: &'a Value, mut value: &'a Value) -> &'a Value {
    while let Some(there) =
        value["$ref"].as_str().and_then(|reference| document.pointer(reference.trim_start_matches('#')))
    {
        value = there;
    }
    value
}

/// A header of a request.
pub fn header(name: &str, about: &str, required: Required) -> Parameter {
    let schema = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(255));
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(required)
        .description(Some(about))
        .schema(Some(schema))
        .build()
}

/// Of an operation that whoever can send no credentials may ask for by a ticket.
pub fn ticket(name: &str) -> Parameter {
    let about = "In place of the `Authorization` header, for browsers, whose streams and sockets send none: a ticket of \
                 `POST /events/ticket`. It is used up, whatever is answered.";
    let schema = ObjectBuilder::new()
        .schema_type(Type::String)
        .max_length(Some(57))
        .pattern(Some("^insula_ticket_[A-Za-z0-9_-]{43}$"));
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(about))
        .schema(Some(schema))
        .example(Some("insula_ticket_mnoi9UbHmfLIiXkGFDWTR2NUSwvt7pgIXMzTgY7uVD0".into()))
        .build()
}

/// Of an operation whose answer the client may have already.
pub fn if_none_match() -> Parameter {
    header(IF_NONE_MATCH, "The ETag that one has: 304 where it is still the one.", Required::False)
}

pub const IF_NONE_MATCH: &str = "If-None-Match";

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
