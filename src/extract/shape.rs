//! Which fields of a resource a client asks for, and what it wants along with it.

use super::Listed;
use crate::{
    authz::Permission,
    caller::{Caller, Sight},
    error::{Error, Result},
    ids::OrgId,
};
use futures::future::BoxFuture;
use serde_json::Value;
use sqlx::PgConnection;
use utoipa::{
    PartialSchema,
    openapi::{RefOr, Schema},
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

/// `fields` and `expand` of a request, checked against what there is.
pub struct Shape<T: 'static> {
    fields: Option<Vec<String>>,
    pub expand: Vec<&'static Expansion<T>>,
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
        let fields = match words(query, FIELDS) {
            None => None,
            Some(wanted) => Some(wanted.map(known_field::<T>).collect::<Result<Vec<_>>>()?),
        };
        let wanted = words(query, EXPAND).into_iter().flatten();
        let expand = wanted.map(known_expansion::<T>).collect::<Result<Vec<_>>>()?;
        match expand.iter().find(|expansion| !caller.may(expansion.permission)) {
            Some(hidden) => Err(caller.refusal(hidden.permission)),
            None => Ok(Self { fields, expand }),
        }
    }

    /// Fetches what is wanted along with these, by one statement for each expansion.
    pub async fn expand(&self, connection: &mut PgConnection, org: OrgId, resources: &mut [T]) -> Result<()> {
        for expansion in &self.expand {
            (expansion.fetch)(connection, org, resources).await?;
        }
        Ok(())
    }

    pub fn is_whole(&self) -> bool {
        self.fields.is_none()
    }

    /// Takes the fields out that nobody asked for.
    pub fn cut(&self, resource: &mut Value) {
        let (Some(fields), Some(resource)) = (&self.fields, resource.as_object_mut()) else { return };
        resource.retain(|name, _| {
            fields.contains(name) || self.expand.iter().any(|expansion| expansion.name == name)
        });
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
