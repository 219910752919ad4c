//! What is wrong with policies: with the files of a release, and with the roles of an org.

use super::{
    Action, CustomRole, Permission, Resource,
    built_in::{Line, built_in, lines},
    judge::{Judge, parse},
};
use casbin::Model as _;
use std::collections::{BTreeMap, BTreeSet};

/// How many of an org's own roles may stand above one another. Casbin denies in silence from 10 steps on, of which the
/// built-in roles take as many as are here.
const DEEPEST: usize = 5;
const DEEPEST_BUILT_IN: usize = 4;
const EFFECT: &str = "some(where (p_eft == allow)) && !some(where (p_eft == deny))";

/// A sentence for each fault of `policies/model.conf` and `policies/roles.csv`.
pub fn files(model: &str, roles: &str) -> Vec<String> {
    let mut found = of_model(model);
    found.extend(of_roles(roles));
    found
}

/// A sentence for each fault of an org's own roles, and of who holds what: each member by a name, with their roles.
pub fn org(custom: &[CustomRole], members: &[(String, Vec<String>)]) -> Vec<String> {
    let mut found = Vec::new();
    let shipped: BTreeSet<&str> = built_in().unwrap_or_default().iter().map(Line::role).collect();
    let own: BTreeSet<&str> = custom.iter().map(|role| role.name.as_str()).collect();
    let exists = |role: &str| shipped.contains(role) || own.contains(role);
    for CustomRole { name, inherits, permissions, denied } in custom {
        if shipped.contains(name.as_str()) {
            found.push(format!("the role {name} is called like a built-in one, and has no effect"));
        }
        for text in permissions.iter().chain(denied).filter(|text| text.parse::<Permission>().is_err()) {
            found.push(format!("the role {name} names the permission {text:?}, which does not exist"));
        }
        for other in inherits.iter().filter(|other| !exists(other)) {
            found.push(format!("the role {name} inherits {other}, which does not exist"));
        }
    }
    let graph: Graph = custom
        .iter()
        .map(|role| (role.name.as_str(), role.inherits.iter().map(String::as_str).collect()))
        .collect();
    found.extend(of_shape(&graph, DEEPEST));
    for (member, roles) in members {
        for role in roles.iter().filter(|role| !exists(role)) {
            found.push(format!("{member} holds the role {role}, which does not exist"));
        }
    }
    found
}

fn of_model(text: &str) -> Vec<String> {
    let say = |what: &str| vec![format!("model.conf: {what}")];
    let model = match parse(text) {
        Ok(model) => model,
        Err(error) => return say(&format!("{error:#}")),
    };
    let missing =
        |section: &&str| model.get_model().get(*section).is_none_or(|it| !it.contains_key(*section));
    if let Some(section) = ["r", "p", "g", "e", "m"].iter().find(|section| missing(section)) {
        return say(&format!("the section of {section} is missing"));
    }
    // Casbin panics on an effect that it does not know.
    if model.get_model()["e"]["e"].value != EFFECT {
        return say("the effect is not that something allows and nothing denies");
    }
    let [read, create, update] = [Action::Read, Action::Create, Action::Update]
        .map(|action| Permission { resource: Resource::Products, action });
    let words = |line: &str| line.split(' ').map(ToOwned::to_owned).collect();
    let rules =
        ["seer here products read allow", "blind here products read deny", "seer here products update allow"];
    let links = ["heir seer here", "both seer here", "both blind here"];
    let (rules, links) = (rules.map(words).to_vec(), links.map(words).to_vec());
    let judge = match Judge::of(model, rules, links) {
        Ok(judge) => judge,
        Err(error) => return say(&format!("{error:#}")),
    };
    let probes = [
        ("seer", "here", read, true, "a role is not let in by its own rule"),
        ("heir", "here", read, true, "a role is not let in by what it inherits"),
        ("both", "here", read, false, "a deny does not beat an allow"),
        ("seer", "there", read, false, "a rule of one org holds in another"),
        ("seer", "here", create, false, "a rule for one action holds for another"),
        ("nobody", "here", update, false, "a rule holds for whoever is no such role"),
    ];
    let wrong = |(who, domain, permission, right, _): &(&str, &str, Permission, bool, &str)| {
        judge.ask(who, domain, *permission).allowed != *right
    };
    probes.iter().filter(|probe| wrong(probe)).map(|(.., what)| format!("model.conf: {what}")).collect()
}

fn of_roles(text: &str) -> Vec<String> {
    let (mut found, mut seen) = (Vec::new(), BTreeMap::new());
    for (number, line) in lines(text) {
        match line {
            Err(fault) => found.push(format!("roles.csv:{number}: {fault}")),
            Ok(line) => match seen.get(&line) {
                Some(first) => found.push(format!("roles.csv:{number}: says again what line {first} says")),
                None => _ = seen.insert(line, number),
            },
        }
    }
    let roles: BTreeSet<&str> = seen.keys().map(Line::role).collect();
    let mut graph = Graph::new();
    for (line, number) in &seen {
        if let Line::Inherits { role, other } = line {
            graph.entry(role).or_default().push(other);
            if !roles.contains(other.as_str()) {
                found.push(format!("roles.csv:{number}: {role} inherits {other}, of which nothing is said"));
            }
        }
    }
    // A role that inherits nothing is a step too.
    for role in roles {
        graph.entry(role).or_default();
    }
    found.extend(of_shape(&graph, DEEPEST_BUILT_IN).into_iter().map(|fault| format!("roles.csv: {fault}")));
    found
}

/// Who inherits whom.
type Graph<'a> = BTreeMap<&'a str, Vec<&'a str>>;

fn of_shape(graph: &Graph<'_>, deepest: usize) -> Vec<String> {
    let cycles: BTreeSet<String> = graph.keys().filter_map(|role| cycle(graph, role)).collect();
    if !cycles.is_empty() {
        return cycles.into_iter().map(|cycle| format!("the roles inherit one another: {cycle}")).collect();
    }
    let mut depths = BTreeMap::new();
    let deep = graph.keys().map(|role| (depth(graph, role, &mut depths), *role));
    let (depth, role) = deep.max().unwrap_or_default();
    let fault = format!("{depth} roles stand above one another below {role}, itself included; {deepest} may");
    (depth > deepest).then_some(fault).into_iter().collect()
}

/// The way from a role back to itself, told from the first of its names on.
fn cycle(graph: &Graph<'_>, start: &str) -> Option<String> {
    let mut ways: Vec<Vec<&str>> = vec![vec![start]];
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop() {
        for &next in way.last().and_then(|last| graph.get(last)).into_iter().flatten() {
            if next == start {
                let first = way.iter().min().copied().unwrap_or(start);
                return (first == start).then(|| format!("{} > {start}", way.join(" > ")));
            }
            if seen.insert(next) {
                ways.push(way.iter().copied().chain([next]).collect());
            }
        }
    }
    None
}

/// How many roles stand above one another from this one down; in a graph without cycles.
fn depth<'a>(graph: &Graph<'a>, role: &'a str, known: &mut BTreeMap<&'a str, usize>) -> usize {
    if let Some(depth) = known.get(role) {
        return *depth;
    }
    let Some(below) = graph.get(role) else { return 0 };
    let depth = 1 + below.iter().map(|next| depth(graph, next, known)).max().unwrap_or(0);
    known.insert(role, depth);
    depth
}

#[cfg(test)]
mod tests {
    use super::super::{MODEL, ROLES};
    use super::*;

    #[test]
    fn nothing_is_wrong_with_the_files_of_this_release() {
        assert_eq!(files(MODEL, ROLES), [""; 0]);
    }

    #[test]
    fn each_way_to_spoil_the_model_is_found() {
        for (right, wrong, found) in [
            ("r.dom == p.dom && ", "", "a rule of one org holds in another"),
            ("r.act == p.act && ", "", "a rule for one action holds for another"),
            (" && !some(where (p.eft == deny))", "", "the effect is not"),
            ("e = some(where (p.eft == allow))", "e = priority(p.eft)", "the effect is not"),
            ("g(r.sub, p.sub, r.dom)", "r.sub == p.sub", "a role is not let in by what it inherits"),
            ("g(r.sub, p.sub, r.dom)", "true", "a rule holds for whoever is no such role"),
            ("m = r.dom", "m = r.dom ==", "model.conf: "),
            ("[matchers]", "[mathcers]", "the section of m is missing"),
            ("r = sub, dom, obj, act", "r = sub, obj, act", "model.conf: "),
            ("[role_definition]\ng = _, _, _", "", "the section of g is missing"),
        ] {
            assert!(MODEL.contains(right), "{right}");
            let all = files(&MODEL.replacen(right, wrong, 1), ROLES);
            assert!(all.iter().any(|fault| fault.contains(found)), "{right:?} as {wrong:?}: {all:?}");
        }
    }

    #[test]
    fn each_fault_of_the_roles_file_is_found_with_its_line() {
        for (line, found) in [
            ("p, clerk, produce, read, allow", "names the resource \"produce\""),
            ("p, clerk, products, peek, allow", "names the action \"peek\""),
            ("p, clerk, products, read, perhaps", "names the effect \"perhaps\""),
            ("p, clerk, products, read", "is neither p with 4 words nor g with 2"),
            ("q, clerk, viewer", "is neither p with 4 words nor g with 2"),
            ("g, clerk, vendor", "clerk inherits vendor, of which nothing is said"),
            ("g, admin,member", "says again what line"),
        ] {
            let text = format!("{ROLES}{line}\n");
            let found = format!("roles.csv:{}: ", text.lines().count())
                + if line.starts_with('g') { found } else { "" };
            let all = files(MODEL, &text);
            assert!(all.len() == 1 && all[0].starts_with(&found), "{line}: {all:?}");
        }
        assert_eq!(
            files(MODEL, &format!("{ROLES}g, viewer, owner\n")),
            ["roles.csv: the roles inherit one another: admin > member > viewer > owner > admin"]
        );
        assert_eq!(
            files(MODEL, &format!("{ROLES}g, viewer, viewer\n")),
            ["roles.csv: the roles inherit one another: viewer > viewer"]
        );
        let deep = files(MODEL, &format!("{ROLES}g, emperor, owner\n"));
        assert_eq!(
            deep,
            ["roles.csv: 5 roles stand above one another below emperor, itself included; 4 may"]
        );
    }

    fn role(name: &str, inherits: &[&str]) -> CustomRole {
        let inherits = inherits.iter().map(|other| (*other).to_owned()).collect();
        CustomRole { name: name.to_owned(), inherits, ..CustomRole::default() }
    }

    #[test]
    fn each_fault_of_an_org_is_found() {
        let good = [role("clerk", &["viewer"]), role("chief", &["clerk", "admin"])];
        let members = |roles: &[&str]| {
            vec![("usr_1".to_owned(), roles.iter().map(|role| (*role).to_owned()).collect())]
        };
        assert_eq!(org(&good, &members(&["chief", "owner"])), [""; 0]);
        assert_eq!(
            org(&good, &members(&["clerk", "intern"])),
            ["usr_1 holds the role intern, which does not exist"]
        );
        let odd = CustomRole {
            permissions: vec!["products:fly".to_owned()],
            denied: vec!["x".to_owned()],
            ..role("odd", &["gone"])
        };
        assert_eq!(
            org(&[odd, role("admin", &[])], &[]),
            [
                "the role odd names the permission \"products:fly\", which does not exist",
                "the role odd names the permission \"x\", which does not exist",
                "the role odd inherits gone, which does not exist",
                "the role admin is called like a built-in one, and has no effect",
            ]
        );
        let ring = [role("a", &["b"]), role("b", &["c"]), role("c", &["a"]), role("d", &["a"])];
        assert_eq!(org(&ring, &[]), ["the roles inherit one another: a > b > c > a"]);
        let names = ["a", "b", "c", "d", "e", "f"];
        let tower: Vec<CustomRole> =
            (0..6).map(|at| role(names[at], if at == 0 { &["owner"] } else { &names[at - 1..at] })).collect();
        assert_eq!(org(&tower[..5], &[]), [""; 0]);
        assert_eq!(org(&tower, &[]), ["6 roles stand above one another below f, itself included; 5 may"]);
    }
}
