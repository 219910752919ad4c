//! An id of another org answers like one that never was.

use super::{body, id_in, make, make_within, tenants};
use crate::{
    doors::scopes,
    support::{Document, Persona, TestApp, another_of_its_kind},
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
        let (theirs, own) = (
            place(&app, &acme.owner, &name, theirs, tail).await,
            place(&app, &globex.owner, &name, own, tail).await,
        );
        let before = acme.owner.get(&theirs.whole).await;
        before.expect(200);

        let at = |id: &str| format!("{collection}/{id}{}", theirs.tail);
        let id = id_in(&theirs.outer);
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

        // Within one's own, an id of another's that is within theirs is like one that never was, too.
        if let Some((inner, own_inner)) = theirs.inner().zip(own.inner()) {
            let inside = |id: &str| format!("{}{}", own.outer, own.tail.replace(own_inner, id));
            let foreign = operation.call(&globex.owner, &inside(inner)).await;
            foreign.expect_problem(404, "not_found");
            for other in [&another_of_its_kind(inner), "x", "%00"] {
                let other_answer = operation.call(&globex.owner, &inside(other)).await;
                assert_eq!(
                    foreign.but_for_the_request(),
                    other_answer.but_for_the_request(),
                    "{name}: {other}"
                );
            }
        }

        let after = acme.owner.get(&theirs.whole).await;
        assert_eq!(before.but_for_the_request(), after.but_for_the_request(), "{name} changed what it named");
        // Asked of one's own, the same request arrives: it was not the request that was refused.
        let body = body(&globex.owner, &operation).await;
        let of_own = format!("{collection}/{}{}", id_in(&own.outer), own.tail);
        let of_own = operation.call_with(&globex.owner, &of_own, body).await;
        assert!([200, 201, 202, 204, 409].contains(&of_own.status), "{name} of one's own: {}", of_own.text);
    }
}

/// Where a thing is, that an operation is about or that is within what it is about.
struct Place {
    /// What the first id of the path names.
    outer: String,
    /// What the path says after that, with an id of what is within where it takes one.
    tail: String,
    /// The thing itself.
    whole: String,
}

impl Place {
    /// The id of what is within.
    fn inner(&self) -> Option<&str> {
        (self.whole != self.outer).then(|| id_in(&self.whole))
    }
}

async fn place(app: &TestApp, by: &Persona, name: &str, outer: String, tail: &str) -> Place {
    let Some((within, rest)) = tail.split_once("/{") else {
        return Place { tail: tail.to_owned(), whole: outer.clone(), outer };
    };
    let after = rest.split_once('}').unwrap().1;
    assert!(!after.contains('{'), "{name}: teach this test to go deeper");
    let whole = make_within(app, by, name, &outer, within).await;
    Place { tail: format!("{}{after}", &whole[outer.len()..]), whole, outer }
}
