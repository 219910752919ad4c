//! One org's policy at one version: its rules in a few bytes each, and what Casbin has answered so far.

use super::{
    Action, Permission, Resource,
    built_in::{Line, built_in},
    judge::{Judge, Rules},
    kept::Marks,
};
use crate::ids::OrgId;
use anyhow::Context as _;
use parking_lot::RwLock;
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    sync::atomic::{AtomicU64, Ordering},
};

const WORDS: usize = Permission::COUNT.div_ceil(64);

/// Immutable: a changed policy is another `OrgPolicy`, so what this one remembers never goes stale.
pub struct OrgPolicy {
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
    denials: RwLock<HashMap<(usize, Permission), Arc<Ruling>>>,
    pub(super) marks: Marks,
}

/// A place in `names`.
type Name = u16;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rule {
    permission: Permission,
    role: Name,
    denies: bool,
}

/// Members who hold exactly these roles. Asked about as one subject, so that a deny of one role beats the
/// allow of another.
struct RoleSet {
    roles: Box<[Name]>,
    /// Those of them who are not suspended.
    members: u32,
    answers: Answers,
}

/// Casbin's answers for one subject, a bit for each permission.
#[derive(Default)]
struct Answers {
    known: [AtomicU64; WORDS],
    allowed: [AtomicU64; WORDS],
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

/// A decision, with what decided it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    pub allowed: bool,
    /// As `policies/roles.csv` writes it; none where no rule applies, which refuses.
    pub rule: Option<String>,
    /// The roles that lead to the rule, from one that is held to the one that the rule is about.
    pub path: Vec<String>,
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

        let (mut rules, mut links) = (BTreeSet::new(), BTreeSet::new());
        for line in &lines {
            match line {
                &Line::Rule { ref role, permission, denies } => {
                    rules.insert(Rule { permission, role: number(role)?, denies });
                }
                // Casbin takes no notice of a role that inherits itself.
                Line::Inherits { role, other } => {
                    links.insert((number(role)?, number(other)?));
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
            version,
            domain: org.to_string().into(),
            roles: names.defined,
            alone: (0..names.defined).map(|_| Answers::default()).collect(),
            names: names.all.into(),
            rules: rules.into_iter().collect(),
            links: links.into_iter().collect(),
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

    pub fn version(&self) -> i64 {
        self.version
    }

    /// Every role of the org.
    pub fn roles(&self) -> &[String] {
        &self.names[..self.roles]
    }

    pub(super) fn set_of(&self, roles: &[String]) -> Option<usize> {
        let numbers: Option<smallvec::SmallVec<[Name; 8]>> =
            roles.iter().map(|role| number(&self.names, self.roles, role)).collect();
        let numbers = numbers?;
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

    /// What decides, for whoever holds these roles.
    pub fn explain(&self, roles: &[String], permission: Permission) -> Ruling {
        let known: Vec<Name> =
            roles.iter().filter_map(|role| number(&self.names, self.roles, role)).collect();
        let mut links = self.links(&[]);
        let mut held: Vec<Name> = known.clone();
        held.sort_unstable();
        held.dedup();
        links.extend(held.iter().map(|&role| self.link(SOMEBODY, role)));
        let rules = self.rules_of(permission);
        let Some(verdict) =
            self.judge(permission, links).map(|judge| judge.ask(SOMEBODY, &self.domain, permission))
        else {
            return Ruling { allowed: false, rule: None, path: Vec::new() };
        };
        // A deny ends the matter; of several rules that allow, the first will do.
        let decisive = if verdict.allowed { verdict.matched.first() } else { verdict.matched.last() };
        match decisive.and_then(|&at| rules.get(at)) {
            None => Ruling { allowed: verdict.allowed, rule: None, path: Vec::new() },
            Some(rule) => Ruling {
                allowed: verdict.allowed,
                rule: Some(self.written(rule)),
                path: self.path(&known, rule.role),
            },
        }
    }

    /// The rule that denies a permission to members who hold these roles; none where nothing merely allows it.
    pub fn denial(&self, roles: &[String], permission: Permission) -> Option<Arc<Ruling>> {
        if !self.rules_of(permission).iter().any(|rule| rule.denies) {
            return None;
        }
        let key = self.set_of(roles).map(|set| (set, permission));
        let known = key.and_then(|key| self.denials.read().get(&key).cloned());
        let ruling = known.unwrap_or_else(|| {
            let ruling = Arc::new(self.explain(roles, permission));
            if let Some(key) = key {
                self.denials.write().insert(key, Arc::clone(&ruling));
            }
            ruling
        });
        (!ruling.allowed && ruling.rule.is_some()).then_some(ruling)
    }

    /// Bytes in memory, about, with what will be remembered.
    pub(super) fn weight(&self) -> usize {
        // What an allocation costs besides, and what the cache keeps of an entry.
        const ALLOCATION: usize = 16;
        const ENTRY: usize = 300;
        let names: usize = self.names.iter().map(|name| size_of::<String>() + name.len() + ALLOCATION).sum();
        let sets: usize =
            self.sets.iter().map(|set| size_of::<RoleSet>() + 2 * set.roles.len() + ALLOCATION).sum();
        let denied: BTreeSet<Permission> =
            self.rules.iter().filter(|rule| rule.denies).map(|rule| rule.permission).collect();
        let denials = denied.len() * self.sets.len() * 200;
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

    fn judge(&self, permission: Permission, links: Rules) -> Option<Judge> {
        let rules = self.rules_of(permission).iter().map(|rule| {
            let Permission { resource, action } = permission;
            let role = self.names[usize::from(rule.role)].as_str();
            [role, &self.domain, resource.as_str(), action.as_str(), effect(rule)]
                .map(ToOwned::to_owned)
                .to_vec()
        });
        Judge::new(rules.collect(), links)
            .inspect_err(|error| {
                tracing::error!(error = format!("{error:#}"), "casbin can't be asked; refused")
            })
            .ok()
    }

    fn rules_of(&self, permission: Permission) -> &[Rule] {
        let from = self.rules.partition_point(|rule| rule.permission < permission);
        let to = self.rules.partition_point(|rule| rule.permission <= permission);
        &self.rules[from..to]
    }

    /// What inherits what, and which roles these sets are.
    fn links(&self, sets: &[usize]) -> Rules {
        let inherited =
            self.links.iter().map(|&(role, other)| self.link(&self.names[usize::from(role)], other));
        let held = sets.iter().flat_map(|&set| {
            let roles: BTreeSet<Name> = self.sets[set].roles.iter().copied().collect();
            roles.into_iter().map(move |role| self.link(&subject(set), role))
        });
        inherited.chain(held).collect()
    }

    fn link(&self, who: &str, role: Name) -> Vec<String> {
        vec![who.to_owned(), self.names[usize::from(role)].clone(), (*self.domain).to_owned()]
    }

    fn written(&self, rule: &Rule) -> String {
        let Permission { resource, action } = rule.permission;
        let role = &self.names[usize::from(rule.role)];
        format!("p, {role}, {}, {}, {}", resource.as_str(), action.as_str(), effect(rule))
    }

    /// The shortest way from a role that is held to this one, both included.
    fn path(&self, held: &[Name], to: Name) -> Vec<String> {
        let mut came_from: HashMap<Name, Option<Name>> = held.iter().map(|&role| (role, None)).collect();
        let mut reached = held.to_vec();
        while !came_from.contains_key(&to) && !reached.is_empty() {
            let mut next = Vec::new();
            for from in reached {
                let start = self.links.partition_point(|&(role, _)| role < from);
                for &(_, other) in self.links[start..].iter().take_while(|(role, _)| *role == from) {
                    came_from.entry(other).or_insert_with(|| {
                        next.push(other);
                        Some(from)
                    });
                }
            }
            reached = next;
        }
        let mut path = Vec::new();
        let mut at = came_from.contains_key(&to).then_some(to);
        while let Some(role) = at {
            path.push(self.names[usize::from(role)].clone());
            at = came_from.get(&role).copied().flatten();
        }
        path.reverse();
        path
    }
}

impl Answers {
    fn get(&self, permission: Permission) -> Option<bool> {
        let (word, bit) = place(permission);
        (self.known[word].load(Ordering::Acquire) & bit != 0)
            .then(|| self.allowed[word].load(Ordering::Relaxed) & bit != 0)
    }

    fn put(&self, permission: Permission, allowed: bool) {
        let (word, bit) = place(permission);
        if allowed {
            self.allowed[word].fetch_or(bit, Ordering::Relaxed);
        }
        self.known[word].fetch_or(bit, Ordering::Release);
    }
}

fn place(permission: Permission) -> (usize, u64) {
    (permission.index() / 64, 1 << (permission.index() % 64))
}

fn effect(rule: &Rule) -> &'static str {
    if rule.denies { "deny" } else { "allow" }
}

/// No role can be named like this, nor like `SOMEBODY`: names have no colon.
fn subject(set: usize) -> String {
    format!("set:{set}")
}

const SOMEBODY: &str = "some:body";

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
