//! Which fields of a resource a client asks for, and what it wants along with it.

use super::{Listed, list::shape_params, query::pairs};
use crate::{
    authz::Permission,
    caller::{Caller, Sight},
    error::{Error, Result},
    ids::OrgId,
    state::AppState,
};
use axum::{extract::FromRequestParts, http::request::Parts};
use futures::future::BoxFuture;
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;
use utoipa::{
    IntoParams, PartialSchema,
    openapi::{
        RefOr, Schema,
        path::{Parameter, ParameterIn},
    },
};

/// Another resource that a `T` names, and that can be had along with it: declared once, next to the resource.
pub struct Expansion<T> {
    /// In `expand`, and the field that it fills.
    pub name: &'static str,
    /// What it takes to see the other one.
    pub permission: Permission,
    /// Fills the field of however many by one statement.
    pub fetch: for<'a> fn(&'a mut PgConnection, OrgId, &'a mut [T]) -> BoxFuture<'a, Result<()>>,
}

/// `fields` and `expand` of a request, checked against what there is: of a read, and of a write that answers with what
/// it wrote.
pub struct Shape<T: 'static> {
    fields: Option<Vec<String>>,
    pub expand: Vec<&'static Expansion<T>>,
}

/// A resource as it is answered.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Shown<R> {
    Whole(R),
    Cut(Value),
}

/// What a client asks to be done, and how to be answered; what it asks to be done alone, where it does not say how.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Shaped<'a, R> {
    Plain(&'a R),
    With(&'a R, Option<&'a [String]>, Vec<&'static str>),
}

/// Those parameters.
pub const FIELDS: &str = "fields";
pub const EXPAND: &str = "expand";

impl<T: Listed> Shape<T> {
    pub const PARAMETERS: &'static [&'static str] =
        if T::EXPANSIONS.is_empty() { &[FIELDS] } else { &[FIELDS, EXPAND] };

    /// What a caller's role has to do with what is answered: fields that are hidden, and what may be had along.
    pub const SIGHT: Sight = Sight {
        of: |caller| {
            let fields = T::FIELDS.iter().map(|field| field.permission);
            let others = T::EXPANSIONS.iter().map(|expansion| expansion.permission);
            let may = fields.chain(others).map(|permission| u64::from(caller.may(permission)));
            may.fold(0, |bits, bit| bits << 1 | bit)
        },
        used: |caller| caller.see(T::FIELDS, []),
    };

    /// Reads them out of a query; what else is in it is left to others.
    ///
    /// # Errors
    /// 400 for what is not known, naming what is; 403 for what the caller may not see.
    pub fn of(query: &[(String, String)], caller: &Caller) -> Result<Self> {
        if let Some(name) = [FIELDS, EXPAND].iter().find(|name| given(query, name) > 1) {
            return Err(Error::malformed("bad_parameter", format!("{name} is given twice")));
        }
        let mut fields = match words(query, FIELDS) {
            None => None,
            Some(wanted) => Some(wanted.map(known_field::<T>).collect::<Result<Vec<_>>>()?),
        };
        let wanted = words(query, EXPAND).into_iter().flatten();
        let mut expand = wanted.map(known_expansion::<T>).collect::<Result<Vec<_>>>()?;
        // Neither their order nor saying one twice makes another answer.
        if let Some(fields) = &mut fields {
            fields.sort_unstable();
            fields.dedup();
        }
        expand.sort_unstable_by_key(|expansion| expansion.name);
        expand.dedup_by_key(|expansion| expansion.name);
        let shape = Self { fields, expand };
        shape.check(caller)?;
        Ok(shape)
    }

    /// Asks again of a caller as a transaction knows them.
    ///
    /// # Errors
    /// 403, naming the permission, for what the caller may not see.
    pub fn check(&self, caller: &Caller) -> Result<()> {
        let hidden = self.expand.iter().find(|expansion| !caller.may(expansion.permission));
        hidden.map_or(Ok(()), |hidden| Err(caller.refusal(hidden.permission)))
    }

    /// Fetches what is wanted along with these, by one statement for each expansion.
    ///
    /// # Errors
    /// 403 where the caller may not see it (any more).
    pub async fn expand(
        &self,
        connection: &mut PgConnection,
        caller: &Caller,
        resources: &mut [T],
    ) -> Result<()> {
        self.check(caller)?;
        for expansion in &self.expand {
            (expansion.fetch)(connection, caller.org(), resources).await?;
        }
        Ok(())
    }

    pub fn is_whole(&self) -> bool {
        self.fields.is_none()
    }

    /// With this shape a request is another than without: who repeats it is answered in the same.
    pub fn of_request<'a, R>(&'a self, request: &'a R) -> Shaped<'a, R> {
        if self.is_whole() && self.expand.is_empty() {
            return Shaped::Plain(request);
        }
        let expand = self.expand.iter().map(|expansion| expansion.name).collect();
        Shaped::With(request, self.fields.as_deref(), expand)
    }

    /// What is told of a resource: the fields that were asked for.
    pub fn show<R: Serialize>(&self, resource: R) -> Result<Shown<R>> {
        if self.is_whole() {
            return Ok(Shown::Whole(resource));
        }
        let mut resource = serde_json::to_value(resource).map_err(|error| Error::Internal(error.into()))?;
        self.cut(&mut resource);
        Ok(Shown::Cut(resource))
    }

    /// Takes the fields out that nobody asked for.
    pub fn cut(&self, resource: &mut Value) {
        let (Some(fields), Some(resource)) = (&self.fields, resource.as_object_mut()) else { return };
        resource.retain(|name, _| {
            fields.contains(name) || self.expand.iter().any(|expansion| expansion.name == name)
        });
    }
}

/// The shape alone is what such a request's query may say.
impl<T: Listed> FromRequestParts<AppState> for Shape<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let query = pairs(&parts.uri)?;
        if let Some((name, _)) = query.iter().find(|(name, _)| !Self::PARAMETERS.contains(&name.as_str())) {
            let detail = format!("{name:?} is no parameter here; there is {}", Self::PARAMETERS.join(", "));
            return Err(Error::malformed("unknown_parameter", detail));
        }
        Self::of(&query, &caller)
    }
}

impl<T: Listed> IntoParams for Shape<T> {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        shape_params::<T>()
    }
}

fn given(query: &[(String, String)], name: &str) -> usize {
    query.iter().filter(|(given, _)| given == name).count()
}

fn words<'a>(query: &'a [(String, String)], name: &str) -> Option<impl Iterator<Item = &'a str>> {
    query.iter().find(|(given, _)| given == name).map(|(_, text)| text.split(','))
}

fn known_field<T: Listed>(wanted: &str) -> Result<String> {
    let known = field_names::<T>();
    if known.iter().any(|name| name == wanted) {
        return Ok(wanted.to_owned());
    }
    Err(unknown(FIELDS, wanted, &known.join(", ")))
}

fn known_expansion<T: Listed>(wanted: &str) -> Result<&'static Expansion<T>> {
    T::EXPANSIONS.iter().find(|expansion| expansion.name == wanted).ok_or_else(|| {
        let known: Vec<&str> = T::EXPANSIONS.iter().map(|expansion| expansion.name).collect();
        unknown(
            EXPAND,
            wanted,
            if known.is_empty() { "nothing".to_owned() } else { known.join(", ") }.as_str(),
        )
    })
}

fn unknown(parameter: &str, wanted: &str, known: &str) -> Error {
    Error::malformed("bad_parameter", format!("{parameter} can't name {wanted:?}; there is {known}"))
}

/// As the resource's schema has them.
pub fn field_names<T: PartialSchema>() -> Vec<String> {
    match T::schema() {
        RefOr::T(Schema::Object(object)) => object.properties.keys().cloned().collect(),
        _ => Vec::new(),
    }
}
