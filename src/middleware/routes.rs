//! How a room's routes get their doors: there is no way to add one without.

use super::{Door, TICKET, held, public, remembering, tenant};
use crate::{
    authz::{Action, Field, Permission, Resource},
    caller::Sight,
    limits::record,
    openapi::{self, COST, FURTHER},
    state::AppState,
};
use axum::routing::MethodRouter;
use utoipa::openapi::{
    Content, HttpMethod, Paths, Ref, RefOr, Required, ResponseBuilder,
    extensions::Extensions,
    path::{Operation, ParameterIn},
    schema::Schema,
    security::SecurityRequirement,
};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

type Route = UtoipaMethodRouter<AppState>;

/// A route, and what its door is to be like.
struct Hinged {
    /// Whoever may pass.
    permission: Option<Permission>,
    /// Where it is not the usual.
    cost: Option<u32>,
    /// By whose sight it is remembered, if it is.
    remembered: Option<Sight>,
    takes_tickets: bool,
    route: Route,
}

impl Hinged {
    fn new(permission: Option<Permission>, cost: Option<u32>, route: Route) -> Self {
        Self { permission, cost, remembered: None, takes_tickets: false, route }
    }

    fn operations(&mut self) -> impl Iterator<Item = (HttpMethod, &mut Operation)> {
        operations(&mut self.route.1)
    }
}

/// Routes of one resource, for signed-in members of an org and its API keys.
///
/// `allow` attaches the tenant stack to an operation and writes what it asks for into the operation's
/// documentation: the refusals, `x-permission` and `x-cost`.
pub struct TenantRoutes {
    resource: Option<Resource>,
    platform: bool,
    personal: bool,
    has_trials: bool,
    doors: Vec<Hinged>,
}

impl TenantRoutes {
    /// Routes of `resource`, each behind a permission on it.
    pub fn of(resource: Resource) -> Self {
        Self {
            resource: Some(resource),
            platform: false,
            personal: false,
            has_trials: false,
            doors: Vec::new(),
        }
    }

    /// Routes for which it is enough to be a member, about the caller's own matters: open whatever else the org asks of
    /// whoever comes in.
    pub fn of_members() -> Self {
        Self { resource: None, platform: false, personal: true, has_trials: false, doors: Vec::new() }
    }

    /// Routes for which it is enough to be a member who may come in, about the org's matters.
    pub fn of_insiders() -> Self {
        Self { resource: None, platform: false, personal: false, has_trials: false, doors: Vec::new() }
    }

    /// Routes of `resource` for operators alone.
    pub fn of_operators(resource: Resource) -> Self {
        Self {
            resource: Some(resource),
            platform: true,
            personal: false,
            has_trials: false,
            doors: Vec::new(),
        }
    }

    /// Lets in who holds `action` on the resource, for what such an operation usually costs.
    #[must_use]
    pub fn allow(mut self, action: Action, route: Route) -> Self {
        let permission = self.resource.map(|resource| Permission { resource, action });
        self.doors.push(Hinged::new(permission, None, route));
        self
    }

    /// Says what the operation that was allowed last costs, in units of the tier's quotas, where that is not the usual.
    #[must_use]
    pub fn costing(mut self, units: u32) -> Self {
        if let Some(hinged) = self.doors.last_mut() {
            hinged.cost = Some(units);
        }
        self
    }

    /// Lets into the operation that was allowed last by a ticket, too: it is for those who can send no credentials, since
    /// browsers open streams and sockets without. Its handler takes the query parameter, and does nothing with it.
    #[must_use]
    pub fn by_ticket(mut self) -> Self {
        if let Some(hinged) = self.doors.last_mut() {
            hinged.takes_tickets = true;
            for (_, operation) in hinged.operations() {
                operation.parameters.get_or_insert_default().push(openapi::ticket(TICKET).into());
            }
        }
        self
    }

    /// Answers the read that was allowed last from memory where nothing was written since it was asked the same: by
    /// whoever has the same `sight`, which has to say all that a caller's role has to do with the answer.
    #[must_use]
    pub fn remembered(mut self, sight: Sight) -> Self {
        if let Some(hinged) = self.doors.last_mut() {
            hinged.remembered = Some(sight);
            for (_, operation) in hinged.operations() {
                let parameters = operation.parameters.get_or_insert_default();
                let is_known = parameters.iter().any(|known| match known {
                    RefOr::T(known) => known.name == openapi::IF_NONE_MATCH,
                    RefOr::Ref(_) => false,
                });
                if !is_known {
                    parameters.push(openapi::if_none_match().into());
                }
            }
        }
        self
    }

    /// Says of the operation that was allowed last that its handler asks for `action` as well, for some of what it does.
    #[must_use]
    pub fn further(self, action: Action) -> Self {
        match self.resource.map(|resource| Permission { resource, action }) {
            Some(further) => self.further_on(further),
            None => self,
        }
    }

    /// The same of a permission on something else.
    #[must_use]
    pub fn further_on(mut self, further: Permission) -> Self {
        if let Some(hinged) = self.doors.last_mut() {
            hinged.operations().for_each(|(_, operation)| describe_further(operation, further));
        }
        self
    }

    /// Says of the operations so far that answer with a resource that some of its `fields` are hidden from who may not
    /// see them.
    #[must_use]
    pub fn hide<T>(mut self, fields: &[Field<T>]) -> Self {
        for hinged in &mut self.doors {
            for (_, operation) in hinged.operations().filter(|(method, _)| *method != HttpMethod::Delete) {
                for field in fields {
                    describe_further(operation, field.permission);
                }
            }
        }
        self
    }

    /// Says that whatever its operations change is changed by one transaction of `TenantDb`: they can be tried out with
    /// `Prefer: dry-run`, and answered without a body with `Prefer: return=minimal`.
    #[must_use]
    pub fn with_trials(mut self) -> Self {
        self.has_trials = true;
        for hinged in &mut self.doors {
            for (_, operation) in hinged.operations().filter(|(method, _)| *method != HttpMethod::Get) {
                let about = "`dry-run`: everything is checked, and nothing is kept; what would be there is told. \
                             `return=minimal`: what was written is not told.";
                let prefer = openapi::header("Prefer", about, Required::False);
                operation.parameters.get_or_insert_default().push(prefer.into());
                if operation.responses.responses.contains_key("200") {
                    answer(operation, "204", "It is done, and with `Prefer: return=minimal` not told.");
                }
            }
        }
        self
    }

    /// Lets in every member, for free.
    #[must_use]
    pub fn allow_members(mut self, route: Route) -> Self {
        self.doors.push(Hinged::new(None, Some(0), route));
        self
    }

    /// Hangs the doors; without a state, for the documents alone, nothing but their descriptions.
    pub fn mount(self, state: Option<&AppState>) -> OpenApiRouter<AppState> {
        let Self { platform, personal, has_trials, .. } = self;
        self.doors.into_iter().fold(
            OpenApiRouter::new(),
            |router, Hinged { permission, cost, remembered, takes_tickets, route: (schemas, mut paths, route) }| {
                let cost = cost.unwrap_or_else(|| usual_cost(&mut paths));
                let route_id =
                    operations(&mut paths).find_map(|(_, operation)| operation.operation_id.clone());
                let door = Door {
                    route: record::route(route_id.as_deref().unwrap_or_default()),
                    permission,
                    cost,
                    platform,
                    personal,
                    has_trials,
                    takes_tickets,
                };
                operations(&mut paths).for_each(|(_, operation)| describe_door(operation, door));
                let route = state.map_or(MethodRouter::new(), |state| {
                    let route = match remembered {
                        Some(sight) => remembering(state, door, sight, route),
                        None => route,
                    };
                    tenant(state, door, route)
                });
                router.routes((schemas, paths, route))
            },
        )
    }
}

/// Routes that ask nobody who they are, limited by address.
#[derive(Default)]
pub struct PublicRoutes(Vec<(Hang, Route)>);

/// What is hung before a public route.
type Hang = fn(&AppState, MethodRouter<AppState>) -> MethodRouter<AppState>;

impl PublicRoutes {
    #[must_use]
    pub fn open(mut self, route: Route) -> Self {
        self.0.push((public, route));
        self
    }

    /// A route that nobody finds but who was given its address, signed by us: of an address only misses count.
    #[must_use]
    pub fn open_to_holders(mut self, route: Route) -> Self {
        self.0.push((held, route));
        self
    }

    pub fn mount(self, state: Option<&AppState>) -> OpenApiRouter<AppState> {
        self.0.into_iter().fold(OpenApiRouter::new(), |router, (hang, (schemas, mut paths, route))| {
            for (_, operation) in operations(&mut paths) {
                operation.security = Some(Vec::new());
                answer(operation, "429", "Too many requests from this address.");
                answer_common(operation);
            }
            let route = state.map_or(MethodRouter::new(), |state| hang(state, route));
            router.routes((schemas, paths, route))
        })
    }
}

/// Units of the tier's quotas: a get 1, a list 2, a write 3.
fn usual_cost(paths: &mut Paths) -> u32 {
    let cost = operations(paths).map(|(method, operation)| match method {
        HttpMethod::Get if operation.operation_id.as_deref().is_some_and(|id| id.starts_with("list_")) => 2,
        HttpMethod::Get => 1,
        _ => 3,
    });
    cost.max().unwrap_or(1)
}

fn describe_door(operation: &mut Operation, door: Door) {
    operation.security = Some(vec![SecurityRequirement::new("bearer", [] as [&str; 0])]);
    let extensions = Extensions::builder().add(COST, door.cost);
    let extensions = match door.permission {
        Some(permission) => extensions.add("x-permission", permission.to_string()),
        None => extensions,
    };
    operation.extensions.get_or_insert_default().merge(extensions.build());
    answer(operation, "401", "The credentials are missing, wrong, expired or revoked.");
    answer(operation, "403", "The caller's role does not hold the permission; the answer names it.");
    answer(operation, "429", "A limit of the org's tier is used up; the answer names it.");
    answer_common(operation);
}

fn describe_further(operation: &mut Operation, permission: Permission) {
    let extensions = operation.extensions.get_or_insert_default();
    let further = extensions.entry(FURTHER.to_owned()).or_insert_with(|| serde_json::json!([]));
    if let Some(further) = further.as_array_mut() {
        further.push(permission.to_string().into());
    }
}

/// What follows from an operation's parameters and body, so that rooms need not say it.
fn answer_common(operation: &mut Operation) {
    let parameters = operation.parameters.as_deref().unwrap_or_default();
    let has = |place, name: Option<&str>| {
        parameters.iter().any(|parameter| match parameter {
            RefOr::T(parameter) => {
                parameter.parameter_in == place && name.is_none_or(|name| parameter.name == name)
            }
            RefOr::Ref(_) => false,
        })
    };
    let (in_path, in_query) = (has(ParameterIn::Path, None), has(ParameterIn::Query, None));
    let [if_match, if_none_match, idempotent] =
        ["If-Match", "If-None-Match", "Idempotency-Key"].map(|name| has(ParameterIn::Header, Some(name)));
    if operation.request_body.is_some() {
        answer(operation, "400", "The body is no JSON.");
        answer(operation, "413", "The body is too large.");
        answer(operation, "415", "The body is not declared as JSON.");
        answer(operation, "422", "The body is not acceptable; the answer points at each place.");
    }
    if in_query {
        answer(operation, "400", "A query parameter is unknown or unusable.");
    }
    if in_path {
        answer(operation, "404", "There is none, or it is not yours to know.");
    }
    if idempotent {
        answer(operation, "422", "The Idempotency-Key came with another request before.");
    }
    if if_none_match {
        answer(operation, "304", "It is as `If-None-Match` knows it.");
    }
    if if_match {
        answer(operation, "412", "It has changed since the version that If-Match names.");
        answer(operation, "428", "If-Match is missing.");
    }
    answer(operation, "503", "Out of reach or overloaded for a moment; `Retry-After` says for how long.");
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response
            && status.as_str() >= "400"
            && response.content.is_empty()
        {
            response.content.insert("application/problem+json".to_owned(), problem_schema().into());
        }
    }
}

/// Documents an answer, where the room has not said something more exact.
fn answer(operation: &mut Operation, status: &str, description: &str) {
    let response = ResponseBuilder::new().description(description).build();
    operation.responses.responses.entry(status.to_owned()).or_insert(response.into());
}

fn problem_schema() -> Content {
    let schema: RefOr<Schema> = Ref::from_schema_name("Problem").into();
    Content::new(Some(schema))
}

fn operations(paths: &mut Paths) -> impl Iterator<Item = (HttpMethod, &mut Operation)> {
    paths.paths.values_mut().flat_map(|item| {
        [
            (HttpMethod::Get, &mut item.get),
            (HttpMethod::Put, &mut item.put),
            (HttpMethod::Post, &mut item.post),
            (HttpMethod::Patch, &mut item.patch),
            (HttpMethod::Delete, &mut item.delete),
        ]
        .into_iter()
        .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
    })
}
