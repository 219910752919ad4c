//! The roles of an org as plain data: who inherits whom, and what follows from it.
//!
//! What Casbin enforces, said again without it: for what must be known of roles that are not in force yet, and for the
//! paths by which a permission is held. Tests hold the two against each other.

use super::{
    CustomRole, Permission, PermissionSet, ROLES,
    built_in::{Line, built_in},
};
use crate::{error::Result, tenancy::TenantTx};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::LazyLock,
};

/// How many of an org's own roles may stand above one another. Casbin denies in silence beyond 10 steps, of which the
/// built-in roles take four.
pub const DEEPEST: usize = 5;

#[derive(Clone, Debug, Default)]
pub struct RoleGraph(BTreeMap<String, RoleNode>);

/// What a role says of itself, implied permissions included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleNode {
    pub inherits: Vec<String>,
    pub allowed: PermissionSet,
    pub denied: PermissionSet,
    pub built_in: bool,
}

/// A permission, and by which roles: `member > viewer` where a member holds it by what they inherit.
pub struct Source {
    pub permission: Permission,
    pub paths: Vec<String>,
}

impl CustomRole {
    /// As it is enforced: whoever holds a permission holds what it implies, and whoever is denied something is denied
    /// what implies it.
    #[must_use]
    pub fn with_implied(self) -> Self {
        let RoleNode { allowed, denied, .. } = RoleNode::from(&self);
        Self { permissions: allowed.texts(), denied: denied.texts(), ..self }
    }

    /// Each word once, where it stood first.
    #[must_use]
    pub fn distinct(mut self) -> Self {
        for texts in [&mut self.inherits, &mut self.permissions, &mut self.denied] {
            let mut seen = BTreeSet::new();
            texts.retain(|text| seen.insert(text.clone()));
        }
        self
    }
}

impl From<&CustomRole> for RoleNode {
    fn from(role: &CustomRole) -> Self {
        Self {
            inherits: role.inherits.clone(),
            allowed: PermissionSet::read(&role.permissions).with_implied(),
            denied: PermissionSet::read(&role.denied).with_implying(),
            built_in: false,
        }
    }
}

impl RoleGraph {
    /// The built-in roles, and an org's own.
    pub fn new(custom: &[CustomRole]) -> Self {
        let mut graph = Self::built_in().clone();
        for role in custom {
            graph.set(role);
        }
        graph
    }

    /// The roles of `policies/roles.csv`, which are the same in every org.
    pub fn built_in() -> &'static Self {
        static BUILT_IN: LazyLock<RoleGraph> =
            LazyLock::new(|| RoleGraph::of(built_in().unwrap_or_default()));
        &BUILT_IN
    }

    /// The roles of the org of `tx`, as it sees them.
    pub async fn load(tx: &mut TenantTx) -> Result<Self> {
        let custom = sqlx::query_as!(
            CustomRole,
            "select name, inherits, permissions, denied from roles where org_id = $1 order by name",
            tx.org().uuid()
        );
        Ok(Self::new(&custom.fetch_all(&mut **tx).await?))
    }

    /// What a built-in role is for, as `policies/roles.csv` says it.
    pub fn about_built_in(role: &str) -> &'static str {
        let about =
            ROLES.lines().find_map(|line| line.strip_prefix("# ")?.strip_prefix(role)?.strip_prefix(": "));
        about.unwrap_or_default()
    }

    /// Of a file that can't be read there are none: [`OrgPolicy::build`](super::OrgPolicy::build) refuses to serve with it.
    fn of(lines: &[Line]) -> Self {
        let mut graph = Self::default();
        for line in lines {
            let node = graph.0.entry(line.role().to_owned()).or_default();
            node.built_in = true;
            match line {
                Line::Rule { permission, denies: false, .. } => node.allowed.insert(*permission),
                Line::Rule { permission, denies: true, .. } => node.denied.insert(*permission),
                Line::Inherits { other, .. } => node.inherits.push(other.clone()),
            }
        }
        graph
    }

    pub fn get(&self, role: &str) -> Option<&RoleNode> {
        self.0.get(role)
    }

    /// By name.
    pub fn roles(&self) -> impl Iterator<Item = (&str, &RoleNode)> {
        self.0.iter().map(|(name, node)| (name.as_str(), node))
    }

    pub fn set(&mut self, role: &CustomRole) {
        self.0.insert(role.name.clone(), role.into());
    }

    pub fn remove(&mut self, role: &str) {
        self.0.remove(role);
    }

    /// The same roles, one of them under another name.
    pub fn rename(&mut self, from: &str, to: &str) {
        if let Some(node) = self.0.remove(from) {
            self.0.insert(to.to_owned(), node);
        }
        let inherited = self.0.values_mut().flat_map(|node| &mut node.inherits);
        inherited.filter(|name| *name == from).for_each(|name| to.clone_into(name));
    }

    /// What whoever holds all of these roles may do: what one of them allows and none of them denies.
    pub fn effective<R: AsRef<str>>(&self, roles: &[R]) -> PermissionSet {
        let reached = self.reached(roles);
        union(&reached, |node| node.allowed) - union(&reached, |node| node.denied)
    }

    /// What these roles deny, whoever allows it.
    pub fn denied<R: AsRef<str>>(&self, roles: &[R]) -> PermissionSet {
        union(&self.reached(roles), |node| node.denied)
    }

    /// Each permission that these roles come to, with the shortest path to each role that says so itself.
    pub fn sources<R: AsRef<str>>(&self, roles: &[R]) -> Vec<Source> {
        self.told(roles, self.effective(roles), |node| node.allowed)
    }

    /// The same for what they deny.
    pub fn denials<R: AsRef<str>>(&self, roles: &[R]) -> Vec<Source> {
        self.told(roles, self.denied(roles), |node| node.denied)
    }

    fn told<R: AsRef<str>>(
        &self,
        roles: &[R],
        what: PermissionSet,
        said: impl Fn(&RoleNode) -> PermissionSet,
    ) -> Vec<Source> {
        let reached = self.reached(roles);
        let sources = what.iter().map(|permission| {
            let saying = reached.iter().filter(|(_, node)| said(node).contains(permission));
            Source { permission, paths: saying.map(|(path, _)| path.join(" > ")).collect() }
        });
        sources.collect()
    }

    /// The roles that `role` is inherited by, near and far.
    pub fn heirs(&self, role: &str) -> Vec<&str> {
        let inherits = |heir: &str| self.reached(&[heir]).iter().any(|(path, _)| path.last() == Some(&role));
        self.0.keys().map(String::as_str).filter(|heir| *heir != role && inherits(heir)).collect()
    }

    /// The way from a role back to itself, if there is one.
    pub fn cycle(&self, role: &str) -> Option<Vec<&str>> {
        let (start, node) = self.0.get_key_value(role)?;
        for next in &node.inherits {
            let back =
                self.reached(&[next]).into_iter().find(|(path, _)| path.last() == Some(&start.as_str()));
            if let Some((path, _)) = back {
                return Some([start.as_str()].into_iter().chain(path).collect());
            }
        }
        None
    }

    /// The longest chain of an org's own roles, in a graph without cycles.
    pub fn depth(&self) -> usize {
        let mut known = BTreeMap::new();
        self.0.keys().map(|role| self.depth_of(role, &mut known)).max().unwrap_or(0)
    }

    fn depth_of<'a>(&'a self, role: &'a str, known: &mut BTreeMap<&'a str, usize>) -> usize {
        if let Some(depth) = known.get(role) {
            return *depth;
        }
        let Some(node) = self.0.get(role).filter(|node| !node.built_in) else { return 0 };
        let below = node.inherits.iter().map(|next| self.depth_of(next, known)).max().unwrap_or(0);
        known.insert(role, below + 1);
        below + 1
    }

    /// Every role that these lead to, themselves first, each by its shortest path. Names of no role lead nowhere.
    fn reached<R: AsRef<str>>(&self, roles: &[R]) -> Vec<(Vec<&str>, &RoleNode)> {
        let (mut reached, mut seen, mut queue) = (Vec::new(), BTreeSet::new(), VecDeque::new());
        queue.extend(roles.iter().map(|role| (Vec::new(), role.as_ref())));
        while let Some((above, role)) = queue.pop_front() {
            let Some((name, node)) = self.0.get_key_value(role) else { continue };
            if !seen.insert(name) {
                continue;
            }
            let mut path: Vec<&str> = above;
            path.push(name);
            queue.extend(node.inherits.iter().map(|next| (path.clone(), next.as_str())));
            reached.push((path, node));
        }
        reached
    }
}

fn union(reached: &[(Vec<&str>, &RoleNode)], what: impl Fn(&RoleNode) -> PermissionSet) -> PermissionSet {
    reached.iter().fold(PermissionSet::default(), |all, (_, node)| all | what(node))
}
