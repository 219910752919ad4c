//! What a webhook is told of: it hears for the organisation, for as long as it is there, so nobody has it told more than
//! they may read themselves.

use crate::{
    caller::Caller,
    error::{Error, Flaw, Result},
    events::{EVENT_TYPES, EventType},
};

/// All types, those too that are yet to come.
const EVERYTHING: &str = "*";

/// The types that are named, in order and each once.
///
/// # Errors
/// 422 for a type that there is not; 403 that names what the caller lacks to read one.
pub fn checked(caller: &Caller, named: &[String]) -> Result<Vec<String>> {
    let flaws: Vec<_> = named.iter().enumerate().filter_map(|(at, name)| flaw(at, name, named)).collect();
    if !flaws.is_empty() {
        return Err(Error::Invalid(flaws));
    }
    let heard =
        EVENT_TYPES.iter().filter(|kind| named.iter().any(|name| name == EVERYTHING || name == kind.name));
    let mut needed = heard.map(EventType::permission);
    if let Some(missing) = needed.find(|needed| !caller.exercise(*needed)) {
        return Err(caller.refusal(missing));
    }
    let mut types = named.to_vec();
    types.sort_unstable();
    types.dedup();
    Ok(types)
}

fn flaw(at: usize, name: &str, named: &[String]) -> Option<Flaw> {
    let (code, detail) = match name {
        EVERYTHING if named.iter().any(|other| other != EVERYTHING) => {
            ("not_alone", "stands for all types: name no others beside it".to_owned())
        }
        EVERYTHING => return None,
        name if EVENT_TYPES.iter().any(|kind| kind.name == name) => return None,
        _ => ("unknown_event_type", "there is no such type: GET /api/v1/event-types has them all".to_owned()),
    };
    Some(Flaw::new(format!("/events/{at}"), code, detail))
}
