//! The built-in roles of `policies/roles.csv`, read once.

use super::{Action, Permission, Resource};
use anyhow::anyhow;
use std::sync::OnceLock;

pub const ROLES: &str = include_str!("../../policies/roles.csv");

/// A line of the file: a rule, or what a role inherits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Line {
    Rule { role: String, permission: Permission, denies: bool },
    Inherits { role: String, other: String },
}

impl Line {
    /// Whom it is about.
    pub fn role(&self) -> &str {
        match self {
            Self::Rule { role, .. } | Self::Inherits { role, .. } => role,
        }
    }
}

/// # Errors
/// What the first line that can't be read says.
pub(super) fn built_in() -> anyhow::Result<&'static [Line]> {
    static READ: OnceLock<Result<Vec<Line>, String>> = OnceLock::new();
    let read = READ.get_or_init(|| lines(ROLES).map(|(_, line)| line).collect());
    read.as_deref().map_err(|fault| anyhow!("policies/roles.csv: {fault}"))
}

/// Each line that says something, with its number.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (usize, Result<Line, String>)> {
    let said = text.lines().map(str::trim).enumerate();
    let said = said.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    said.map(|(at, line)| (at + 1, read(line)))
}

fn read(line: &str) -> Result<Line, String> {
    let words: Vec<&str> = line.split(',').map(str::trim).collect();
    match words[..] {
        ["p", role, resource, action, effect] => {
            let unknown = |what, word| format!("{line:?} names the {what} {word:?}, which does not exist");
            let named = |known: &&Resource| known.as_str() == resource;
            let &resource = Resource::ALL.iter().find(named).ok_or_else(|| unknown("resource", resource))?;
            let named = |known: &&Action| known.as_str() == action;
            let &action = Action::ALL.iter().find(named).ok_or_else(|| unknown("action", action))?;
            let denies = match effect {
                "allow" => false,
                "deny" => true,
                effect => return Err(unknown("effect", effect)),
            };
            Ok(Line::Rule { role: role.to_owned(), permission: Permission { resource, action }, denies })
        }
        ["g", role, other] => Ok(Line::Inherits { role: role.to_owned(), other: other.to_owned() }),
        _ => Err(format!("{line:?} is neither p with 4 words nor g with 2")),
    }
}
