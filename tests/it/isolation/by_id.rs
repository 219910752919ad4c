//! An id of another org answers like one that never was.

use super::{body, id_in, make, make_within, tenants};
use crate::{
    doors::scopes,
    support::{Document, TestApp, another_of_its_kind},
};

#[tokio::test]
async fn an_id_of_another_org_answers_like_one_that_never_was_and_nothing_happens_to_what_it_names() {
    let app = TestApp::start().await;
    let document = Document::of(&app).await;
    let (acme, globex) = (app.org().await, app.org().await);
    let scopes = scopes(&document);
    let key = app.api_key(&globex, &scopes.iter().map(String::as_str).collect::<Vec<_>>()).await;

    for operation in tenants(&document).filter(|operation| operation.path.contains('{')) {
        let name = operation.to_string();
        // `/orders/{id}/pay` is about one of `/orders`.
        let (collection, rest) = operation.path.split_once("/{").unwrap();
        let (_, tail) = rest.split_once('}').unwrap();
        let (theirs, own) = (
            make(&app, &acme.owner, &name, collection).await,
            make(&app, &globex.owner, &name, collection).await,
        );
        // What is within is named by its own id as well, which is right as long as only the other one is tried.
        let (theirs_within, own_within) = match tail.split_once("/{") {
            None => (theirs.clone(), own.clone()),
            Some((within, _)) => (
                make_within(&acme.owner, &name, &theirs, within).await,
                make_within(&globex.owner, &name, &own, within).await,
            ),
        };
        let tail = match tail.split_once("/{") {
            None => tail.to_owned(),
            Some((_, rest)) => {
                let after = rest.split_once('}').unwrap().1;
                assert!(!after.contains('{'), "{name}: teach this test to go deeper");
                format!("{}{after}", &theirs_within[theirs.len()..])
            }
        };
        let before = acme.owner.get(&theirs_within).await;
        before.expect(200);

        let at = |id: &str| format!("{collection}/{id}{tail}");
        let id = id_in(&theirs);
        let never_was = at(&another_of_its_kind(id));
        let another_kind =
            if id.starts_with("org_") { globex.owner.user().to_string() } else { globex.id.to_string() };
        let malformed =
            ["x", &id.to_uppercase(), &id[..id.len() - 1], &id.replace('_', "-"), "%00", &another_kind]
                .map(at);
        for (who, is_key) in [(&globex.owner, false), (&key, true)] {
            let answer = operation.call(who, &at(id)).await;
            if is_key && answer.status == 403 {
                // What is for people alone is refused before anything is looked for.
                answer.expect_problem(403, "user_required");
            } else {
                answer.expect_problem(404, "not_found");
            }
            for other in malformed.iter().chain([&never_was]) {
                let other_answer = operation.call(who, other).await;
                assert_eq!(
                    answer.but_for_the_request(),
                    other_answer.but_for_the_request(),
                    "{name}: {other}"
                );
            }
        }

        // Within one's own, an id of another's inside is like one that never was, too.
        if theirs_within != theirs {
            let inside = |id: &str| {
                own_within.replace(id_in(&own_within), id) + tail.split(id_in(&theirs_within)).nth(1).unwrap()
            };
            let foreign = operation.call(&globex.owner, &inside(id_in(&theirs_within))).await;
            foreign.expect_problem(404, "not_found");
            for other in [&another_of_its_kind(id_in(&theirs_within)), "x", "%00"] {
                let other_answer = operation.call(&globex.owner, &inside(other)).await;
                assert_eq!(
                    foreign.but_for_the_request(),
                    other_answer.but_for_the_request(),
                    "{name}: {other}"
                );
            }
        }

        let after = acme.owner.get(&theirs_within).await;
        assert_eq!(before.but_for_the_request(), after.but_for_the_request(), "{name} changed what it named");
        // Asked of one's own, the same request arrives: it was not the request that was refused.
        let of_own = match own_within == own {
            true => at(id_in(&own)),
            false => own_within.clone() + tail.split(id_in(&theirs_within)).nth(1).unwrap(),
        };
        let body = body(&globex.owner, &operation).await;
        let of_own = operation.call_with(&globex.owner, &of_own, body).await;
        assert!([200, 201, 204, 409].contains(&of_own.status), "{name} of one's own: {}", of_own.text);
    }
}
