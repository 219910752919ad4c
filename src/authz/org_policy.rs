//! One org's policy at one version: its rules in a Casbin enforcer, and what it has answered so far.

use super::{Action, Permission, Resource};
use crate::ids::OrgId;
use anyhow::{Context as _, ensure};
use casbin::{CoreApi as _, DefaultModel, Enforcer, MemoryAdapter, MgmtApi as _};
use std::sync::atomic::{AtomicU64, Ordering};

pub const MODEL: &str = include_str!("../../policies/model.conf");
pub const ROLES: &str = include_str!("../../policies/roles.csv");

const WORDS: usize = Permission::COUNT.div_ceil(64);

/// Immutable: a changed policy is another `OrgPolicy`, so what this one remembers never goes stale.
pub struct OrgPolicy {
    version: i64,
    domain: String,
    roles: Vec<String>,
    enforcer: Enforcer,
    sets: Vec<RoleSet>,
}

/// The answers for members who hold exactly these roles. Asked as one subject, so that a deny of one role
/// beats the allow of another.
struct RoleSet {
    roles: Vec<String>,
    subject: String,
    known: [AtomicU64; WORDS],
    allowed: [AtomicU64; WORDS],
}

impl OrgPolicy {
    /// `role_sets` are the distinct sets of roles that members hold at this version.
    pub async fn build(org: OrgId, version: i64, role_sets: Vec<Vec<String>>) -> anyhow::Result<Self> {
        let domain = org.to_string();
        let (mut rules, mut links) = built_in(&domain)?;
        let mut names: Vec<String> = rules.iter().chain(&links).map(|rule| rule[0].clone()).collect();
        names.sort();
        names.dedup();
        let sets: Vec<RoleSet> =
            role_sets.into_iter().enumerate().map(|(at, roles)| RoleSet::new(at, roles)).collect();
        for set in &sets {
            links
                .extend(set.roles.iter().map(|role| vec![set.subject.clone(), role.clone(), domain.clone()]));
        }
        let model = DefaultModel::from_str(MODEL).await.context("policies/model.conf")?;
        let mut enforcer = Enforcer::new(model, MemoryAdapter::default()).await?;
        // Equal rules are refused as a whole batch.
        rules.sort();
        rules.dedup();
        enforcer.add_policies(rules).await?;
        enforcer.add_grouping_policies(links).await?;
        Ok(Self { version, domain, roles: names, enforcer, sets })
    }

    pub fn version(&self) -> i64 {
        self.version
    }

    /// Every role of the org.
    pub fn roles(&self) -> &[String] {
        &self.roles
    }

    pub(super) fn set_of(&self, roles: &[String]) -> Option<usize> {
        self.sets.iter().position(|set| set.roles == roles)
    }

    /// The answer for a set of roles: Casbin's, remembered.
    pub(super) fn set_may(&self, set: usize, permission: Permission) -> bool {
        let Some(set) = self.sets.get(set) else { return false };
        let (word, bit) = (permission.index() / 64, 1 << (permission.index() % 64));
        if set.known[word].load(Ordering::Acquire) & bit == 0 {
            if self.enforce(&set.subject, permission) {
                set.allowed[word].fetch_or(bit, Ordering::Relaxed);
            }
            set.known[word].fetch_or(bit, Ordering::Release);
        }
        set.allowed[word].load(Ordering::Relaxed) & bit != 0
    }

    /// What a role may do, by itself or by what it inherits.
    pub fn permissions_of(&self, role: &str) -> impl Iterator<Item = Permission> {
        Permission::all().filter(move |permission| self.enforce(role, *permission))
    }

    /// Which roles of the org hold a permission.
    pub fn granted_by(&self, permission: Permission) -> Vec<&str> {
        self.roles.iter().map(String::as_str).filter(|role| self.enforce(role, permission)).collect()
    }

    fn enforce(&self, subject: &str, Permission { resource, action }: Permission) -> bool {
        self.enforcer
            .enforce((subject, self.domain.as_str(), resource.as_str(), action.as_str()))
            .unwrap_or_else(|error| {
                tracing::error!(%error, "casbin could not decide; refused");
                false
            })
    }
}

impl RoleSet {
    fn new(at: usize, roles: Vec<String>) -> Self {
        // No role can be named like this: names have no colon.
        Self { subject: format!("set:{at}"), roles, known: Default::default(), allowed: Default::default() }
    }
}

type Rules = Vec<Vec<String>>;

/// The rules of `policies/roles.csv` in a domain: grants, and inheritance.
fn built_in(domain: &str) -> anyhow::Result<(Rules, Rules)> {
    let (mut rules, mut links) = (Vec::new(), Vec::new());
    for line in ROLES.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let words: Vec<&str> = line.split(',').map(str::trim).collect();
        let domain = domain.to_owned();
        match words[..] {
            ["p", role, resource, action, effect] => {
                ensure!(
                    Resource::ALL.iter().any(|known| known.as_str() == resource)
                        && Action::ALL.iter().any(|known| known.as_str() == action)
                        && ["allow", "deny"].contains(&effect),
                    "policies/roles.csv: {line:?} names no known resource, action or effect"
                );
                rules.push(vec![
                    role.to_owned(),
                    domain,
                    resource.to_owned(),
                    action.to_owned(),
                    effect.to_owned(),
                ]);
            }
            ["g", role, inherited] => links.push(vec![role.to_owned(), inherited.to_owned(), domain]),
            _ => anyhow::bail!("policies/roles.csv: {line:?} is neither p with 4 words nor g with 2"),
        }
    }
    Ok((rules, links))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn policy(sets: &[&[&str]]) -> OrgPolicy {
        let sets = sets.iter().map(|set| set.iter().map(|role| (*role).to_owned()).collect()).collect();
        OrgPolicy::build(OrgId::new(), 1, sets).await.unwrap()
    }

    fn permission(text: &str) -> Permission {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn a_role_may_what_it_was_granted_or_inherits_and_nothing_else() {
        let policy = policy(&[&["viewer"], &["owner"]]).await;
        assert!(policy.set_may(0, permission("products:read")));
        assert!(!policy.set_may(0, permission("products:create")));
        assert!(policy.set_may(1, permission("products:read")), "by way of admin, member and viewer");
        assert!(!policy.set_may(1, permission("platform_tiers:update")));
        assert!(!policy.set_may(7, permission("products:read")), "no such set");
    }

    #[tokio::test]
    async fn what_is_remembered_is_what_casbin_says() {
        let policy =
            policy(&[&["viewer"], &["member"], &["admin"], &["owner"], &["operator", "viewer"]]).await;
        for permission in Permission::all() {
            for (at, set) in policy.sets.iter().enumerate() {
                let plain = set.roles.iter().any(|role| policy.enforce(role, permission));
                assert_eq!(policy.set_may(at, permission), plain, "{:?} {permission}", set.roles);
                assert_eq!(
                    policy.set_may(at, permission),
                    plain,
                    "asked again: {:?} {permission}",
                    set.roles
                );
            }
        }
    }
}
