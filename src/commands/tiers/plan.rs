//! What a file would change of the tiers in the database, whom that touches, and what stands against it.

use super::file::File;
use crate::{
    error::Result,
    tenancy::PlatformTx,
    tiers::{self, By, Content, Tier, TierDiff, Touched},
};
use serde::Serialize;
use std::{collections::BTreeMap, fmt};
use time::format_description::well_known::Rfc3339;

#[derive(Serialize)]
pub struct Plan {
    /// By slug; empty where everything is as the file says.
    pub changes: Vec<Change>,
    /// On tiers that change.
    touched: Touched,
    /// On tiers of which a limit gets lower.
    lowered: Touched,
}

/// What becomes of one tier.
#[derive(Serialize)]
pub struct Change {
    pub tier: String,
    action: Action,
    /// The one that holds now.
    version: Option<i64>,
    diff: TierDiff,
    touched: Touched,
    /// Why it is refused unless it is forced: what happened to the tier after the file was written.
    moved: Vec<String>,
    /// Why it is refused in any case.
    refused: Option<String>,
    #[serde(skip)]
    current: Option<Tier>,
    #[serde(skip)]
    wanted: Option<Content>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    Create,
    Change,
    Delete,
}

impl Plan {
    /// Of making `all`, which are every tier there is, what `file` says.
    pub async fn make(tx: &mut PlatformTx, file: &File, all: Vec<Tier>, prune: bool) -> Result<Self> {
        let mut current: BTreeMap<String, Tier> =
            all.into_iter().map(|tier| (tier.slug.clone(), tier)).collect();
        let mut plan = Self { changes: Vec::new(), touched: Touched::default(), lowered: Touched::default() };
        for (slug, written) in &file.tiers {
            let current = current.remove(slug);
            let wanted = written.content(current.as_ref().map(|tier| &tier.content));
            plan.add(tx, file, slug, current, Some(wanted)).await?;
        }
        for (slug, tier) in current.into_iter().filter(|_| prune) {
            plan.add(tx, file, &slug, Some(tier), None).await?;
        }
        plan.changes.sort_by(|one, other| one.tier.cmp(&other.tier));
        Ok(plan)
    }

    async fn add(
        &mut self,
        tx: &mut PlatformTx,
        file: &File,
        slug: &str,
        current: Option<Tier>,
        wanted: Option<Content>,
    ) -> Result<()> {
        let before = current.as_ref().map(|tier| &tier.content);
        let (action, diff) = match (before, &wanted) {
            (None, Some(wanted)) => {
                // Nobody had anything that it could be lower than.
                (Action::Create, TierDiff { lowered: Vec::new(), ..TierDiff::between(None, wanted) })
            }
            (Some(before), Some(wanted)) => (Action::Change, TierDiff::between(Some(before), wanted)),
            (Some(before), None) => {
                (Action::Delete, TierDiff { removed: before.policies.clone(), ..TierDiff::default() })
            }
            (None, None) => return Ok(()),
        };
        if action == Action::Change && diff.is_empty() {
            return Ok(());
        }
        let touched = tiers::touched(tx, slug).await?;
        self.touched.add(&touched);
        if !diff.lowered.is_empty() {
            self.lowered.add(&touched);
        }
        let refused = match action {
            Action::Delete => tiers::check_deletable(slug, &touched).err().map(|error| error.to_string()),
            Action::Create | Action::Change => None,
        };
        let version = current.as_ref().map(|tier| tier.version);
        let moved = moved(file.versions.get(slug).copied(), current.as_ref());
        let tier = slug.to_owned();
        self.changes.push(Change { tier, action, version, diff, touched, moved, refused, current, wanted });
        Ok(())
    }

    /// Why it can't be carried out, a line each.
    pub fn obstacles(&self, force: bool) -> Vec<String> {
        let of = |change: &Change| {
            let moved =
                change.moved.iter().filter(|_| !force).map(|why| format!("{why} (--force to do it anyway)"));
            let all: Vec<String> = moved.chain(change.refused.clone()).collect();
            all.into_iter().map(|why| format!("{}: {why}", change.tier)).collect::<Vec<_>>()
        };
        self.changes.iter().flat_map(of).collect()
    }
}

/// What happened to a tier after the file was written. An announcement counts as well: no file holds one, so that
/// whoever wrote it can't have meant to take it back.
fn moved(recorded: Option<i64>, current: Option<&Tier>) -> Vec<String> {
    let Some(current) = current else {
        return recorded
            .map(|recorded| format!("the file was written at version {recorded}, and it was deleted since"))
            .into_iter()
            .collect();
    };
    let holds = current.version;
    let mut moved = match recorded {
        Some(recorded) if recorded == holds => vec![],
        Some(recorded) => {
            vec![format!("the file was written at version {recorded}, and version {holds} holds now")]
        }
        None => vec![format!("version {holds} holds, of which the file's versions say nothing")],
    };
    if let Some(next) = &current.announced {
        let at = next.effective_at.format(&Rfc3339).unwrap_or_default();
        moved.push(format!("takes back version {}, announced for {at}", next.version));
    }
    moved
}

impl Change {
    pub async fn carry_out(&self, tx: &mut PlatformTx, by: &By<'_>) -> Result<()> {
        match (&self.current, &self.wanted) {
            (None, Some(wanted)) => drop(tiers::create(tx, by, &self.tier, wanted).await?),
            (Some(current), Some(wanted)) => {
                tiers::change(tx, by, current, wanted, None, "tier.replaced").await?;
            }
            (Some(current), None) => tiers::delete(tx, by, current).await?,
            (None, None) => {}
        }
        Ok(())
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.changes.is_empty() {
            return writeln!(out, "Nothing to change: the tiers are as the file says.");
        }
        for change in &self.changes {
            write!(out, "{change}")?;
        }
        let count = self.changes.len();
        writeln!(
            out,
            "{count} tiers differ. {} are on them; {} get lower limits.",
            self.touched, self.lowered
        )
    }
}

impl fmt::Display for Change {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tier, diff, touched, .. } = self;
        match self.action {
            Action::Create => writeln!(out, "create {tier}")?,
            Action::Change => writeln!(out, "change {tier}: {touched}")?,
            Action::Delete => writeln!(out, "delete {tier}: {touched}")?,
        }
        let lower = |name: &String| if diff.lowered.contains(name) { "  LOWERED" } else { "" };
        for policy in &diff.removed {
            writeln!(out, "  - policy {}", policy.name)?;
        }
        for policy in &diff.added {
            let fields = serde_json::to_string(policy).map_err(|_| fmt::Error)?;
            writeln!(out, "  + policy {}: {fields}{}", policy.name, lower(&policy.name))?;
        }
        for policy in &diff.changed {
            let fields =
                policy.fields.iter().map(|(name, field)| format!("{name} {} -> {}", field.from, field.to));
            let fields: Vec<String> = fields.collect();
            writeln!(out, "  ~ policy {}: {}{}", policy.name, fields.join(", "), lower(&policy.name))?;
        }
        for (name, field) in &diff.fields {
            writeln!(out, "  ~ {name}: {} -> {}", field.from, field.to)?;
        }
        for why in self.moved.iter().chain(&self.refused) {
            writeln!(out, "  ! {why}")?;
        }
        Ok(())
    }
}
