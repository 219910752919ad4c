//! Random histories of roles that are made, changed, deleted and given, against a plain model that knows no shortcuts:
//! whatever the guard lets pass, nobody comes to hold what the one who did it did not.

use super::{CustomRole, DEEPEST, OrgPolicy, Permission, PermissionSet, RoleGraph, guard};
use crate::{error::Error, ids::OrgId};
use proptest::{collection::vec, prelude::*, sample::select, test_runner::TestRunner};
use std::collections::{BTreeMap, BTreeSet};

const NAMES: [&str; 8] = ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"];
const BUILT_IN: [&str; 4] = ["viewer", "member", "admin", "owner"];
/// With `orders:cancel_own`, which `orders:cancel` implies.
const PERMISSIONS: [&str; 7] = [
    "products:read",
    "products:read_cost",
    "products:delete",
    "orders:cancel",
    "orders:cancel_own",
    "roles:update",
    "users:update",
];
const MEMBERS: usize = 5;

/// Which role, by its place among those that there are: the org's own, the deepest first, then the built-in ones.
type Pick = usize;

#[derive(Clone, Debug)]
struct Draft {
    /// None: one that is free.
    name: Option<&'static str>,
    inherits: Vec<Pick>,
    permissions: Vec<&'static str>,
    denied: Vec<&'static str>,
}

#[derive(Clone, Debug)]
enum Act {
    Create(Draft),
    /// What becomes of a role, and whether it keeps its name.
    Update(Pick, Draft, bool),
    Delete(Pick, Option<Pick>),
    Assign(usize, Vec<Pick>),
    /// Takes one of their roles from somebody.
    Take(usize, usize),
}

fn pick() -> impl Strategy<Value = Pick> {
    prop_oneof![2 => Just(0), 3 => 0..NAMES.len() + BUILT_IN.len()]
}

fn draft() -> impl Strategy<Value = Draft> {
    let permission = || select(&PERMISSIONS[..]);
    (
        proptest::option::weighted(0.2, select(&NAMES[..])),
        vec(pick(), 0..=2),
        vec(permission(), 0..=2),
        vec(permission(), 0..=1),
    )
        .prop_map(|(name, inherits, permissions, mut denied)| {
            denied.retain(|text| !permissions.contains(text));
            Draft { name, inherits, permissions, denied }
        })
}

fn act() -> impl Strategy<Value = (usize, Act)> {
    let act = prop_oneof![
        4 => draft().prop_map(Act::Create),
        3 => (pick(), draft(), any::<bool>()).prop_map(|(role, draft, keep)| Act::Update(role, draft, keep)),
        1 => (pick(), proptest::option::of(pick())).prop_map(|(role, to)| Act::Delete(role, to)),
        4 => (0..MEMBERS, vec(pick(), 1..=3)).prop_map(|(who, roles)| Act::Assign(who, roles)),
        3 => (0..MEMBERS, 0..3_usize).prop_map(|(who, at)| Act::Take(who, at)),
    ];
    // The first member is an owner at the start, and does much of it: else little is left to be done.
    (prop_oneof![Just(0), 0..MEMBERS], act)
}

/// The org as a child would write it down.
#[derive(Clone, Default)]
struct Naive {
    roles: BTreeMap<String, CustomRole>,
    members: Vec<Vec<String>>,
}

impl Naive {
    fn founded() -> Self {
        let members = [&["owner"][..], &["admin"], &["member"], &["viewer"], &["viewer", "nothing"]];
        let members = members.map(|roles| roles.iter().map(|role| (*role).to_owned()).collect());
        Self { roles: BTreeMap::new(), members: members.into() }
    }

    fn graph(&self) -> RoleGraph {
        RoleGraph::new(&self.roles.values().cloned().collect::<Vec<_>>())
    }

    /// What a role says itself and what it inherits, gone through one by one: allowed and denied.
    fn say(&self, role: &str, allowed: &mut BTreeSet<String>, denied: &mut BTreeSet<String>, left: usize) {
        assert!(left > 0, "{role} has no end");
        if let Some(CustomRole { inherits, permissions, denied: refused, .. }) = self.roles.get(role) {
            for text in permissions {
                allowed.insert(text.clone());
                if text == "orders:cancel" {
                    allowed.insert("orders:cancel_own".to_owned());
                }
            }
            for text in refused {
                denied.insert(text.clone());
                if text == "orders:cancel_own" {
                    denied.insert("orders:cancel".to_owned());
                }
            }
            for other in inherits {
                self.say(other, allowed, denied, left - 1);
            }
        } else if let Some(at) = BUILT_IN.iter().position(|known| *known == role) {
            for below in &BUILT_IN[..=at] {
                allowed.extend(RoleGraph::built_in().get(below).unwrap().allowed.texts());
            }
        }
    }

    fn may(&self, roles: &[String]) -> BTreeSet<String> {
        let (mut allowed, mut denied) = (BTreeSet::new(), BTreeSet::new());
        for role in roles {
            self.say(role, &mut allowed, &mut denied, 20);
        }
        &allowed - &denied
    }

    fn depth(&self, role: &str) -> usize {
        let Some(role) = self.roles.get(role) else { return 0 };
        1 + role.inherits.iter().map(|other| self.depth(other)).max().unwrap_or(0)
    }

    fn replace(&mut self, from: &str, to: &str) {
        let inherited = self.roles.values_mut().flat_map(|role| &mut role.inherits);
        for name in inherited.chain(self.members.iter_mut().flatten()).filter(|name| *name == from) {
            to.clone_into(name);
        }
    }

    fn owners(&self) -> Vec<Vec<String>> {
        self.members.iter().filter(|roles| roles.iter().any(|role| role == "owner")).cloned().collect()
    }

    fn picked(&self, pick: Pick) -> String {
        let mut all: Vec<&str> = self.roles.keys().map(String::as_str).collect();
        all.sort_by_key(|role| std::cmp::Reverse(self.depth(role)));
        all.extend(BUILT_IN);
        all[pick % all.len()].to_owned()
    }

    fn drafted(&self, draft: &Draft) -> CustomRole {
        let free = NAMES.into_iter().find(|name| !self.roles.contains_key(*name));
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        CustomRole {
            name: draft.name.or(free).unwrap_or("c0").to_owned(),
            inherits: draft.inherits.iter().map(|pick| self.picked(*pick)).collect(),
            permissions: owned(&draft.permissions),
            denied: owned(&draft.denied),
        }
    }

    /// As the rooms do it, with the guard's leave.
    fn act(&self, writer: usize, act: &Act) -> Result<Self, Error> {
        let (graph, mut next) = (self.graph(), self.clone());
        let own = graph.effective(&self.members[writer]);
        let changed = match act {
            Act::Create(draft) => {
                let rules = self.drafted(draft);
                let changed = guard::create(&graph, own, &rules)?;
                next.roles.insert(rules.name.clone(), rules);
                changed
            }
            Act::Update(role, draft, keeps_name) => {
                let (name, mut rules) = (self.picked(*role), self.drafted(draft));
                if *keeps_name {
                    rules.name.clone_from(&name);
                }
                let changed = guard::update(&graph, own, &name, &rules)?;
                next.roles.remove(&name);
                next.replace(&name, &rules.name);
                next.roles.insert(rules.name.clone(), rules);
                changed
            }
            Act::Delete(role, move_to) => {
                let (name, move_to) = (self.picked(*role), move_to.map(|pick| self.picked(pick)));
                let changed = guard::delete(&graph, own, &name, move_to.as_deref())?;
                if move_to.is_none() && self.members.iter().flatten().any(|role| *role == name) {
                    return Err(Error::conflict("role_in_use", "members hold it"));
                }
                next.roles.remove(&name);
                next.replace(&name, &move_to.unwrap_or(name.clone()));
                changed
            }
            Act::Assign(who, roles) => {
                let roles: Vec<String> = roles.iter().map(|pick| self.picked(*pick)).collect();
                guard::assign(&graph, own, &self.members[*who], &roles)?;
                next.members[*who] = roles;
                graph.clone()
            }
            Act::Take(who, at) => {
                let before = &self.members[*who];
                let mut roles = before.clone();
                roles.remove(at % roles.len());
                if roles.is_empty() {
                    return Err(Error::invalid("/roles", "none_left", "somebody has a role"));
                }
                guard::assign(&graph, own, before, &roles)?;
                next.members[*who] = roles;
                graph.clone()
            }
        };
        guard::keeps_an_owner((&graph, &self.owners()), (&changed, &next.owners()))?;
        for roles in &next.members {
            let (ours, theirs) = (changed.effective(roles).texts(), next.may(roles));
            assert_eq!(ours.into_iter().collect::<BTreeSet<_>>(), theirs, "{roles:?}");
        }
        Ok(next)
    }
}

#[test]
fn nobody_comes_to_hold_what_the_one_who_gave_it_did_not() {
    let mut passed: BTreeMap<(&str, bool), u32> = BTreeMap::new();
    let mut refused: BTreeMap<String, u32> = BTreeMap::new();
    let counts = std::cell::RefCell::new((&mut passed, &mut refused));
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let run = runner.run(&vec(act(), 1..80), |history| {
        let mut org = Naive::founded();
        for (writer, act) in history {
            let held = org.may(&org.members[writer]);
            let next = match org.act(writer, &act) {
                Ok(next) => next,
                Err(error) => {
                    *counts.borrow_mut().1.entry(code(&error)).or_default() += 1;
                    continue;
                }
            };
            for (who, roles) in next.members.iter().enumerate() {
                let before = org.may(&org.members[who]);
                let given: BTreeSet<_> = &next.may(roles) - &before;
                prop_assert!(given.is_subset(&held), "{writer} gave {who} {given:?} by {act:?}");
            }
            for role in next.roles.keys() {
                prop_assert!(next.depth(role) <= DEEPEST, "{role} stands too deep by {act:?}");
            }
            let whole = next.may(&["owner".to_owned()]);
            let answers = next.owners().iter().any(|roles| next.may(roles) == whole);
            prop_assert!(answers, "nobody answers for the org after {act:?}");
            let kind = match act {
                Act::Create(_) => "create",
                Act::Update(..) => "update",
                Act::Delete(..) => "delete",
                Act::Assign(..) | Act::Take(..) => "assign",
            };
            *counts.borrow_mut().0.entry((kind, writer == 0)).or_default() += 1;
            org = next;
        }
        Ok(())
    });
    run.unwrap();
    // A guard that lets nothing pass would be as safe.
    for kind in ["create", "update", "delete", "assign"] {
        for is_owner in [true, false] {
            let count = passed.get(&(kind, is_owner)).copied().unwrap_or_default();
            assert!(
                count > 5,
                "{kind} by an owner: {is_owner}, passed {count} times: {passed:?} {refused:?}"
            );
        }
    }
    for why in ["beyond_your_own", "cycle", "too_deep", "last_owner", "role_in_use", "role_taken"] {
        assert!(
            refused.get(why).is_some_and(|count| *count > 0),
            "nothing was refused for {why}: {refused:?}"
        );
    }
}

fn code(error: &Error) -> String {
    match error {
        Error::Forbidden(problem) => problem.code.to_owned(),
        Error::Invalid(flaws) => flaws[0].code.to_owned(),
        Error::Conflict { code, .. } | Error::Malformed { code, .. } => (*code).to_owned(),
        other => other.to_string(),
    }
}

#[tokio::test]
async fn casbin_enforces_what_the_plain_roles_say_down_to_the_deepest() {
    let role = |name: &str, inherits: &str, permission: &str, denied: &[&str]| CustomRole {
        name: name.to_owned(),
        inherits: vec![inherits.to_owned()],
        permissions: vec![permission.to_owned()],
        denied: denied.iter().map(|text| (*text).to_owned()).collect(),
    };
    let custom = [
        role("c1", "owner", "orders:cancel", &[]),
        role("c2", "c1", "products:read", &["products:delete"]),
        role("c3", "c2", "products:read", &[]),
        role("c4", "c3", "products:read", &[]),
        role("c5", "c4", "products:read", &[]),
        role("no-cancel", "viewer", "orders:cancel", &["orders:cancel_own"]),
    ];
    let graph = RoleGraph::new(&custom);
    assert_eq!(graph.depth(), DEEPEST);
    let sets = [&["c5"][..], &["c1"], &["no-cancel"], &["c1", "no-cancel"], &["c5", "viewer"], &["nobody"]];
    let sets = sets.map(|set| set.iter().map(|role| (*role).to_owned()).collect::<Vec<_>>()).to_vec();
    let enforced: Vec<_> = custom.into_iter().map(CustomRole::with_implied).collect();
    let policy = OrgPolicy::build(OrgId::new(), 1, &enforced, sets.clone()).await.unwrap();
    for roles in &sets {
        let set = policy.set_of(roles).unwrap();
        let enforced: PermissionSet =
            Permission::all().filter(|permission| policy.set_may(set, *permission)).collect();
        assert_eq!(enforced, graph.effective(roles), "{roles:?}");
    }
    let viewer =
        graph.sources(&["c5"]).into_iter().find(|source| source.permission.to_string() == "org:read");
    assert_eq!(viewer.unwrap().paths, ["c5 > c4 > c3 > c2 > c1 > owner > admin > member > viewer"]);
}
