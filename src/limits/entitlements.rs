//! What a tier grants besides requests: of its entitlements, those that are kept to here.

use super::Fault;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

const LIVE_CONNECTIONS: &str = "live_connections";
/// Of streams of events; more could not be told from none.
const MOST: u32 = 1_000_000;

/// What the tier grants besides requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Entitlements {
    /// How many streams of events (`GET /events` and `GET /ws` together) the organisation may have open at a time; as many
    /// as each server takes where none is said.
    #[schema(example = 100, minimum = 0, maximum = 1_000_000)]
    pub live_connections: Option<u32>,
}

impl Entitlements {
    /// Of all that an operator has written, where the rest is theirs alone. What can't be read grants what nothing does:
    /// it is from before it meant anything.
    pub fn of(written: &Map<String, Value>) -> Self {
        let live_connections = written.get(LIVE_CONNECTIONS).and_then(whole);
        Self { live_connections }
    }

    /// All that is wrong with it.
    pub fn faults(written: &Map<String, Value>) -> Vec<Fault> {
        let is_wrong = written.get(LIVE_CONNECTIONS).is_some_and(|value| whole(value).is_none());
        let fault = || Fault {
            pointer: format!("/entitlements/{LIVE_CONNECTIONS}"),
            detail: format!(
                "must be a whole number from 0 to {MOST}, or missing where the tier sets no bound"
            ),
        };
        is_wrong.then(fault).into_iter().collect()
    }
}

fn whole(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|number| u32::try_from(number).ok()).filter(|number| *number <= MOST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_whole_numbers_within_reason_are_numbers_of_connections() {
        let read = |value: Value| {
            let written = Map::from_iter([(LIVE_CONNECTIONS.to_owned(), value)]);
            (Entitlements::of(&written).live_connections, Entitlements::faults(&written).len())
        };
        assert_eq!(read(json!(0)), (Some(0), 0));
        assert_eq!(read(json!(1_000_000)), (Some(1_000_000), 0));
        for wrong in [json!(1_000_001), json!(-1), json!(1.5), json!("5"), json!(null), json!(true)] {
            assert_eq!(read(wrong.clone()), (None, 1), "{wrong}");
        }
        assert_eq!(Entitlements::of(&Map::new()), Entitlements::default());
        assert!(Entitlements::faults(&Map::new()).is_empty());
    }
}
