//! Notes that clients keep on a resource: up to 50 short texts by name.

use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ObjectBuilder, RefOr, Schema,
        schema::{SchemaType, Type},
    },
};

const MOST: usize = 50;
const LONGEST_NAME: usize = 40;
const LONGEST_TEXT: usize = 500;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata(BTreeMap<String, String>);

impl Metadata {
    /// As RFC 7396: names given are set, names given as null are taken away.
    ///
    /// # Errors
    /// When more are left than there may be: a patch within the limits can outgrow them together with what was there.
    pub fn patched(mut self, patch: &MetadataPatch) -> Result<Self, garde::Error> {
        for (name, text) in &patch.0 {
            match text {
                Some(text) => self.0.insert(name.clone(), text.clone()),
                None => self.0.remove(name),
            };
        }
        if self.0.len() > MOST { Err(too_many()) } else { Ok(self) }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
pub struct MetadataPatch(BTreeMap<String, Option<String>>);

impl PartialSchema for Metadata {
    fn schema() -> RefOr<Schema> {
        notes(SchemaType::new(Type::String), json!({"colour": "red"}))
    }
}

impl ToSchema for Metadata {}

impl PartialSchema for MetadataPatch {
    fn schema() -> RefOr<Schema> {
        notes(SchemaType::from_iter([Type::String, Type::Null]), json!({"colour": null}))
    }
}

impl ToSchema for MetadataPatch {}

fn notes(text: SchemaType, example: Value) -> RefOr<Schema> {
    let name =
        ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(LONGEST_NAME));
    let text = ObjectBuilder::new().schema_type(text).max_length(Some(LONGEST_TEXT));
    let notes = ObjectBuilder::new().property_names(Some(name)).additional_properties(Some(text));
    notes.max_properties(Some(MOST)).examples([example]).into()
}

impl Validate for Metadata {
    type Context = ();

    fn validate_into(&self, (): &(), parent: &mut dyn FnMut() -> garde::Path, report: &mut garde::Report) {
        check(self.0.iter().map(|(name, text)| (name, text.as_str())), self.0.len(), parent, report);
    }
}

impl Validate for MetadataPatch {
    type Context = ();

    fn validate_into(&self, (): &(), parent: &mut dyn FnMut() -> garde::Path, report: &mut garde::Report) {
        let texts = self.0.iter().map(|(name, text)| (name, text.as_deref().unwrap_or_default()));
        check(texts, self.0.len(), parent, report);
    }
}

fn check<'a>(
    entries: impl Iterator<Item = (&'a String, &'a str)>,
    count: usize,
    parent: &mut dyn FnMut() -> garde::Path,
    report: &mut garde::Report,
) {
    if count > MOST {
        report.append(parent(), too_many());
    }
    for (name, text) in entries {
        if name.is_empty() || name.chars().count() > LONGEST_NAME {
            report.append(
                parent(),
                garde::Error::new(format!("a name is 1 to {LONGEST_NAME} characters long")),
            );
        }
        if text.chars().count() > LONGEST_TEXT {
            report.append(
                parent(),
                garde::Error::new(format!("a text is at most {LONGEST_TEXT} characters long")),
            );
        }
    }
}

fn too_many() -> garde::Error {
    garde::Error::new(format!("more than {MOST} entries"))
}
