//! Schemas that nothing refers to: those of a list's resource, say, which stand within its page.

use serde_json::Value;
use std::collections::BTreeSet;

/// Drops them, and what only they referred to.
pub fn drop(document: &mut Value) {
    loop {
        let mut used = BTreeSet::new();
        references(document, &mut used);
        let Some(schemas) = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut) else {
            return;
        };
        let before = schemas.len();
        schemas.retain(|name, _| used.contains(name));
        if schemas.len() == before {
            return;
        }
    }
}

fn references(value: &Value, used: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            let named = fields.get("$ref").and_then(Value::as_str);
            used.extend(
                named.and_then(|place| place.strip_prefix("#/components/schemas/")).map(str::to_owned),
            );
            fields.values().for_each(|value| references(value, used));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, used)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_referred_to_stays_and_nothing_else() {
        let to = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
        let mut document = json!({
            "paths": {"/a": to("Used")},
            "components": {"schemas": {
                "Used": {"items": to("Inner")}, "Inner": {}, "Lone": {"items": to("OfLone")}, "OfLone": {},
            }},
        });
        drop(&mut document);
        assert_eq!(document["components"]["schemas"], json!({"Used": {"items": to("Inner")}, "Inner": {}}));
    }
}
