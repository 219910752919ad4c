//! List requests: a resource declares its `Listing` once, and query, cursor and documentation follow from it.

use crate::{
    authz::Field,
    caller::Caller,
    error::{Error, Result},
    ids,
    page::{Asked, Kind, Listing, Page},
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
    IntoParams,
    openapi::{
        ObjectBuilder, Required,
        path::{Parameter, ParameterBuilder, ParameterIn},
        schema::{KnownFormat, SchemaFormat, SchemaType, Type},
    },
};

/// A resource that can be listed, a page at a time.
pub trait Listed: Sized + 'static {
    type Row: for<'row> FromRow<'row, PgRow> + Into<Self>;
    const LISTING: &'static Listing;
    /// Those of its fields that not everybody may see; the rest of the room is told by `TenantRoutes::hide`.
    const FIELDS: &'static [Field<Self>] = &[];
}

/// A list request that fits the resource's listing, checked before any connection is taken.
pub struct List<T> {
    asked: Asked,
    target: String,
    caller: Caller,
    resource: PhantomData<T>,
}

impl<T: Listed> List<T> {
    /// The page, of what `tx` and the caller may see.
    pub async fn page(&self, tx: &mut PgConnection) -> Result<Page<T>> {
        let mut page = self.asked.fetch::<T::Row, T>(tx).await?;
        self.caller.see(T::FIELDS, &mut page.data);
        Ok(page)
    }

    /// The same list for the caller as a transaction knows them.
    #[must_use]
    pub fn seen_by(self, caller: Caller) -> Self {
        Self { caller, ..self }
    }

    /// The page, with the link to the next one that RFC 8288 clients follow.
    pub fn answer(&self, page: Page<T>) -> Response
    where
        T: serde::Serialize,
    {
        let next =
            page.next_cursor.as_ref().map(|cursor| format!("<{}cursor={cursor}>; rel=\"next\"", self.target));
        let mut response = super::Json(page).into_response();
        if let Some(Ok(link)) = next.map(HeaderValue::try_from) {
            response.headers_mut().insert(header::LINK, link);
        }
        response
    }
}

impl<T: Listed> FromRequestParts<AppState> for List<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let query: Vec<(String, String)> = serde_urlencoded::from_str(parts.uri.query().unwrap_or_default())
            .map_err(|_| Error::malformed("malformed_query", "the query string can't be read"))?;
        if let Some(field) =
            T::FIELDS.iter().find(|field| asks_for(field.name, &query) && !caller.may(field.permission))
        {
            return Err(caller.refusal(field.permission));
        }
        let mut asked_for = query.clone();
        for filter in T::LISTING.filters.iter().filter(|filter| filter.is_path()) {
            if query.iter().any(|(name, _)| name == filter.name) {
                return Err(T::LISTING.unknown(filter.name));
            }
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
        Ok(Self { asked, target: format!("{path}?{kept}{joint}"), caller, resource: PhantomData })
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
        common.into_iter().chain(filters).collect()
    }
}

fn object(kind: Type) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::new(kind))
}

fn schema(kind: Kind) -> ObjectBuilder {
    match kind {
        Kind::Id(read) => ids::schema_of(|text| read(text).is_some()),
        Kind::Int => object(Type::Integer).format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64))),
        Kind::Bool => object(Type::Boolean),
        Kind::Time => object(Type::String).format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))),
        Kind::Text | Kind::Name(_) | Kind::Within => object(Type::String).max_length(Some(200)),
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
