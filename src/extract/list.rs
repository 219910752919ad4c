//! List requests: a resource declares its `Listing` once, and query, cursor and documentation follow from it.

use super::{
    query::pairs,
    shape::{EXPAND, Expansion, FIELDS, Shape, field_names},
};
use crate::{
    authz::Field,
    caller::Caller,
    error::{Error, Result},
    ids, openapi,
    page::{Asked, Kind, Listing, Page},
    prefer::{Prefer, applied},
    state::AppState,
};
use axum::{
    extract::{FromRequestParts, RawPathParams},
    http::{HeaderValue, header, request::Parts},
    response::{IntoResponse, Response},
};
use sqlx::{FromRow, PgConnection, postgres::PgRow};
use std::marker::PhantomData;
use utoipa::{
    IntoParams, ToSchema,
    openapi::{
        ObjectBuilder, Required,
        path::{Parameter, ParameterBuilder, ParameterIn},
        schema::{KnownFormat, SchemaFormat, SchemaType, Type},
    },
};

/// A resource that can be listed, a page at a time.
pub trait Listed: Sized + ToSchema + 'static {
    type Row: for<'row> FromRow<'row, PgRow> + Into<Self>;
    const LISTING: &'static Listing;
    /// Those of its fields that not everybody may see; the rest of the room is told by `TenantRoutes::hide`.
    const FIELDS: &'static [Field<Self>] = &[];
    /// What it names that can be had along with it.
    const EXPANSIONS: &'static [Expansion<Self>] = &[];
}

/// A list request that fits the resource's listing, checked before any connection is taken.
pub struct List<T: 'static> {
    asked: Asked,
    shape: Shape<T>,
    count: bool,
    target: String,
    caller: Caller,
}

impl<T: Listed> List<T> {
    /// The page, of what `tx` and the caller may see: one statement, one more for each expansion, and one for the count,
    /// however many rows there are.
    pub async fn page(&self, tx: &mut PgConnection) -> Result<Page<T>> {
        let mut page = self.asked.fetch::<T::Row, T>(tx).await?;
        self.shape.expand(tx, &self.caller, &mut page.data).await?;
        if self.count {
            page.total_count = Some(self.asked.count(tx).await?);
        }
        self.caller.see(T::FIELDS, &mut page.data);
        Ok(page)
    }

    /// The same list for the caller as a transaction knows them.
    #[must_use]
    pub fn seen_by(self, caller: Caller) -> Self {
        Self { caller, ..self }
    }

    /// The same list of those alone whose `column` is one of `words`: what the caller may see of it.
    #[must_use]
    pub fn only(self, column: &'static str, words: Vec<String>) -> Self {
        Self { asked: self.asked.only(column, words), ..self }
    }

    /// The page, with the links to those next to it that RFC 8288 clients follow.
    pub fn answer(&self, page: Page<T>) -> Response
    where
        T: serde::Serialize,
    {
        let link = |cursor: &Option<String>, rel| {
            cursor.as_ref().map(|cursor| format!("<{}cursor={cursor}>; rel=\"{rel}\"", self.target))
        };
        let links = [link(&page.next_cursor, "next"), link(&page.prev_cursor, "prev")];
        let links = links.into_iter().flatten().collect::<Vec<_>>().join(", ");
        let mut response =
            if self.shape.is_whole() { super::Json(page).into_response() } else { self.cut(page) };
        if let Ok(links) = HeaderValue::try_from(links)
            && !links.is_empty()
        {
            response.headers_mut().insert(header::LINK, links);
        }
        if self.count {
            applied(response.headers_mut(), "count=exact");
        }
        response
    }

    fn cut(&self, page: Page<T>) -> Response
    where
        T: serde::Serialize,
    {
        match serde_json::to_value(page) {
            Err(error) => Error::Internal(error.into()).into_response(),
            Ok(mut page) => {
                for resource in page["data"].as_array_mut().into_iter().flatten() {
                    self.shape.cut(resource);
                }
                super::Json(page).into_response()
            }
        }
    }
}

impl<T: Listed> FromRequestParts<AppState> for List<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let query = pairs(&parts.uri)?;
        if let Some(field) =
            T::FIELDS.iter().find(|field| asks_for(field.name, &query) && !caller.may(field.permission))
        {
            return Err(caller.refusal(field.permission));
        }
        let besides = Shape::<T>::PARAMETERS;
        let is_known = |name: &str| T::LISTING.knows(name) || besides.contains(&name);
        if let Some((stranger, _)) = query.iter().find(|(name, _)| !is_known(name)) {
            return Err(T::LISTING.unknown(stranger, besides));
        }
        let shape = Shape::of(&query, &caller)?;
        let mut asked_for = query.clone();
        asked_for.retain(|(name, _)| ![FIELDS, EXPAND].contains(&name.as_str()));
        for filter in T::LISTING.filters.iter().filter(|filter| filter.is_path()) {
            let path = RawPathParams::from_request_parts(parts, state).await.map_err(|_| Error::NotFound)?;
            let named = path.iter().find(|(name, _)| *name == filter.name).ok_or(Error::NotFound)?;
            asked_for.push((named.0.to_owned(), named.1.to_owned()));
        }
        let asked = Asked::parse(T::LISTING, caller.org().uuid(), &state.cursor_key, &asked_for)?;
        let kept: Vec<_> = query.iter().filter(|(name, _)| name != "cursor").collect();
        let kept = serde_urlencoded::to_string(&kept).unwrap_or_default();
        let joint = if kept.is_empty() { "" } else { "&" };
        // Nested routers see their own part of the path; clients need the whole.
        let path =
            parts.extensions.get::<axum::extract::OriginalUri>().map_or(parts.uri.path(), |uri| uri.path());
        let count = Prefer::of(&parts.headers).count;
        Ok(Self { asked, shape, count, target: format!("{path}?{kept}{joint}"), caller })
    }
}

/// Whether a list is sorted or filtered by a field: either tells of its value.
fn asks_for(field: &str, query: &[(String, String)]) -> bool {
    query.iter().any(|(name, value)| {
        let filtered = name.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'));
        filtered || name == "sort" && value.trim_start_matches('-') == field
    })
}

/// The query parameters of a list, for its OpenAPI operation.
pub struct ListParams<T>(PhantomData<T>);

impl<T: Listed> IntoParams for ListParams<T> {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let sorts: Vec<String> = T::LISTING
            .sorts
            .iter()
            .flat_map(|sort| [sort.name.to_owned(), format!("-{}", sort.name)])
            .collect();
        let limit = object(Type::Integer).minimum(Some(1)).maximum(Some(100)).default(Some(20.into()));
        let sort = object(Type::String)
            .enum_values(Some(sorts))
            .default(Some(format!("-{}", T::LISTING.sorts[0].name).into()));
        let cursor = object(Type::String).max_length(Some(2000));
        let common = [
            parameter("limit", "How many at most.", limit),
            parameter("sort", "By what, after a `-` from the highest down; ties go by id.", sort),
            parameter("cursor", "`next_cursor` of the page before, with the same sort and filters.", cursor),
        ];
        let filters = T::LISTING.filters.iter().filter(|filter| !filter.is_path());
        let filters = filters.map(|filter| parameter(filter.name, filter.about, schema(filter.kind)));
        let about = "`count=exact`: how many there are on all pages.";
        let count = openapi::header("Prefer", about, Required::False);
        common.into_iter().chain(shape_params::<T>()).chain(filters).chain([count]).collect()
    }
}

/// `fields`, and `expand` where something can be expanded.
pub fn shape_params<T: Listed>() -> Vec<Parameter> {
    let known = field_names::<T>().join(", ");
    let fields = object(Type::String).max_length(Some(1000)).examples(["id"]);
    let about = format!("Only these, separated by commas: {known}.");
    let fields = parameter(FIELDS, &about, fields);
    let names: Vec<&str> = T::EXPANSIONS.iter().map(|expansion| expansion.name).collect();
    if names.is_empty() {
        return vec![fields];
    }
    let one = names.join("|");
    let some = format!("^({one})(,({one}))*$");
    let expand = object(Type::String).max_length(Some(1000)).pattern(Some(some)).examples([names[0]]);
    let about = format!("What it names along with it, separated by commas: {}.", names.join(", "));
    vec![fields, parameter(EXPAND, &about, expand)]
}

fn object(kind: Type) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::new(kind))
}

fn schema(kind: Kind) -> ObjectBuilder {
    match kind {
        Kind::Id(read) | Kind::WithinId(read) => ids::schema_of(|text| read(text).is_some()),
        Kind::Int => object(Type::Integer).format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64))),
        Kind::Bool => object(Type::Boolean),
        Kind::Time => object(Type::String).format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))),
        Kind::Text | Kind::Name(_) | Kind::Within => object(Type::String).max_length(Some(200)),
        Kind::Words => object(Type::String).min_length(Some(1)).max_length(Some(200)),
        Kind::OneOf(words) => object(Type::String).enum_values(Some(words.iter().copied())),
    }
}

fn parameter(name: &str, about: &str, schema: ObjectBuilder) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(about))
        .schema(Some(schema))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_tells_of_a_field_that_it_is_sorted_or_filtered_by() {
        let asks = |name: &str, value: &str| asks_for("cost", &[(name.to_owned(), value.to_owned())]);
        for (name, value) in [("sort", "cost"), ("sort", "-cost"), ("cost", "3"), ("cost_gte", "3")] {
            assert!(asks(name, value), "{name}={value}");
        }
        for (name, value) in [("sort", "price"), ("costume", "red"), ("price_gte", "3"), ("q", "cost")] {
            assert!(!asks(name, value), "{name}={value}");
        }
    }
}
