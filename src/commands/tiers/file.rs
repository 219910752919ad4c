//! The file that tiers are written to and read from, as TOML or YAML by its name.

use crate::{
    limits::{Mode, Period, Policy, Scope, Unit},
    tiers::{Content, Tier},
};
use anyhow::Context as _;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, fs, path::Path};
use time::OffsetDateTime;

const PREFACE: &str = "\
# Tiers, as they held when this was written: `insula tiers plan` and `insula tiers apply` compare them with what holds now.
# `versions` says which version of each tier was read; it is how a change that somebody else made meanwhile is noticed.
";

/// Every tier, and which version of each was read.
#[derive(Serialize)]
pub struct File {
    pub versions: BTreeMap<String, i64>,
    pub tiers: BTreeMap<String, Written>,
}

#[derive(Serialize)]
pub struct Written {
    name: String,
    /// As it is, where absent; not public where the tier is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    is_public: Option<bool>,
    #[serde(serialize_with = "briefly")]
    policies: Vec<Policy>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    entitlements: Map<String, Value>,
}

enum Format {
    Toml,
    Yaml,
}

impl File {
    pub fn of(tiers: Vec<Tier>) -> Self {
        let versions = tiers.iter().map(|tier| (tier.slug.clone(), tier.version)).collect();
        let written = tiers.into_iter().map(|Tier { slug, content, .. }| {
            let Content { name, policies, entitlements, is_public } = content;
            (slug, Written { name, is_public: Some(is_public), policies, entitlements })
        });
        Self { versions, tiers: written.collect() }
    }
}

impl Written {
    /// What it makes of a tier that is like `current` so far.
    pub fn content(&self, current: Option<&Content>) -> Content {
        let Self { name, is_public, policies, entitlements } = self;
        let is_public = is_public.or(current.map(|it| it.is_public)).unwrap_or_default();
        Content {
            name: name.clone(),
            policies: policies.clone(),
            entitlements: entitlements.clone(),
            is_public,
        }
    }
}

pub fn write(path: &Path, file: &File) -> anyhow::Result<()> {
    let text = match Format::of(path).map_err(anyhow::Error::msg)? {
        Format::Toml => {
            toml::to_string(file).context("TOML can't say what a tier has; YAML can: export to .yaml")?
        }
        Format::Yaml => serde_saphyr::to_string(file)?,
    };
    fs::write(path, format!("{PREFACE}\n{text}")).with_context(|| path.display().to_string())
}

/// # Errors
/// All that is wrong with it, each with its place.
pub fn read(path: &Path) -> Result<File, Vec<String>> {
    let one = |fault: String| vec![fault];
    let format = Format::of(path).map_err(|fault| one(fault.to_owned()))?;
    let text = fs::read_to_string(path).map_err(|error| one(error.to_string()))?;
    parse(&format, &text)
}

fn parse(format: &Format, text: &str) -> Result<File, Vec<String>> {
    let value: Value = match format {
        Format::Toml => toml::from_str(text).map_err(|error| vec![error.to_string()])?,
        Format::Yaml => serde_saphyr::from_str(text).map_err(|error| vec![error.to_string()])?,
    };
    let mut faults = Vec::new();
    unsayable(&value, "", &mut faults);
    let Some(Outer { versions, tiers }) = shaped(value, "", &mut faults) else { return Err(faults) };
    let tiers: BTreeMap<_, _> = tiers
        .into_iter()
        .filter_map(|(slug, tier)| Some((slug.clone(), read_tier(&slug, tier, &mut faults)?)))
        .collect();
    if faults.is_empty() { Ok(File { versions, tiers }) } else { Err(faults) }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Outer {
    #[serde(default)]
    versions: BTreeMap<String, i64>,
    tiers: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OuterTier {
    name: String,
    is_public: Option<bool>,
    policies: Vec<Value>,
    #[serde(default)]
    entitlements: Map<String, Value>,
}

fn read_tier(slug: &str, value: Value, faults: &mut Vec<String>) -> Option<Written> {
    let place = format!("/tiers/{slug}");
    let OuterTier { name, is_public, policies, entitlements } = shaped(value, &place, faults)?;
    let count = policies.len();
    let policies: Vec<Policy> = (0..)
        .zip(policies)
        .filter_map(|(at, policy): (usize, _)| shaped(policy, &format!("{place}/policies/{at}"), faults))
        .collect();
    // Places are counted among all of them.
    if policies.len() == count {
        let tier = Written { name, is_public, policies, entitlements };
        let wrong = tier.content(None).faults(slug, OffsetDateTime::UNIX_EPOCH).into_iter();
        faults.extend(wrong.map(|fault| format!("{place}{}: {}", fault.pointer, fault.detail)));
        return Some(tier);
    }
    None
}

fn shaped<T: DeserializeOwned>(value: Value, place: &str, faults: &mut Vec<String>) -> Option<T> {
    // Serde reads a list as a struct too, field by field in their order, which nobody was promised.
    if !value.is_object() {
        faults.push(format!("{place}: must be a table of fields"));
        return None;
    }
    match serde_path_to_error::deserialize(value) {
        Ok(read) => Some(read),
        Err(error) => {
            let parts = error.path().iter().map(|part| format!("/{part}").replace(['[', ']'], ""));
            let parts: String = parts.filter(|part| part != "/?").collect();
            faults.push(format!("{place}{parts}: {}", error.inner()));
            None
        }
    }
}

/// What the database can't hold, or TOML says and JSON can't.
fn unsayable(value: &Value, place: &str, faults: &mut Vec<String>) {
    match value {
        Value::String(text) if text.contains('\0') => {
            faults.push(format!("{place}: text can't hold the character U+0000"));
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                unsayable(item, &format!("{place}/{at}"), faults);
            }
        }
        Value::Object(fields) if fields.contains_key("$__toml_private_datetime") => {
            faults.push(format!("{place}: dates are written as text, in quotes"));
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                unsayable(field, &format!("{place}/{name}"), faults);
            }
        }
        _ => {}
    }
}

impl Format {
    fn of(path: &Path) -> Result<Self, &'static str> {
        match path.extension().and_then(|end| end.to_str()) {
            Some("toml") => Ok(Self::Toml),
            Some("yaml" | "yml") => Ok(Self::Yaml),
            _ => Err("the name of the file must end in .toml, .yaml or .yml"),
        }
    }
}

/// A policy as somebody would write it: without what goes without saying.
#[derive(Serialize)]
struct Brief<'a> {
    name: &'a str,
    scope: Scope,
    quota: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    window_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    burst: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    period: Option<Period>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<Unit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<Mode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

fn briefly<S: serde::Serializer>(policies: &[Policy], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(policies.iter().map(|policy| {
        let Policy { name, scope, quota, window_seconds, burst, period, unit, mode, strict } = policy;
        Brief {
            name,
            scope: *scope,
            quota: *quota,
            window_seconds: Some(*window_seconds).filter(|window| *window != 0),
            burst: Some(*burst).filter(|burst| burst != quota),
            period: *period,
            unit: Some(*unit).filter(|unit| *unit != Unit::default()),
            mode: Some(*mode).filter(|mode| *mode != Mode::default()),
            strict: Some(*strict).filter(|strict| *strict),
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn file(entitlements: &Value) -> File {
        let policies = json!([
            {"name": "user", "scope": "user", "quota": 120, "window_seconds": 60, "burst": 30, "strict": true},
            {"name": "busy", "scope": "org", "quota": 4, "unit": "concurrent", "mode": "shadow"},
            {"name": "month", "scope": "org", "quota": 1_000_000, "period": "month"},
        ]);
        let content = Content {
            name: "Gold: \"best\" # ünï\n - two lines".to_owned(),
            policies: serde_json::from_value(policies).unwrap(),
            entitlements: entitlements.as_object().unwrap().clone(),
            is_public: true,
        };
        let tier = |slug: &str, content| Tier {
            slug: slug.to_owned(),
            version: 7,
            content,
            effective_at: OffsetDateTime::UNIX_EPOCH,
            revision: 9,
            announced: None,
        };
        let bare =
            Content { name: "no".to_owned(), policies: vec![], entitlements: Map::new(), is_public: false };
        File::of(vec![tier("null", content), tier("no", bare)])
    }

    #[test]
    fn what_is_written_is_read_the_same_also_where_yaml_has_ideas_of_its_own() {
        let odd = json!({
            "sso": true, "seats": 3, "share": 0.1, "huge": 9_007_199_254_740_993_i64, "nothing": {}, "none": [],
            "text": ["no", "yes", "on", "null", "~", "", "1.0", "0x1f", "1e3", "0o17", "2026-01-01", "- a", "a: b", "#", "&a", "*a",
                     "!t", " padded ", "tab\t", "line\nline\n", "true", "<<", "=", ".nan", "1_000", "12:30:00"],
            "deep": {"on": [{"a": [[1, 2], []]}], "1": "one"},
        });
        for format in [Format::Toml, Format::Yaml] {
            let before = file(&odd);
            let text = match format {
                Format::Toml => toml::to_string(&before).unwrap(),
                Format::Yaml => serde_saphyr::to_string(&before).unwrap(),
            };
            let after = parse(&format, &text).unwrap_or_else(|faults| panic!("{faults:?}: {text}"));
            assert_eq!(after.versions, before.versions, "{text}");
            for (slug, tier) in &before.tiers {
                assert_eq!(after.tiers[slug].content(None), tier.content(None), "{text}");
            }
        }
    }

    #[test]
    fn every_fault_is_told_with_its_place() {
        let text = r#"
versions = {free = 1}
[tiers.free]
name = ""
policies = [{name = "user", scope = "user", quota = 0, window_seconds = 60}, {name = "user", scope = "ip", quota = 1, window_seconds = 60}]
entitlements = {since = 2026-01-01}
[tiers.1st]
name = "First"
policies = []
[tiers.pro]
name = "Pro"
policies = [{name = "a", scope = "org", quota = 1, window_seconds = 60, brust = 1}, {name = "b", scope = "galaxy", quota = 1}]
[tiers.team]
policies = []
[tiers.list]
name = "List"
polices = []
"#;
        let faults = parse(&Format::Toml, text).err().unwrap();
        let places: Vec<&str> = faults.iter().map(|fault| fault.split_once(": ").unwrap().0).collect();
        let expected = [
            "/tiers/free/entitlements/since",
            "/tiers/1st/slug",
            "/tiers/free/name",
            "/tiers/free/policies/0/quota",
            "/tiers/free/policies/0/burst",
            "/tiers/free/policies/1/name",
            "/tiers/free/policies/1/scope",
            "/tiers/list/polices",
            "/tiers/pro/policies/0/brust",
            "/tiers/pro/policies/1/scope",
            "/tiers/team",
        ];
        assert_eq!(places, expected, "{faults:#?}");
        for (format, text, place) in [
            (Format::Toml, "[tiers.a]\nname = \"A\"\n[tiers.a]\n", "line 3"),
            (Format::Yaml, "tiers:\n  a: {name: A, policies: []}\n  a: {name: B, policies: []}\n", "line 3"),
            (Format::Yaml, "tiers:\n  a: [A, null, [], {}]\n", "/tiers/a: "),
            (Format::Yaml, "tiers: {}\nversion: 1\n", "/version"),
            (Format::Yaml, "", "must be a table"),
        ] {
            let faults = parse(&format, text).err().unwrap();
            assert!(faults.len() == 1 && faults[0].contains(place), "{text}: {faults:?}");
        }
    }
}
