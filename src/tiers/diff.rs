//! What differs between two versions of a tier, policy by policy and field by field.

use super::Content;
use crate::limits::{Policy, lowered};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// How a version differs from the one before it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct TierDiff {
    #[schema(max_items = 16)]
    pub added: Vec<Policy>,
    #[schema(max_items = 16)]
    pub removed: Vec<Policy>,
    /// Of the same name, each with the fields that changed.
    #[schema(max_items = 16)]
    pub changed: Vec<PolicyDiff>,
    /// Names of the policies that allow less than before, or appear.
    #[schema(max_items = 16)]
    pub lowered: Vec<String>,
    /// What changed besides: `name`, `is_public`, and `entitlements/<name>` for each entitlement.
    pub fields: BTreeMap<String, FieldDiff>,
}

#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct PolicyDiff {
    #[schema(example = "user", max_length = 40)]
    pub name: String,
    pub fields: BTreeMap<String, FieldDiff>,
}

/// Null where there was nothing, or is nothing any more.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct FieldDiff {
    pub from: Value,
    pub to: Value,
}

impl TierDiff {
    /// `old` is none for a tier that is new.
    pub fn between(old: Option<&Content>, new: &Content) -> Self {
        let before = old.map_or(&[][..], |old| &old.policies);
        let of = |all: &[Policy], name: &str| all.iter().find(|policy| policy.name == name).cloned();
        let mut diff = Self {
            lowered: lowered(before, &new.policies).into_iter().map(|policy| policy.name.clone()).collect(),
            ..Self::default()
        };
        for policy in &new.policies {
            match of(before, &policy.name) {
                None => diff.added.push(policy.clone()),
                Some(old) if old == *policy => {}
                Some(old) => diff.changed.push(PolicyDiff {
                    name: policy.name.clone(),
                    fields: changes(&as_map(&old), &as_map(policy), ""),
                }),
            }
        }
        let gone = before.iter().filter(|old| of(&new.policies, &old.name).is_none());
        diff.removed = gone.cloned().collect();
        diff.fields = changes(&besides(old), &besides(Some(new)), "");
        let entitlements = |content: Option<&Content>| content.map(|it| it.entitlements.clone());
        diff.fields.extend(changes(
            &entitlements(old).unwrap_or_default(),
            &entitlements(Some(new)).unwrap_or_default(),
            "entitlements/",
        ));
        diff
    }

    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty() && self.fields.is_empty()
    }
}

fn besides(content: Option<&Content>) -> Map<String, Value> {
    let fields = |content: &Content| {
        let fields = [("name", content.name.clone().into()), ("is_public", content.is_public.into())];
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    };
    content.map(fields).unwrap_or_default()
}

fn as_map(policy: &Policy) -> Map<String, Value> {
    match serde_json::to_value(policy) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

fn changes(old: &Map<String, Value>, new: &Map<String, Value>, under: &str) -> BTreeMap<String, FieldDiff> {
    let value = |of: &Map<String, Value>, name: &str| of.get(name).cloned().unwrap_or_default();
    let names = old.keys().chain(new.keys()).filter(|name| old.get(*name) != new.get(*name));
    names
        .map(|name| (format!("{under}{name}"), FieldDiff { from: value(old, name), to: value(new, name) }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn content(policies: &Value, entitlements: &Value) -> Content {
        Content {
            name: "Free".into(),
            policies: serde_json::from_value(policies.clone()).unwrap(),
            entitlements: entitlements.as_object().unwrap().clone(),
            is_public: true,
        }
    }

    #[test]
    fn a_diff_says_field_by_field_what_came_what_went_and_what_got_lower() {
        let policy = |name: &str, quota: u32| json!({"name": name, "scope": "org", "quota": quota, "window_seconds": 60});
        let old = content(
            &json!([policy("org", 60), policy("gone", 1), policy("same", 5)]),
            &json!({"seats": 3, "sso": true}),
        );
        let new =
            content(&json!([policy("org", 30), policy("same", 5), policy("new", 9)]), &json!({"seats": 5}));
        let diff = serde_json::to_value(TierDiff::between(Some(&old), &new)).unwrap();
        assert_eq!((&diff["added"][0]["name"], &diff["removed"][0]["name"]), (&json!("new"), &json!("gone")));
        assert_eq!(
            diff["changed"],
            json!([{"name": "org", "fields": {"quota": {"from": 60, "to": 30}, "burst": {"from": 60, "to": 30}}}])
        );
        assert_eq!(diff["lowered"], json!(["org", "new"]));
        assert_eq!(
            diff["fields"],
            json!({"entitlements/seats": {"from": 3, "to": 5}, "entitlements/sso": {"from": true, "to": null}})
        );
        assert!(TierDiff::between(Some(&old), &old).is_empty() && !TierDiff::between(None, &old).is_empty());
    }
}
