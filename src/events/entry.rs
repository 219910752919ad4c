//! One thing that happened, as its room tells it.

use serde::Serialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// What happened to what. Nothing secret belongs into it, and nothing that not every reader of its type may see.
pub struct Entry {
    /// `<noun>.<past tense>`, one of the [`EVENT_TYPES`](super::EVENT_TYPES): `member.removed`.
    pub(super) action: &'static str,
    pub(super) target_type: &'static str,
    pub(super) target: String,
    /// What of it is different since: how that was, and how it is.
    pub(super) before: Option<Value>,
    pub(super) after: Option<Value>,
    /// The whole, where it is told whole.
    pub(super) object: Option<Value>,
}

impl Entry {
    /// `target` is a uuid, or what the thing is called: a tier's slug.
    pub fn new(action: &'static str, target_type: &'static str, target: impl Into<String>) -> Self {
        Self { action, target_type, target: target.into(), before: None, after: None, object: None }
    }

    #[must_use]
    pub fn before(mut self, before: Value) -> Self {
        self.before = Some(before);
        self
    }

    #[must_use]
    pub fn after(mut self, after: Value) -> Self {
        self.after = Some(after);
        self
    }

    /// With the whole to be told, where what was compared is a part of it.
    #[must_use]
    pub fn whole(self, object: &impl Serialize) -> Self {
        Self { object: Some(json!(object)), ..self }
    }

    /// Something is there that was not, as `GET` answers it.
    pub fn made(action: &'static str, target_type: &'static str, id: Uuid, object: &impl Serialize) -> Self {
        Self::new(action, target_type, id.to_string()).after(json!(object))
    }

    /// Something that was is no more.
    pub fn gone(action: &'static str, target_type: &'static str, id: Uuid, object: &impl Serialize) -> Self {
        Self::new(action, target_type, id.to_string()).before(json!(object))
    }

    /// Something is otherwise than it was: the audit keeps what is different, listeners get the whole.
    pub fn changed<T: Serialize>(
        action: &'static str,
        target_type: &'static str,
        id: Uuid,
        before: &T,
        after: &T,
    ) -> Self {
        let (before, after) = (json!(before), json!(after));
        let (was, is) = differences(&before, &after);
        Self {
            object: Some(after),
            ..Self::new(action, target_type, id.to_string()).before(was.into()).after(is.into())
        }
    }
}

/// What changes with every change, and says nothing of it.
const STAMPS: [&str; 2] = ["version", "updated_at"];

fn differences(before: &Value, after: &Value) -> (Map<String, Value>, Map<String, Value>) {
    let (mut was, mut is) = (Map::new(), Map::new());
    let none = Map::new();
    let (before, after) = (before.as_object().unwrap_or(&none), after.as_object().unwrap_or(&none));
    let names = before.keys().chain(after.keys().filter(|name| !before.contains_key(*name)));
    for name in names.filter(|name| !STAMPS.contains(&name.as_str())) {
        let (old, new) = (before.get(name), after.get(name));
        if old != new {
            was.insert(name.clone(), old.cloned().unwrap_or_default());
            is.insert(name.clone(), new.cloned().unwrap_or_default());
        }
    }
    (was, is)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_kept_as_its_difference_and_told_whole() {
        let before = json!({"name": "Cog", "stock": 3, "version": 1, "category_id": null});
        let after = json!({"name": "Cog", "stock": 2, "version": 2, "category_id": "cat_1"});
        let entry = Entry::changed("product.updated", "product", Uuid::nil(), &before, &after);
        assert_eq!(entry.before, Some(json!({"stock": 3, "category_id": null})));
        assert_eq!(entry.after, Some(json!({"stock": 2, "category_id": "cat_1"})));
        assert_eq!(entry.object, Some(after));
    }
}
