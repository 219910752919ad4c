//! The writing of tiers: each change a version with who and why, audited, and told to whom it makes life harder.
//!
//! Operators come here by the API and by the command line.

mod diff;
mod store;

pub use diff::{FieldDiff, PolicyDiff, TierDiff};
pub use store::{Touched, lock, select, select_all, tell_replicas, touched};

use crate::{
    authn::Actor,
    error::{Error, Result},
    events::{self, Entry},
    limits::{Entitlements, Fault, Policy, Tier as LimitTier, lowered},
    tenancy::{
        PLATFORM, PlatformTx,
        gate::{Announced, TierRow},
    },
    trail::Trail,
};
use serde_json::{Map, Value, json};
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

/// Tiers that organisations are put on by the platform itself.
const BUILT_IN: [&str; 3] = ["free", "sandbox", "platform"];
const LONGEST_NAME: usize = 200;
/// How far ahead a change may be announced.
const FARTHEST: Duration = Duration::days(90);

/// What an operator decides of a tier.
#[derive(Clone, Debug, PartialEq)]
pub struct Content {
    pub name: String,
    pub policies: Vec<Policy>,
    pub entitlements: Map<String, Value>,
    /// Whether it is a plan that anybody may read of.
    pub is_public: bool,
}

/// A tier as it holds now.
#[derive(Clone, Debug)]
pub struct Tier {
    pub slug: String,
    pub version: i64,
    pub content: Content,
    pub effective_at: OffsetDateTime,
    /// Grows with whatever changes it, announcements too.
    pub revision: i64,
    pub announced: Option<Announcement>,
}

/// A version that holds from a moment to come.
#[derive(Clone, Debug)]
pub struct Announcement {
    pub version: i64,
    pub content: Content,
    pub effective_at: OffsetDateTime,
    pub reason: String,
}

/// Who changes something, and why.
pub struct By<'a> {
    /// None for the command line.
    pub operator: Option<&'a Actor>,
    pub trail: &'a Trail,
    pub reason: &'a str,
}

impl Tier {
    pub fn of(row: TierRow, now: OffsetDateTime) -> Result<Self> {
        let (row, announced) = row.at(now)?;
        let announced = announced.map(|next| {
            let Announced { version, name, policies, entitlements, is_public, effective_at, reason } = next;
            let content = Content { name, policies: parsed(policies)?, entitlements, is_public };
            Ok::<_, Error>(Announcement { version, content, effective_at, reason })
        });
        let entitlements = parsed(row.entitlements)?;
        Ok(Self {
            slug: row.slug,
            version: row.version,
            content: Content {
                name: row.name,
                policies: parsed(row.policies)?,
                entitlements,
                is_public: row.is_public,
            },
            effective_at: row.effective_at,
            revision: row.revision,
            announced: announced.transpose()?,
        })
    }
}

impl Content {
    /// All that is wrong with it, as a version of the tier `slug`.
    pub fn faults(&self, slug: &str, at: OffsetDateTime) -> Vec<Fault> {
        let (name, policies) = (self.name.clone(), self.policies.clone());
        let fault =
            |pointer: &str, detail: &str| Fault { pointer: pointer.to_owned(), detail: detail.to_owned() };
        let mut faults = Vec::new();
        if slug.starts_with(|first: char| first.is_ascii_digit()) {
            faults.push(fault("/slug", "must start with a letter"));
        }
        if !(1..=LONGEST_NAME).contains(&name.chars().count()) {
            faults.push(fault("/name", "must have 1 to 200 characters"));
        }
        let tier = LimitTier { slug: slug.to_owned(), name, version: 1, policies, effective_at: at };
        faults.extend(tier.validate());
        faults.extend(Entitlements::faults(&self.entitlements));
        faults
    }

    fn audited(&self, version: i64) -> Value {
        let Self { name, policies, entitlements, is_public } = self;
        json!({"name": name, "version": version, "policies": policies, "entitlements": entitlements,
               "is_public": is_public})
    }
}

pub fn parsed<T: serde::de::DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(|error| Error::Internal(error.into()))
}

/// # Errors
/// 409 where the slug is taken.
pub async fn create(tx: &mut PlatformTx, by: &By<'_>, slug: &str, content: &Content) -> Result<Tier> {
    let version = store::next_version(tx, slug).await?;
    let tier = store::insert(tx, slug, version, content, by.trail.at).await?;
    store::keep(tx, by, slug, version, content, by.trail.at).await?;
    let entry = Entry::new("tier.created", "tier", slug).after(explained(content.audited(version), by));
    events::record_by_platform(tx, PLATFORM, by.operator, by.trail, entry).await?;
    Ok(tier)
}

/// Gives `current`, which is locked, another content: at once, or announced for a moment to come. Whatever was announced
/// before is taken back. `action` is what the audit calls a change at once.
pub async fn change(
    tx: &mut PlatformTx,
    by: &By<'_>,
    current: &Tier,
    content: &Content,
    effective_at: Option<OffsetDateTime>,
    action: &'static str,
) -> Result<Tier> {
    let (slug, now) = (&current.slug, by.trail.at);
    // A second is what notices can say; it is also what all replicas turn at.
    let effective_at = effective_at.map(OffsetDateTime::truncate_to_second);
    if let Some(at) = effective_at
        && (at <= now || at > now + FARTHEST)
    {
        let detail = "must be a moment to come, at most 90 days ahead";
        return Err(Error::invalid("/effective_at", "invalid", detail));
    }
    let version = store::next_version(tx, slug).await?;
    let mut after = explained(content.audited(version), by);
    if let Some(announced) = &current.announced {
        take_back(tx, by, current, announced).await?;
        after["withdraws_announced_version"] = announced.version.into();
    }
    store::keep(tx, by, slug, version, content, effective_at.unwrap_or(now)).await?;
    let (tier, action) = match effective_at {
        None => (store::replace(tx, slug, version, content, now).await?, action),
        Some(at) => {
            after["effective_at"] = rfc3339(at);
            (store::announce(tx, by, slug, version, content, at).await?, "tier.announced")
        }
    };
    let entry =
        Entry::new(action, "tier", slug).before(current.content.audited(current.version)).after(after);
    events::record_by_platform(tx, PLATFORM, by.operator, by.trail, entry).await?;
    if let Some(at) = effective_at {
        let told = lowering(current, content, at, by.reason);
        tell_orgs(tx, by, slug, "limits.lowering_announced", told).await?;
    }
    Ok(tier)
}

/// Takes back what is announced of `current`, which is locked.
///
/// # Errors
/// 404 where nothing is.
pub async fn withdraw(tx: &mut PlatformTx, by: &By<'_>, current: &Tier) -> Result<Tier> {
    let announced = current.announced.as_ref().ok_or(Error::NotFound)?;
    take_back(tx, by, current, announced).await?;
    let entry = Entry::new("tier.announcement_withdrawn", "tier", &current.slug)
        .before(announced.content.audited(announced.version));
    events::record_by_platform(tx, PLATFORM, by.operator, by.trail, entry).await?;
    store::unannounce(tx, &current.slug, by.trail.at).await
}

/// Deletes `current`, which is locked; its versions stay.
///
/// # Errors
/// 409 where somebody is on it, or the platform itself needs it.
pub async fn delete(tx: &mut PlatformTx, by: &By<'_>, current: &Tier) -> Result<()> {
    let slug = &current.slug;
    let touched = store::touched(tx, slug).await?;
    check_deletable(slug, &touched)?;
    if let Some(announced) = &current.announced {
        store::mark_withdrawn(tx, slug, announced.version, by.trail.at).await?;
    }
    store::delete(tx, slug).await?;
    let mut entry = Entry::new("tier.deleted", "tier", slug).before(current.content.audited(current.version));
    if !by.reason.is_empty() {
        entry = entry.after(explained(json!({}), by));
    }
    events::record_by_platform(tx, PLATFORM, by.operator, by.trail, entry).await
}

/// # Errors
/// 409 where a tier that so many are on can't be deleted.
pub fn check_deletable(slug: &str, touched: &Touched) -> Result<()> {
    if BUILT_IN.contains(&slug) {
        return Err(Error::conflict(
            "built_in",
            format!("organisations are put on {slug} by the platform itself"),
        ));
    }
    if touched.orgs + touched.members > 0 {
        let detail = format!("{touched} are on it: move them to another tier first");
        return Err(Error::conflict("tier_in_use", detail));
    }
    Ok(())
}

async fn take_back(tx: &mut PlatformTx, by: &By<'_>, current: &Tier, announced: &Announcement) -> Result<()> {
    store::mark_withdrawn(tx, &current.slug, announced.version, by.trail.at).await?;
    let told = lowering(current, &announced.content, announced.effective_at, &announced.reason);
    tell_orgs(tx, by, &current.slug, "limits.lowering_withdrawn", told).await
}

/// How the limits that get lower are, and how they will be; none if none does.
fn lowering(current: &Tier, next: &Content, at: OffsetDateTime, reason: &str) -> Option<(Value, Value)> {
    let lower = lowered(&current.content.policies, &next.policies);
    let names: Vec<&str> = lower.iter().map(|policy| policy.name.as_str()).collect();
    let old: Vec<&Policy> =
        current.content.policies.iter().filter(|policy| names.contains(&policy.name.as_str())).collect();
    let before = json!({"tier": current.slug, "policies": old});
    let after =
        json!({"tier": current.slug, "policies": lower, "effective_at": rfc3339(at), "reason": reason});
    (!lower.is_empty()).then_some((before, after))
}

async fn tell_orgs(
    tx: &mut PlatformTx,
    by: &By<'_>,
    slug: &str,
    action: &'static str,
    told: Option<(Value, Value)>,
) -> Result<()> {
    if let Some((before, after)) = told {
        let entry = Entry::new(action, "tier", slug).before(before).after(after);
        events::record_on_tier(tx, slug, by.operator, by.trail, entry).await?;
    }
    Ok(())
}

fn explained(mut after: Value, by: &By<'_>) -> Value {
    after["reason"] = by.reason.into();
    after
}

fn rfc3339(at: OffsetDateTime) -> Value {
    at.format(&Rfc3339).ok().into()
}
