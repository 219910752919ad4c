//! Ours against a plain Casbin enforcer that is loaded with everything at once: the same answers, or a red test.

use super::{Action, CustomRole, MODEL, OrgPolicy, Permission, ROLES, Resource};
use crate::ids::OrgId;
use casbin::{CoreApi as _, DefaultModel, Enforcer, MemoryAdapter, MgmtApi as _};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::{collections::BTreeSet, thread};

const REQUESTS: usize = 100_000;
/// Of each pair of policies.
const EACH: usize = 50;
const THREADS: usize = 2;

/// Two orgs, and people who are members of one of them or both.
struct World {
    orgs: [OrgId; 2],
    custom: [Vec<CustomRole>; 2],
    /// The roles that each person holds in each org; none where they are no member.
    held: Vec<[Vec<String>; 2]>,
}

impl World {
    fn random(rng: &mut StdRng) -> Self {
        let custom = [(); 2].map(|()| roles(rng));
        let names: [Vec<String>; 2] = custom.each_ref().map(|custom| {
            let own = custom.iter().map(|role| role.name.clone());
            own.chain(["viewer", "member", "admin", "owner", "no-such-role"].map(Into::into)).collect()
        });
        let held = (0..6).map(|_| names.each_ref().map(|names| some(rng, names, 4))).collect();
        Self { orgs: [OrgId::new(), OrgId::new()], custom, held }
    }

    async fn ours(&self) -> Vec<OrgPolicy> {
        let mut policies = Vec::new();
        for org in 0..2 {
            let sets = self.held.iter().map(|held| held[org].clone()).filter(|held| !held.is_empty());
            policies
                .push(OrgPolicy::build(self.orgs[org], 1, &self.custom[org], sets.collect()).await.unwrap());
        }
        policies
    }

    /// As anybody would load it: the file's lines and the org's rows, each under its org.
    async fn plain(&self) -> Enforcer {
        let (mut rules, mut links) = (BTreeSet::new(), BTreeSet::new());
        for (org, custom) in self.orgs.iter().map(OrgId::to_string).zip(&self.custom) {
            for line in ROLES.lines() {
                match line.split(',').map(str::trim).collect::<Vec<_>>()[..] {
                    ["p", role, resource, action, effect] => {
                        rules.insert(
                            [role, org.as_str(), resource, action, effect].map(str::to_owned).to_vec(),
                        );
                    }
                    ["g", role, other] => {
                        links.insert([role, other, org.as_str()].map(str::to_owned).to_vec());
                    }
                    _ => {}
                }
            }
            for role in custom {
                for (permissions, effect) in [(&role.permissions, "allow"), (&role.denied, "deny")] {
                    for (resource, action) in permissions.iter().filter_map(|text| text.split_once(':')) {
                        rules.insert(
                            [&role.name, org.as_str(), resource, action, effect].map(str::to_owned).to_vec(),
                        );
                    }
                }
                links.extend(
                    role.inherits.iter().map(|other| vec![role.name.clone(), other.clone(), org.clone()]),
                );
            }
        }
        for (person, held) in self.held.iter().enumerate() {
            for (org, roles) in self.orgs.iter().zip(held) {
                links.extend(
                    roles.iter().map(|role| vec![format!("user:{person}"), role.clone(), org.to_string()]),
                );
            }
        }
        let model = DefaultModel::from_str(MODEL).await.unwrap();
        let mut plain = Enforcer::new(model, MemoryAdapter::default()).await.unwrap();
        assert!(plain.add_policies(rules.into_iter().collect()).await.unwrap());
        assert!(plain.add_grouping_policies(links.into_iter().collect()).await.unwrap());
        plain
    }
}

/// Roles above one another up to five deep, some of which deny.
fn roles(rng: &mut StdRng) -> Vec<CustomRole> {
    let mut roles: Vec<(CustomRole, usize)> = Vec::new();
    for number in 0..rng.random_range(0..10) {
        let name = format!("role-{number}");
        let below: Vec<String> =
            roles.iter().filter(|(_, depth)| *depth < 5).map(|(role, _)| role.name.clone()).collect();
        let mut inherits = some(rng, &below, 2);
        if rng.random_bool(0.3) {
            inherits.push(["viewer", "member", "admin", "no-such-role"][rng.random_range(0..4)].to_owned());
        }
        let depth =
            roles.iter().filter(|(role, _)| inherits.contains(&role.name)).map(|(_, depth)| *depth).max();
        // Few of them, so that they meet.
        let permissions: Vec<String> = RULED
            .iter()
            .flat_map(|&resource| {
                Action::ALL.iter().map(move |&action| Permission { resource, action }.to_string())
            })
            .chain(["gone:read".to_owned()])
            .collect();
        let role = CustomRole {
            name,
            inherits,
            permissions: some(rng, &permissions, 6),
            denied: some(rng, &permissions, 2),
        };
        roles.push((role, depth.unwrap_or(0) + 1));
    }
    roles.into_iter().map(|(role, _)| role).collect()
}

fn some(rng: &mut StdRng, of: &[String], most: usize) -> Vec<String> {
    let count = rng.random_range(0..=most);
    let some: BTreeSet<&String> =
        (0..count).filter(|_| !of.is_empty()).map(|_| &of[rng.random_range(0..of.len())]).collect();
    some.into_iter().cloned().collect()
}

const RULED: [Resource; 3] = [Resource::Products, Resource::Orders, Resource::Users];

/// How many of these requests were allowed, and how many would have been if nothing denied.
async fn compare(seed: u64, requests: usize) -> (usize, usize) {
    let mut rng = StdRng::seed_from_u64(seed);
    // What roles have rules on is asked for thrice as often, or noes would crowd out the rest as resources come along.
    let ruled = |permission: &Permission| RULED.contains(&permission.resource);
    let everything: Vec<Permission> = Permission::all()
        .chain(Permission::all().filter(ruled))
        .chain(Permission::all().filter(ruled))
        .collect();
    let (mut allowed, mut denied) = (0, 0);
    for _ in 0..requests / EACH {
        let world = World::random(&mut rng);
        let (ours, plain) = (world.ours().await, world.plain().await);
        for request in 0..EACH {
            let (person, org) = (rng.random_range(0..world.held.len()), rng.random_range(0..2));
            let permission = everything[rng.random_range(0..everything.len())];
            let held = &world.held[person][org];
            let our = ours[org].set_of(held).is_some_and(|set| ours[org].set_may(set, permission));
            let (subject, domain) = (format!("user:{person}"), world.orgs[org].to_string());
            let Permission { resource, action } = permission;
            let theirs = plain.enforce((&subject, &domain, resource.as_str(), action.as_str())).unwrap();
            assert_eq!(our, theirs, "{held:?} {permission} under {:?} (seed {seed})", world.custom[org]);
            allowed += usize::from(theirs);
            // Explaining asks again: done for some, it is done for all.
            if request % 10 == 0 {
                let ruling = ours[org].explain(held, permission);
                assert_eq!(ruling.allowed, theirs, "explained otherwise than decided (seed {seed})");
                let allows = ruling.rule.as_ref().is_some_and(|rule| rule.ends_with("allow"));
                assert!(!theirs || allows, "{ruling:?}");
                denied += usize::from(!theirs && ruling.rule.is_some());
            }
        }
    }
    (allowed, denied)
}

#[test]
fn ours_and_a_plain_enforcer_give_the_same_hundred_thousand_answers() {
    let share = |seed| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(compare(seed, REQUESTS / THREADS))
    };
    let (allowed, denied) = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS as u64).map(|seed| scope.spawn(move || share(seed))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .fold((0, 0), |(a, d), (more, other)| (a + more, d + other))
    });
    // A comparison of noes with noes would prove nothing.
    assert!(
        allowed > REQUESTS / 20 && denied > REQUESTS / 2_000,
        "{allowed} allowed, {denied} denied by a rule"
    );
}
