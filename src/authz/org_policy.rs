//! One org's policy at one version: its rules in a few bytes each, and what Casbin has answered so far.

use super::{
    Action, Permission, Resource, Ruling,
    answers::Answers,
    built_in::{Line, built_in},
    judge::{Judge, Rules},
    kept::Marks,
};
use crate::ids::OrgId;
use anyhow::Context as _;
use parking_lot::RwLock;
use smallvec::SmallVec;
use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Immutable: a changed policy is another `OrgPolicy`, so what this one remembers never goes stale.
pub struct OrgPolicy {
    /// Of this value, and of no other of this process.
    id: u64,
    version: i64,
    domain: Box<str>,
    /// The roles, sorted, and what else is named: roles that somebody holds or inherits and nobody made.
    names: Box<[String]>,
    roles: usize,
    /// Sorted by permission.
    rules: Box<[Rule]>,
    links: Box<[(Name, Name)]>,
    /// Sorted by roles.
    sets: Box<[RoleSet]>,
    /// What each role may do by itself.
    alone: Box<[Answers]>,
    /// Why the latest of those whom a rule denies were refused.
    pub(super) denials: RwLock<HashMap<(usize, Permission), Arc<Ruling>>>,
    pub(super) marks: Marks,
}

/// Denials that are remembered of one org.
pub(super) const DENIALS: usize = 8;

/// How many were built by this process.
static BUILT: AtomicU64 = AtomicU64::new(0);

/// A place in `names`.
pub(super) type Name = u16;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rule {
    pub permission: Permission,
    pub role: Name,
    pub denies: bool,
}

/// Members who hold exactly these roles. Asked about as one subject, so that a deny of one role beats the
/// allow of another.
struct RoleSet {
    roles: Box<[Name]>,
    /// Those of them who are not suspended.
    members: u32,
    answers: Answers,
}

/// A role that an org has made for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CustomRole {
    pub name: String,
    /// Names of built-in or custom roles.
    pub inherits: Vec<String>,
    /// `resource:action`; what no release knows (any more) grants nothing.
    pub permissions: Vec<String>,
    pub denied: Vec<String>,
}

impl OrgPolicy {
    /// `custom` are the org's own roles, `role_sets` the distinct sets of roles that members hold at this version.
    ///
    /// # Errors
    /// Where `policies/` can't be read, which is a fault of the release.
    #[expect(clippy::unused_async, reason = "callers need not know that Casbin has nothing to wait for here")]
    pub async fn build(
        org: OrgId,
        version: i64,
        custom: &[CustomRole],
        role_sets: Vec<Vec<String>>,
    ) -> anyhow::Result<Self> {
        let mut lines = built_in()?.to_vec();
        // What a release brings is no org's to change.
        let own = |role: &&CustomRole| !lines.iter().any(|line| line.role() == role.name);
        let custom: Vec<&CustomRole> = custom.iter().filter(own).collect();
        for role in &custom {
            for (permissions, denies) in [(&role.permissions, false), (&role.denied, true)] {
                let permissions = permissions.iter().filter_map(|text| text.parse().ok());
                lines.extend(permissions.map(|permission| Line::Rule {
                    role: role.name.clone(),
                    permission,
                    denies,
                }));
            }
            let inherits = role.inherits.iter().cloned();
            lines.extend(inherits.map(|other| Line::Inherits { role: role.name.clone(), other }));
        }
        let mut roles: BTreeSet<&str> = custom.iter().map(|role| role.name.as_str()).collect();
        roles.extend(lines.iter().map(Line::role));
        let mut strays: BTreeSet<&str> = role_sets.iter().flatten().map(String::as_str).collect();
        strays.extend(lines.iter().filter_map(|line| match line {
            Line::Inherits { other, .. } => Some(other.as_str()),
            Line::Rule { .. } => None,
        }));
        strays.retain(|name| !roles.contains(name));
        let names = Names {
            defined: roles.len(),
            all: roles.iter().chain(&strays).map(|name| (*name).to_owned()).collect(),
        };
        let number = |name: &str| names.number(name).context("more roles than can be numbered");

        let (mut granted, mut inherited) = (BTreeSet::new(), BTreeSet::new());
        for line in &lines {
            match line {
                &Line::Rule { ref role, permission, denies } => {
                    granted.insert(Rule { permission, role: number(role)?, denies });
                }
                // Casbin takes no notice of a role that inherits itself.
                Line::Inherits { role, other } => {
                    inherited.insert((number(role)?, number(other)?));
                }
            }
        }
        let mut sets = Vec::with_capacity(role_sets.len());
        for held in &role_sets {
            let roles: Vec<Name> = held.iter().map(|role| number(role)).collect::<Result<_, _>>()?;
            sets.push(RoleSet { roles: roles.into(), members: 0, answers: Answers::default() });
        }
        sets.sort_by(|a, b| a.roles.cmp(&b.roles));
        sets.dedup_by(|a, b| a.roles == b.roles);
        Ok(Self {
            id: BUILT.fetch_add(1, Ordering::Relaxed),
            version,
            domain: org.to_string().into(),
            roles: names.defined,
            alone: (0..names.defined).map(|_| Answers::default()).collect(),
            names: names.all.into(),
            rules: granted.into_iter().collect(),
            links: inherited.into_iter().collect(),
            sets: sets.into(),
            denials: RwLock::default(),
            marks: Marks::default(),
        })
    }

    /// With how many members hold each set of roles, less those who are suspended.
    #[must_use]
    pub fn counting(mut self, members: impl IntoIterator<Item = (Vec<String>, u32)>) -> Self {
        for (roles, count) in members {
            if let Some(set) = self.set_of(&roles) {
                self.sets[set].members = count;
            }
        }
        self
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub fn version(&self) -> i64 {
        self.version
    }

    /// Every role of the org.
    pub fn roles(&self) -> &[String] {
        &self.names[..self.roles]
    }

    pub(super) fn set_of(&self, roles: &[String]) -> Option<usize> {
        let numbers: SmallVec<[Name; 8]> =
            roles.iter().map(|role| self.number(role)).collect::<Option<_>>()?;
        self.sets.binary_search_by(|set| set.roles.as_ref().cmp(numbers.as_slice())).ok()
    }

    /// The answer for a set of roles: Casbin's, remembered.
    pub(super) fn set_may(&self, set: usize, permission: Permission) -> bool {
        let Some(RoleSet { answers, .. }) = self.sets.get(set) else { return false };
        answers.get(permission).unwrap_or_else(|| {
            self.ask(permission, &[set], |judge| {
                answers.put(permission, judge(&subject(set)));
            });
            answers.get(permission).unwrap_or(false)
        })
    }

    /// Which roles of the org hold a permission.
    pub fn granted_by(&self, permission: Permission) -> Vec<&str> {
        if self.alone.iter().any(|answers| answers.get(permission).is_none()) {
            self.ask(permission, &[], |judge| {
                for (role, answers) in self.roles().iter().zip(&self.alone) {
                    answers.put(permission, judge(role));
                }
            });
        }
        let holds = |(_, answers): &(&String, &Answers)| answers.get(permission) == Some(true);
        self.roles().iter().zip(&self.alone).filter(holds).map(|(role, _)| role.as_str()).collect()
    }

    /// What a role may do, by itself or by what it inherits.
    pub fn permissions_of(&self, role: &str) -> impl Iterator<Item = Permission> {
        Permission::all().filter(move |permission| self.granted_by(*permission).contains(&role))
    }

    /// How many members can give a permission to others: who hold it, and may change members.
    pub fn grantors(&self, permission: Permission) -> u32 {
        const GIVING: Permission = Permission { resource: Resource::Users, action: Action::Update };
        for asked in [GIVING, permission] {
            let unknown: Vec<usize> =
                (0..self.sets.len()).filter(|&set| self.sets[set].answers.get(asked).is_none()).collect();
            if !unknown.is_empty() {
                self.ask(asked, &unknown, |judge| {
                    for &set in &unknown {
                        self.sets[set].answers.put(asked, judge(&subject(set)));
                    }
                });
            }
        }
        let can = |set: &&RoleSet| [GIVING, permission].iter().all(|&p| set.answers.get(p) == Some(true));
        self.sets.iter().filter(can).map(|set| set.members).sum()
    }

    /// Bytes in memory, about, with what will be remembered.
    pub(super) fn weight(&self) -> usize {
        // What an allocation costs besides, and what the cache keeps of an entry.
        const ALLOCATION: usize = 16;
        const ENTRY: usize = 300;
        let names: usize = self.names.iter().map(|name| size_of::<String>() + name.len() + ALLOCATION).sum();
        let sets: usize =
            self.sets.iter().map(|set| size_of::<RoleSet>() + 2 * set.roles.len() + ALLOCATION).sum();
        let denials = if self.rules.iter().any(|rule| rule.denies) { DENIALS * 300 } else { 0 };
        ENTRY
            + size_of::<Self>()
            + self.domain.len()
            + names
            + size_of_val(&*self.rules)
            + size_of_val(&*self.links)
            + size_of_val(&*self.alone)
            + sets
            + denials
    }

    /// Lets Casbin answer about a permission, for these sets of roles and for roles by themselves.
    fn ask(&self, permission: Permission, sets: &[usize], questions: impl FnOnce(&dyn Fn(&str) -> bool)) {
        if let Some(judge) = self.judge(permission, self.links(sets)) {
            questions(&|subject| judge.ask(subject, &self.domain, permission).allowed);
        }
    }

    pub(super) fn judge(&self, permission: Permission, links: Rules) -> Option<Judge> {
        let rules = self.rules_of(permission).iter().map(|rule| {
            let Permission { resource, action } = permission;
            let role = self.name(rule.role);
            [role, &self.domain, resource.as_str(), action.as_str(), effect(*rule)]
                .map(ToOwned::to_owned)
                .to_vec()
        });
        Judge::new(rules.collect(), links)
            .inspect_err(|error| {
                tracing::error!(error = format!("{error:#}"), "casbin can't be asked; refused");
            })
            .ok()
    }

    pub(super) fn rules_of(&self, permission: Permission) -> &[Rule] {
        let from = self.rules.partition_point(|rule| rule.permission < permission);
        let to = self.rules.partition_point(|rule| rule.permission <= permission);
        &self.rules[from..to]
    }

    /// What inherits what, and which roles these sets are.
    pub(super) fn links(&self, sets: &[usize]) -> Rules {
        let inherited = self.links.iter().map(|&(role, other)| self.link(self.name(role), other));
        let held = sets.iter().flat_map(|&set| {
            let roles: BTreeSet<Name> = self.sets[set].roles.iter().copied().collect();
            roles.into_iter().map(move |role| self.link(&subject(set), role))
        });
        inherited.chain(held).collect()
    }

    pub(super) fn domain(&self) -> &str {
        &self.domain
    }

    pub(super) fn name(&self, name: Name) -> &str {
        &self.names[usize::from(name)]
    }

    pub(super) fn number(&self, name: &str) -> Option<Name> {
        number(&self.names, self.roles, name)
    }

    /// What a role inherits by itself.
    pub(super) fn inherited_by(&self, role: Name) -> impl Iterator<Item = Name> {
        let from = self.links.partition_point(|&(heir, _)| heir < role);
        self.links[from..].iter().take_while(move |(heir, _)| *heir == role).map(|&(_, other)| other)
    }

    pub(super) fn link(&self, who: &str, role: Name) -> Vec<String> {
        vec![who.to_owned(), self.name(role).to_owned(), (*self.domain).to_owned()]
    }
}

pub(super) fn effect(rule: Rule) -> &'static str {
    if rule.denies { "deny" } else { "allow" }
}

/// No role can be named like this: names have no colon.
fn subject(set: usize) -> String {
    format!("set:{set}")
}

struct Names {
    all: Vec<String>,
    defined: usize,
}

impl Names {
    fn number(&self, name: &str) -> Option<Name> {
        number(&self.all, self.defined, name)
    }
}

/// The place of a name among those that are defined or, after them, those that are not; both sorted.
fn number(names: &[String], defined: usize, name: &str) -> Option<Name> {
    let (roles, strays) = names.split_at(defined);
    let find = |names: &[String]| names.binary_search_by(|known| known.as_str().cmp(name)).ok();
    let at = find(roles).or_else(|| find(strays).map(|at| defined + at))?;
    Name::try_from(at).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    async fn policy(custom: &[CustomRole], sets: &[&[&str]]) -> OrgPolicy {
        OrgPolicy::build(OrgId::new(), 1, custom, sets.iter().map(|set| texts(set)).collect()).await.unwrap()
    }

    fn permission(text: &str) -> Permission {
        text.parse().unwrap()
    }

    fn may(policy: &OrgPolicy, roles: &[&str], text: &str) -> bool {
        policy.set_of(&texts(roles)).is_some_and(|set| policy.set_may(set, permission(text)))
    }

    #[tokio::test]
    async fn a_role_may_what_it_was_granted_or_inherits_and_nothing_else() {
        let policy = policy(&[], &[&["viewer"], &["owner"]]).await;
        for _ in 0..2 {
            assert!(may(&policy, &["viewer"], "products:read"));
            assert!(!may(&policy, &["viewer"], "products:create"));
            assert!(may(&policy, &["owner"], "products:read"), "by way of admin, member and viewer");
            assert!(!may(&policy, &["owner"], "platform_tiers:update"));
            assert!(!may(&policy, &["admin"], "products:read"), "nobody held this when it was read");
            assert!(!policy.set_may(7, permission("products:read")), "no such set");
        }
    }

    #[tokio::test]
    async fn roles_of_no_release_and_no_org_and_names_of_built_in_ones_give_nothing() {
        let forged = CustomRole {
            name: "viewer".to_owned(),
            permissions: texts(&["orders:refund"]),
            ..CustomRole::default()
        };
        let dangling = CustomRole {
            name: "odd".to_owned(),
            inherits: texts(&["gone", "odd", "viewer", "viewer"]),
            permissions: texts(&["gone:read", "orders"]),
            ..CustomRole::default()
        };
        let policy = policy(&[forged, dangling], &[&["viewer"], &["gone"], &["gone", "odd"]]).await;
        assert!(!may(&policy, &["viewer"], "orders:refund"));
        assert!(!may(&policy, &["gone"], "products:read"));
        assert!(may(&policy, &["gone", "odd"], "products:read"), "what holds together still counts");
        assert_eq!(policy.roles(), texts(&["admin", "member", "odd", "operator", "owner", "viewer"]));
    }

    #[tokio::test]
    async fn those_who_can_give_a_permission_hold_it_and_may_change_members() {
        let lead = |name: &str, denied: &[&str]| CustomRole {
            name: name.to_owned(),
            inherits: texts(&["viewer"]),
            permissions: texts(&["users:update"]),
            denied: texts(denied),
        };
        let policy = policy(
            &[lead("lead", &[]), lead("blind", &["products:read"])],
            &[&["lead"], &["blind", "lead"], &["viewer"], &["lead", "member"]],
        )
        .await
        .counting([
            (texts(&["lead"]), 3),
            (texts(&["viewer"]), 50),
            (texts(&["blind", "lead"]), 7),
            (texts(&["lead", "member"]), 2),
        ]);
        assert_eq!(policy.grantors(permission("products:read")), 5, "whom a rule denies it can't give it");
        assert_eq!(policy.grantors(permission("orders:read")), 12);
        assert_eq!(policy.grantors(permission("orders:create")), 2);
        assert_eq!(policy.grantors(permission("orders:refund")), 0);
    }
}
