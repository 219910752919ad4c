//! A policy: one named limit, as operators write it and clients read it.

use crate::error::{Error, Flaw, Result};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

const LONGEST_NAME: usize = 40;
const LONGEST_WINDOW: u32 = 31 * 86_400;
/// An empty bucket refills within this many seconds, so that no sum of nanoseconds can overflow before 2554.
const LONGEST_REFILL: u64 = 366 * 86_400;
const SECOND: u64 = 1_000_000_000;

/// Whose use is counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Each user of an org by itself; keys too, where the tier has no policy for keys.
    User,
    /// Each API key of an org by itself.
    ApiKey,
    /// The whole org together.
    Org,
    /// Each address by itself, before anybody is known; not for tiers.
    Ip,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Units of cost, as each route declares them, over time.
    #[default]
    Requests,
    /// Requests being served at the same moment, whatever they cost.
    Concurrent,
}

/// A stretch of the calendar that a quota is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// The org's billing month: from its billing day, 00:00 UTC.
    Month,
}

/// Whether a policy may refuse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Refuses what does not fit.
    #[default]
    Enforce,
    /// Counts as if it were enforced, never refuses, and changes no other policy's outcome.
    Shadow,
}

/// One named limit: `quota` units each `window_seconds`, of which `burst` may come at once; or `quota` units each `period`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(from = "Wire", deny_unknown_fields)]
pub struct Policy {
    /// Names the policy in headers and problems; unique in its tier, and a tier keeps what was used under a name.
    #[schema(example = "user", min_length = 1, max_length = 40, pattern = "^[a-z0-9][a-z0-9_-]*$")]
    pub name: String,
    pub scope: Scope,
    /// Units each window; for `concurrent`, requests at the same moment.
    #[schema(minimum = 1, example = 120)]
    pub quota: u32,
    /// 1 second to 31 days; without meaning, and optional, for `concurrent`; 0 or left out with a `period`.
    #[schema(maximum = 2_678_400, example = 60)]
    pub window_seconds: u32,
    /// Units that may come at once after a rest; the quota unless given.
    #[schema(minimum = 1, required = false, example = 120)]
    pub burst: u32,
    /// In place of a window and a burst.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<Period>,
    #[schema(required = false, default = "requests")]
    pub unit: Unit,
    #[schema(required = false, default = "enforce")]
    pub mode: Mode,
    /// Never admits on credit when replicas share a limit.
    #[schema(required = false, default = false)]
    pub strict: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    name: String,
    scope: Scope,
    quota: u32,
    #[serde(default)]
    window_seconds: u32,
    burst: Option<u32>,
    period: Option<Period>,
    #[serde(default)]
    unit: Unit,
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    strict: bool,
}

impl From<Wire> for Policy {
    fn from(wire: Wire) -> Self {
        let Wire { name, scope, quota, window_seconds, burst, period, unit, mode, strict } = wire;
        Self { name, scope, quota, window_seconds, burst: burst.unwrap_or(quota), period, unit, mode, strict }
    }
}

/// What is wrong with one field of a policy or tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// JSON pointer into the value that was judged: `/quota`, `/policies/0/quota`.
    pub pointer: String,
    /// A sentence for whoever wrote it.
    pub detail: String,
}

impl Fault {
    /// # Errors
    /// 422 that points at each; none if there are none.
    pub fn refuse(faults: Vec<Self>) -> Result<()> {
        if faults.is_empty() {
            return Ok(());
        }
        let flaw = |fault: Self| Flaw::new(fault.pointer, "invalid", fault.detail);
        Err(Error::Invalid(faults.into_iter().map(flaw).collect()))
    }

    pub(super) fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

/// Slugs need no quoting in a header and no escaping in a path.
pub(super) fn is_slug(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() <= LONGEST_NAME
        && text.bytes().next().is_some_and(letter)
        && text.bytes().all(|byte| letter(byte) || byte == b'-' || byte == b'_')
}

impl Policy {
    /// Nanoseconds for one unit to come back. Rounded down, so that a whole quota is back after its window: exact to
    /// 0.1 % up to a million units a second.
    pub(super) fn interval(&self) -> u64 {
        (u64::from(self.window_seconds) * SECOND / u64::from(self.quota).max(1)).max(1)
    }

    /// All that is wrong, in the order of the fields; a policy without faults can be compiled.
    pub fn validate(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut must = |holds: bool, pointer: &str, detail: &str| {
            if !holds {
                faults.push(Fault::new(pointer, detail));
            }
        };
        must(
            is_slug(&self.name),
            "/name",
            "must be 1 to 40 lowercase letters, digits, hyphens or underscores, and start with a letter or digit",
        );
        must(self.quota >= 1, "/quota", "must be at least 1");
        must(self.burst >= 1, "/burst", "must be at least 1");
        if self.period.is_some() {
            must(self.window_seconds == 0, "/window_seconds", "must be left out where there is a period");
            must(self.burst == self.quota, "/burst", "must be left out where there is a period");
            must(self.unit == Unit::Requests, "/unit", "must be requests where there is a period");
            return faults;
        }
        if self.unit == Unit::Concurrent {
            return faults;
        }
        must(
            (1..=LONGEST_WINDOW).contains(&self.window_seconds),
            "/window_seconds",
            "must be 1 second to 31 days (2678400 seconds)",
        );
        must(
            u64::from(self.quota) <= u64::from(self.window_seconds.max(1)) * SECOND,
            "/quota",
            "must be at most a thousand million a second",
        );
        must(
            u64::from(self.burst) * u64::from(self.window_seconds)
                <= LONGEST_REFILL * u64::from(self.quota.max(1)),
            "/burst",
            "must come back within 366 days at the rate of quota and window",
        );
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn policy(value: serde_json::Value) -> Policy {
        serde_json::from_value(value).unwrap()
    }

    fn pointers(value: serde_json::Value) -> Vec<String> {
        policy(value).validate().into_iter().map(|fault| fault.pointer).collect()
    }

    #[test]
    fn what_is_left_out_is_enforced_requests_with_the_quota_as_burst() {
        let short = policy(json!({"name": "user", "scope": "user", "quota": 120, "window_seconds": 60}));
        assert_eq!(
            serde_json::to_value(&short).unwrap(),
            json!({"name": "user", "scope": "user", "quota": 120, "window_seconds": 60, "burst": 120,
                   "unit": "requests", "mode": "enforce", "strict": false})
        );
        assert_eq!(short.validate(), []);
    }

    #[test]
    fn a_misspelt_field_is_refused() {
        let misspelt = json!({"name": "user", "scope": "user", "quota": 1, "window_seconds": 60, "brust": 1});
        assert!(serde_json::from_value::<Policy>(misspelt).is_err());
    }

    #[test]
    fn every_fault_is_named() {
        assert_eq!(
            pointers(json!({"name": "No Slug", "scope": "org", "quota": 0, "window_seconds": 0, "burst": 0})),
            ["/name", "/quota", "/burst", "/window_seconds"]
        );
        assert_eq!(
            pointers(json!({"name": "a", "scope": "org", "quota": 1, "window_seconds": 2_678_401})),
            ["/window_seconds"]
        );
        assert_eq!(
            pointers(json!({"name": "a", "scope": "org", "quota": 1_000_000_001, "window_seconds": 1})),
            ["/quota"]
        );
        assert_eq!(
            pointers(
                json!({"name": "a", "scope": "org", "quota": 1, "window_seconds": 86_400, "burst": 367})
            ),
            ["/burst"]
        );
        assert_eq!(
            pointers(json!({"name": "a".repeat(41), "scope": "org", "quota": 1, "window_seconds": 1})),
            ["/name"]
        );
    }

    #[test]
    fn a_month_has_neither_window_nor_burst_and_is_written_as_it_is_read() {
        let month = json!({"name": "month", "scope": "org", "quota": 1_000_000, "period": "month"});
        assert!(pointers(month.clone()).is_empty());
        let read = policy(month);
        assert_eq!(policy(serde_json::to_value(&read).unwrap()), read);
        assert_eq!(
            pointers(
                json!({"name": "a", "scope": "org", "quota": 9, "period": "month", "window_seconds": 60,
                            "burst": 3, "unit": "concurrent"})
            ),
            ["/window_seconds", "/burst", "/unit"]
        );
        let year = json!({"name": "a", "scope": "org", "quota": 9, "period": "year"});
        assert!(serde_json::from_value::<Policy>(year).is_err());
    }

    #[test]
    fn a_concurrent_policy_needs_no_window() {
        assert!(
            pointers(json!({"name": "in-flight", "scope": "org", "quota": 4, "unit": "concurrent"}))
                .is_empty()
        );
    }
}
