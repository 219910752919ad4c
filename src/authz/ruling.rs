//! Why a policy decides as it does: the rule that settled it, and the roles that lead there.

use super::{
    OrgPolicy, Permission,
    org_policy::{DENIALS, Name, Rule, effect},
};
use std::{collections::HashMap, sync::Arc};

/// A decision, with what decided it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    pub allowed: bool,
    /// As `policies/roles.csv` writes it; none where no rule applies, which refuses.
    pub rule: Option<String>,
    /// The roles that lead to the rule, from one that is held to the one that the rule is about.
    pub path: Vec<String>,
}

impl Ruling {
    const NONE: Self = Self { allowed: false, rule: None, path: Vec::new() };
}

/// No role can be named like this: names have no colon.
const SOMEBODY: &str = "some:body";

impl OrgPolicy {
    /// What decides for whoever holds these roles.
    pub fn explain(&self, roles: &[String], permission: Permission) -> Ruling {
        let mut held: Vec<Name> = roles.iter().filter_map(|role| self.number(role)).collect();
        held.sort_unstable();
        held.dedup();
        let mut links = self.links(&[]);
        links.extend(held.iter().map(|&role| self.link(SOMEBODY, role)));
        let Some(judge) = self.judge(permission, links) else { return Ruling::NONE };
        let verdict = judge.ask(SOMEBODY, self.domain(), permission);
        // A deny ends the matter; of several rules that allow, the first will do.
        let decisive = if verdict.allowed { verdict.matched.first() } else { verdict.matched.last() };
        match decisive.and_then(|&at| self.rules_of(permission).get(at)) {
            None => Ruling { allowed: verdict.allowed, ..Ruling::NONE },
            Some(rule) => Ruling {
                allowed: verdict.allowed,
                rule: Some(self.written(*rule)),
                path: self.path(&held, rule.role),
            },
        }
    }

    /// The rule that denies a permission to members who hold these roles; none where it is only that nothing allows it.
    pub fn denial(&self, roles: &[String], permission: Permission) -> Option<Arc<Ruling>> {
        if !self.rules_of(permission).iter().any(|rule| rule.denies) {
            return None;
        }
        let key = self.set_of(roles).map(|set| (set, permission));
        let known = key.and_then(|key| self.denials.read().get(&key).cloned());
        let ruling = known.unwrap_or_else(|| {
            let ruling = Arc::new(self.explain(roles, permission));
            if let Some(key) = key {
                let mut denials = self.denials.write();
                if denials.len() >= DENIALS {
                    denials.clear();
                }
                denials.insert(key, Arc::clone(&ruling));
            }
            ruling
        });
        (!ruling.allowed && ruling.rule.is_some()).then_some(ruling)
    }

    fn written(&self, rule: Rule) -> String {
        let Permission { resource, action } = rule.permission;
        format!("p, {}, {}, {}, {}", self.name(rule.role), resource.as_str(), action.as_str(), effect(rule))
    }

    /// The shortest way from a role that is held to this one, both included.
    fn path(&self, held: &[Name], to: Name) -> Vec<String> {
        let mut came_from: HashMap<Name, Option<Name>> = held.iter().map(|&role| (role, None)).collect();
        let mut reached = held.to_vec();
        while !came_from.contains_key(&to) && !reached.is_empty() {
            let mut next = Vec::new();
            for from in reached {
                for other in self.inherited_by(from) {
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
            path.push(self.name(role).to_owned());
            at = came_from.get(&role).copied().flatten();
        }
        path.reverse();
        path
    }
}

#[cfg(test)]
mod tests {
    use super::super::CustomRole;
    use super::*;
    use crate::ids::OrgId;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    async fn shop() -> OrgPolicy {
        let role = |name: &str, inherits: &[&str], permissions: &[&str], denied: &[&str]| CustomRole {
            name: name.to_owned(),
            inherits: texts(inherits),
            permissions: texts(permissions),
            denied: texts(denied),
        };
        let custom = [
            role("clerk", &["viewer"], &["orders:create"], &[]),
            role("trainee", &["clerk"], &[], &["orders:create"]),
        ];
        let sets = vec![texts(&["clerk"]), texts(&["clerk", "trainee"]), texts(&["owner", "trainee"])];
        OrgPolicy::build(OrgId::new(), 1, &custom, sets).await.unwrap()
    }

    #[tokio::test]
    async fn a_decision_names_its_rule_and_the_roles_that_lead_to_it() {
        let policy = shop().await;
        let of =
            |roles: &[&str], permission: &str| policy.explain(&texts(roles), permission.parse().unwrap());
        let ruling = of(&["clerk"], "products:read");
        assert_eq!(ruling.rule.as_deref(), Some("p, viewer, products, read, allow"));
        assert_eq!((ruling.allowed, ruling.path), (true, texts(&["clerk", "viewer"])));

        let ruling = of(&["owner", "trainee"], "orders:create");
        assert_eq!(ruling.rule.as_deref(), Some("p, trainee, orders, create, deny"));
        assert_eq!((ruling.allowed, ruling.path), (false, texts(&["trainee"])));

        for (roles, permission) in
            [(&["clerk"][..], "products:delete"), (&[], "products:read"), (&["x"], "org:read")]
        {
            assert_eq!(of(roles, permission), Ruling::NONE, "{roles:?}");
        }
    }

    #[tokio::test]
    async fn a_denial_is_a_rule_that_denies_and_not_the_lack_of_one_that_allows() {
        let policy = shop().await;
        let of = |roles: &[&str], permission: &str| policy.denial(&texts(roles), permission.parse().unwrap());
        for _ in 0..2 {
            let denial = of(&["clerk", "trainee"], "orders:create").unwrap();
            assert_eq!(denial.rule.as_deref(), Some("p, trainee, orders, create, deny"));
            // Held by nobody, and so not remembered.
            assert_eq!(of(&["trainee"], "orders:create").as_ref(), Some(&denial));
            assert_eq!(of(&["clerk"], "orders:create"), None, "is allowed");
            assert_eq!(of(&["clerk"], "products:delete"), None, "nothing speaks of it");
        }
    }
}
