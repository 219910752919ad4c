//! Nobody comes in without a right to: every operation of the document is tried, so a new one is covered the
//! day it appears.

use super::support::{Document, Operation, Source, TestApp};
use insula::{authz::OrgPolicy, ids::OrgId, tenancy::PLATFORM};
use serde_json::json;
use std::collections::BTreeSet;

#[tokio::test]
async fn only_the_listed_operations_are_public() {
    let document = Document::of(&TestApp::start().await).await;
    let open: BTreeSet<String> =
        document.operations().iter().filter(|op| op.is_public()).map(ToString::to_string).collect();
    let listed: BTreeSet<String> = include_str!("public.txt").lines().map(ToOwned::to_owned).collect();
    assert_eq!(open, listed, "tests/it/public.txt lists whatever asks nobody who they are");
}

#[tokio::test]
async fn nobody_comes_in_without_good_credentials() {
    let app = TestApp::start().await;
    let document = Document::of(&app).await;
    let acme = app.org().await;
    let good = acme.owner.token.clone().unwrap();
    let strangers = [
        ("unauthenticated", app.anon()),
        ("invalid_token", app.bearer("nonsense")),
        ("invalid_token", app.bearer(&edited(&good))),
        ("invalid_token", app.bearer(&unsigned(&good))),
        ("invalid_api_key", app.bearer("insula_live_nobodyhasthiskeynobodyhasthiskey")),
    ];
    for operation in guarded(&document) {
        for (code, stranger) in &strangers {
            let reply = operation.call(stranger, &operation.some_path()).await;
            assert_eq!(reply.status, 401, "{operation} to {code}: {}", reply.text);
            assert_eq!(reply.expect_problem(401, code)["status"], 401);
            assert!(reply.header("www-authenticate").starts_with("Bearer"), "{operation}");
        }
    }
}

#[tokio::test]
async fn nobody_comes_in_without_the_permission() {
    let app = TestApp::start().await;
    let document = Document::of(&app).await;
    let acme = app.org().await;
    let intern = app.member(acme.id, &acme.slug, "intern").await;
    let idle = app.member(PLATFORM, "platform", "intern").await;
    let (orders, products) =
        (app.api_key(&acme, &["orders:read"]).await, app.api_key(&acme, &["products:read"]).await);
    for operation in guarded(&document) {
        let Some(permission) = operation.permission() else { continue };
        let key = if permission == "orders:read" { &products } else { &orders };
        let (person, key) = if operation.is_operators() { (&idle, None) } else { (&intern, Some(key)) };

        let refused = operation.call(person, &operation.some_path()).await;
        assert_eq!(refused.status, 403, "{operation}: {}", refused.text);
        let problem = refused.expect_problem(403, "permission_denied");
        assert_eq!(problem["permission"], permission, "{operation}");
        assert_eq!(problem["your_roles"], json!(["intern"]), "{operation}");
        assert_ne!(problem["granted_by"], json!([]), "{operation}: whom to ask?");

        if let Some(key) = key {
            let refused = operation.call(key, &operation.some_path()).await;
            assert_eq!(refused.status, 403, "{operation} by key: {}", refused.text);
            assert_eq!(refused.expect_problem(403, "permission_denied")["permission"], permission);
        }
    }
}

#[tokio::test]
async fn each_built_in_role_comes_in_where_the_policy_says_and_nowhere_else() {
    let app = TestApp::start().await;
    let document = Document::of(&app).await;
    let policy = OrgPolicy::build(OrgId::new(), 1, &[], Vec::new()).await.unwrap();
    let acme = app.org().await;
    let roles =
        [("owner", &acme.owner), ("admin", &acme.admin), ("member", &acme.member), ("viewer", &acme.viewer)];
    for operation in guarded(&document).filter(|operation| !operation.is_operators()) {
        let Some(permission) = operation.permission() else { continue };
        let granted_by = policy.granted_by(permission.parse().unwrap());
        for (role, persona) in roles {
            let reply = operation.call(persona, &operation.some_path()).await;
            let came_in = reply.status != 403;
            assert_eq!(came_in, granted_by.contains(&role), "{operation} as {role}: {}", reply.text);
        }
    }
}

#[tokio::test]
async fn membership_is_enough_where_no_permission_is_named_and_is_needed_there() {
    let app = TestApp::start().await;
    let document = Document::of(&app).await;
    let (acme, globex) = (app.org().await, app.org().await);
    for operation in guarded(&document).filter(|operation| operation.permission().is_none()) {
        // One each: some of these end the session.
        let intern = app.member(acme.id, &acme.slug, "intern").await;
        let mut body = operation.body();
        if let Some(org) = body.as_mut().and_then(|body| body.get_mut("org")) {
            *org = acme.slug.clone().into();
        }
        let reply = operation.call_with(&intern, &operation.some_path(), body).await;
        assert!(![401, 403].contains(&reply.status), "{operation}: {} {}", reply.status, reply.text);
        assert!(reply.status < 500, "{operation}: {}", reply.text);

        let stranger = app.signed_in(intern.user(), globex.id).await;
        let reply = operation.call(&stranger, &operation.some_path()).await;
        assert_eq!(reply.status, 403, "{operation} of an org that is not theirs: {}", reply.text);
        reply.expect_problem(403, "not_a_member");
    }
}

#[tokio::test]
async fn an_org_is_kept_out_of_the_operators_rooms_and_operators_out_of_the_orgs() {
    let app = TestApp::start().await;
    let document = Document::of(&app).await;
    let (acme, operator) = (app.org().await, app.operator().await);
    let everything = scopes(&document);
    let everything: Vec<&str> = everything.iter().map(String::as_str).collect();
    let key = app.api_key(&acme, &everything).await;
    for operation in guarded(&document) {
        let path = operation.some_path();
        if operation.is_operators() {
            for outsider in [&acme.owner, &key] {
                let reply = operation.call(outsider, &path).await;
                assert_eq!(reply.status, 403, "{operation}: {}", reply.text);
                reply.expect_problem(403, "operators_only");
            }
            let reply = operation.call(&operator, &path).await;
            assert!(![401, 403].contains(&reply.status), "{operation} by an operator: {}", reply.text);
        } else if operation.permission().is_some() {
            let reply = operation.call(&operator, &path).await;
            assert_eq!(reply.status, 403, "{operation} by an operator: {}", reply.text);
            reply.expect_problem(403, "permission_denied");
        }
    }
}

#[tokio::test]
async fn every_declared_operation_is_mounted_and_documented() {
    let document = Document::of(&TestApp::start().await).await;
    let documented: BTreeSet<String> = document.operations().iter().map(ToString::to_string).collect();
    let declared = declared(&Source::all());
    let unmounted: Vec<_> = declared.difference(&documented).collect();
    assert!(
        unmounted.is_empty(),
        "declared, and in no room's routes(), or in a room not in router.rs: {unmounted:?}"
    );
    let undeclared: Vec<_> = documented.difference(&declared).collect();
    assert!(undeclared.is_empty(), "documented by other means than #[utoipa::path]: {undeclared:?}");
}

/// Elsewhere a route would come in by no door, and into no document. The page of mails is `insula dev`'s alone, and
/// metrics are not where the API is.
#[test]
fn routes_are_added_by_hand_in_five_files_alone() {
    let by_hand = ["route", "route_service", "nest", "nest_service", "fallback", "fallback_service"];
    let by_hand: Vec<String> = Source::all()
        .into_iter()
        .filter(|source| by_hand.iter().any(|call| source.after(&[".", call, "("]).next().is_some()))
        .map(|source| source.path)
        .filter(|path| {
            !["router.rs", "api/health.rs", "api/docs.rs", "api/dev_mail.rs", "worker/metrics.rs"]
                .contains(&path.as_str())
        })
        .collect();
    assert_eq!(by_hand, [""; 0], "use TenantRoutes or PublicRoutes");
}

fn guarded(document: &Document) -> impl Iterator<Item = Operation<'_>> {
    document.operations().into_iter().filter(|operation| !operation.is_public())
}

/// What an owner may give to a key.
pub fn scopes(document: &Document) -> BTreeSet<String> {
    let tenants = guarded(document).filter(|operation| !operation.is_operators());
    tenants.filter_map(|operation| operation.permission().map(ToOwned::to_owned)).collect()
}

/// Each `#[utoipa::path(post, path = "/orders", ..)]`, under its corridor's prefix.
fn declared(sources: &[Source]) -> BTreeSet<String> {
    let mut declared = BTreeSet::new();
    for source in sources {
        for words in source.after(&["utoipa", "::", "path", "("]) {
            let path = words.windows(3).find(|words| words[0] == "path" && words[1] == "=").unwrap();
            let prefix = if source.module()[0] == "operator" { "/operator/v1" } else { "/api/v1" };
            declared.insert(format!("{} {prefix}{}", words[0].to_uppercase(), path[2].trim_matches('"')));
        }
    }
    declared
}

/// One letter of its signature is another.
fn edited(token: &str) -> String {
    let (claims, signature) = token.rsplit_once('.').unwrap();
    let letter = if signature.starts_with('A') { 'B' } else { 'A' };
    format!("{claims}.{letter}{}", &signature[1..])
}

/// With the algorithm `none`, and no signature.
fn unsigned(token: &str) -> String {
    let claims = token.split('.').nth(1).unwrap();
    // {"alg":"none","typ":"JWT"}
    format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{claims}.")
}
