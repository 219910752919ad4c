//! What an operation's description says of every operation: who may ask, and what it costs; and which thing a path means.

use serde_json::{Value, json};

pub fn describe(path: &str, operation: &mut Value) {
    let asks = asks(operation);
    let described = operation["description"].as_str().filter(|text| !text.trim().is_empty());
    operation["description"] =
        json!(described.map_or_else(|| asks.clone(), |text| format!("{text}\n\n{asks}")));
    for parameter in super::parameters(operation) {
        let name = parameter["name"].as_str().unwrap_or_default().to_owned();
        if parameter["in"] == "path" && parameter.get("description").is_none() {
            let of = path.split('/').take_while(|part| *part != format!("{{{name}}}")).last();
            let of = of.unwrap_or_default().replace('-', " ");
            parameter["description"] = json!(format!("Which of the {of}: its {}.", name.replace('_', " ")));
        }
    }
}

fn asks(operation: &Value) -> String {
    if operation["security"] == json!([]) {
        return "Asks nobody who they are; limited by the caller's address.".to_owned();
    }
    let who = match operation["x-permission"].as_str() {
        Some(permission) => format!("Needs the permission `{permission}`"),
        None => "Every member may".to_owned(),
    };
    let further: Vec<&str> = operation[crate::openapi::FURTHER]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let further = match further.as_slice() {
        [] => String::new(),
        further => format!(", and for some of what it does `{}`", further.join("`, `")),
    };
    let cost = match operation[crate::openapi::COST].as_u64().unwrap_or_default() {
        0 => "costs nothing".to_owned(),
        1 => "costs 1 unit".to_owned(),
        units => format!("costs {units} units"),
    };
    format!("{who}{further}; {cost}.")
}
