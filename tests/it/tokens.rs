//! What a token must be like to be let in; everything else is 401, whoever signed it.

use super::support::{Forge, Org, PASSWORD, Persona, Reply, TestApp, encoded, nobodys_kid};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

const ME: &str = "/api/v1/me";

/// Whoever wants in: the platform's own key at hand, and what the token of an owner says.
struct Attack {
    app: TestApp,
    acme: Org,
    forge: Forge,
    claims: Value,
}

impl Attack {
    async fn begin() -> Self {
        let app = TestApp::start().await;
        let acme = app.org().await;
        let attack = Self { forge: Forge::of(&app).await, claims: acme.owner.claims(), acme, app };
        // Or all that follows would prove nothing: what is forged without a flaw is as good as real.
        attack.app.bearer(&attack.forge.token(&attack.claims)).get(ME).await.expect(200);
        attack
    }

    /// What the owner's token says, with one claim as it should not be; null takes it away.
    fn with(&self, claim: &str, value: Value) -> String {
        let mut claims = self.claims.clone();
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(claim),
            value => claims.as_object_mut().unwrap().insert(claim.to_owned(), value),
        };
        self.forge.token(&claims)
    }

    /// What the owner's token says, under a header with one member as it should not be.
    fn under(&self, member: &str, value: Value) -> String {
        self.forge.token_under(&edited(self.forge.header(), member, value), &self.claims)
    }

    async fn is_refused(&self, token: &str) {
        refused(&self.app.bearer(token).get(ME).await, "invalid_token", token);
    }

    fn now(&self) -> i64 {
        self.app.clock.now().unix_timestamp()
    }
}

#[track_caller]
fn refused(reply: &Reply, code: &str, token: &str) {
    assert_eq!(reply.status, 401, "{token:.200}: {}", reply.text);
    reply.expect_problem(401, code);
    assert_eq!(reply.header("www-authenticate"), r#"Bearer realm="insula", error="invalid_token""#);
}

fn edited(mut object: Value, member: &str, value: Value) -> Value {
    object[member] = value;
    object
}

#[tokio::test]
async fn a_token_without_a_signature_is_refused_however_its_algorithm_is_spelt() {
    let attack = Attack::begin().await;
    let signature = attack.forge.token(&attack.claims).rsplit_once('.').unwrap().1.to_owned();
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let header = encoded(&edited(attack.forge.header(), "alg", json!(alg)));
        for signature in ["", &signature] {
            attack.is_refused(&format!("{header}.{}.{signature}", encoded(&attack.claims))).await;
        }
    }
    let unsigned = format!("{}.{}.", encoded(&attack.forge.header()), encoded(&attack.claims));
    attack.is_refused(&unsigned).await;
}

/// The published key is no secret: whoever takes it for one lets everybody in.
#[tokio::test]
async fn a_token_signed_with_the_published_key_as_a_secret_is_refused() {
    let attack = Attack::begin().await;
    let published = attack.app.anon().get("/.well-known/jwks.json").await.expect(200);
    let jwk =
        published["keys"].as_array().unwrap().iter().find(|key| key["kid"] == attack.forge.kid).unwrap();
    let x = jwk["x"].as_str().unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(x).unwrap();
    assert_eq!(bytes, attack.forge.x());
    // RFC 8410: the same in DER, and that in PEM.
    let der = [b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00".as_slice(), &bytes].concat();
    let pem = base64::engine::general_purpose::STANDARD.encode(&der);
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{pem}\n-----END PUBLIC KEY-----\n");
    for secret in [&bytes, x.as_bytes(), &der, pem.as_bytes(), jwk.to_string().as_bytes()] {
        for alg in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let header = Header { kid: Some(attack.forge.kid.clone()), ..Header::new(alg) };
            let key = EncodingKey::from_secret(secret);
            attack.is_refused(&jsonwebtoken::encode(&header, &attack.claims, &key).unwrap()).await;
        }
    }
}

#[tokio::test]
async fn a_token_that_claims_another_algorithm_is_refused() {
    let attack = Attack::begin().await;
    for alg in ["RS256", "PS512", "ES256", "HS256", "Ed25519", "eddsa", "EdDSA "] {
        attack.is_refused(&attack.under("alg", json!(alg))).await;
    }
    for alg in [json!(null), json!(["EdDSA"]), json!({"EdDSA": true})] {
        attack.is_refused(&attack.under("alg", alg)).await;
    }
}

#[tokio::test]
async fn a_token_for_another_audience_or_by_another_issuer_is_refused() {
    let attack = Attack::begin().await;
    for audience in [
        json!("insula"),
        json!("insula-api "),
        json!("INSULA-API"),
        json!("https://api.example.com"),
        json!(["insula-api", "somebody-else"]),
        json!([]),
        json!(""),
        Value::Null,
    ] {
        attack.is_refused(&attack.with("aud", audience)).await;
    }
    for issuer in [
        json!("http://elsewhere.test"),
        json!("http://insula.test/"),
        json!("https://insula.test"),
        json!("http://insula.test.evil.example"),
        json!(["http://insula.test"]),
        json!(""),
        Value::Null,
    ] {
        attack.is_refused(&attack.with("iss", issuer)).await;
    }
}

#[tokio::test]
async fn a_token_is_good_from_its_first_second_to_its_last() {
    let attack = Attack::begin().await;
    let now = attack.now();
    for expired in [now - 1, now, 0] {
        let token = attack.with("exp", json!(expired));
        refused(&attack.app.bearer(&token).get(ME).await, "token_expired", &token);
    }
    attack.app.bearer(&attack.with("exp", json!(now + 1))).get(ME).await.expect(200);
    for endless in [
        Value::Null,
        json!("never"),
        json!((now + 900).to_string()),
        json!(-1),
        json!(1e300),
        json!([now + 900]),
    ] {
        attack.is_refused(&attack.with("exp", endless)).await;
    }

    let early = attack.with("nbf", json!(now + 1));
    attack.is_refused(&early).await;
    attack.is_refused(&attack.with("nbf", json!("soon"))).await;
    attack.app.bearer(&attack.with("nbf", json!(now))).get(ME).await.expect(200);
    // Nobody remembers that it was no good.
    attack.app.clock.advance(Duration::from_secs(1));
    attack.app.bearer(&early).get(ME).await.expect(200);
}

#[tokio::test]
async fn a_token_that_does_not_say_for_whom_is_refused() {
    let attack = Attack::begin().await;
    for claim in ["sub", "org", "sid", "jti", "auth_time", "amr"] {
        attack.is_refused(&attack.with(claim, Value::Null)).await;
        attack.is_refused(&attack.with(claim, json!({"$ne": null}))).await;
    }
    attack.is_refused(&attack.with("sub", attack.claims["org"].clone())).await;
    attack.is_refused(&attack.with("org", json!("' or 1=1 --"))).await;
}

#[tokio::test]
async fn a_token_that_names_its_key_by_a_path_a_query_or_not_at_all_is_refused() {
    let attack = Attack::begin().await;
    let kid = &attack.forge.kid;
    for kid in [
        json!("../../etc/passwd"),
        json!("/dev/null"),
        json!("' or 1=1 --"),
        json!("x' union select 'AAAA' --"),
        json!("*"),
        json!("\u{0}"),
        json!(""),
        json!(null),
        json!(0),
        json!([kid]),
        json!(format!("{kid}=")),
        json!(format!(" {kid}")),
        json!(nobodys_kid()),
        json!("k".repeat(3_000)),
    ] {
        attack.is_refused(&attack.under("kid", kid)).await;
    }
    let mut header = attack.forge.header();
    header.as_object_mut().unwrap().remove("kid");
    attack.is_refused(&attack.forge.token_under(&header, &attack.claims)).await;
    // The standby signs nothing yet, and its name does not make another's signature good.
    let published = attack.app.anon().get("/.well-known/jwks.json").await.expect(200);
    let standby = published["keys"].as_array().unwrap().iter().find(|key| key["kid"] != *kid).unwrap();
    attack.is_refused(&attack.under("kid", standby["kid"].clone())).await;
}

#[tokio::test]
async fn a_token_of_another_platform_is_refused_under_its_own_name_and_under_ours() {
    let attack = Attack::begin().await;
    // The same address and the same master key, and a database of its own.
    let elsewhere = TestApp::start().await;
    let theirs = Forge::of(&elsewhere).await;
    assert_ne!(theirs.kid, attack.forge.kid, "no key is derived from the master key");
    attack.is_refused(elsewhere.org().await.owner.token.as_deref().unwrap()).await;
    attack.is_refused(&theirs.token(&attack.claims)).await;
    attack.is_refused(&theirs.token_under(&attack.forge.header(), &attack.claims)).await;
}

/// RFC 8725, 3.10: what a token says of where its key is to be found is nobody's advice.
#[tokio::test]
async fn a_token_that_brings_its_own_key_is_refused() {
    let attack = Attack::begin().await;
    let x = URL_SAFE_NO_PAD.encode(Forge::stranger("").x());
    let theirs = nobodys_kid();
    for kid in [&theirs, &attack.forge.kid] {
        let stranger = Forge::stranger(kid);
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": kid, "x": x});
        for (member, value) in [
            ("jwk", jwk),
            ("jku", json!("https://evil.example/jwks.json")),
            ("jku", json!("http://insula.test@evil.example/.well-known/jwks.json")),
            ("x5u", json!("https://evil.example/cert.pem")),
            ("x5c", json!(["MIIB"])),
        ] {
            let header = edited(stranger.header(), member, value.clone());
            attack.is_refused(&stranger.token_under(&header, &attack.claims)).await;
            // Nor do our own tokens say such things.
            attack.is_refused(&attack.under(member, value)).await;
        }
    }
    // RFC 7515, 4.1.11: what must be understood and is not makes a token no good.
    attack.is_refused(&attack.under("crit", json!(["exp"]))).await;
    attack.is_refused(&attack.under("b64", json!(false))).await;
    attack.is_refused(&attack.under("zip", json!("DEF"))).await;
}

#[tokio::test]
async fn a_token_that_is_no_token_is_refused_however_long_it_is() {
    let attack = Attack::begin().await;
    let good = attack.forge.token(&attack.claims);
    let parts: Vec<&str> = good.split('.').collect();
    let spare = {
        // The last of 86 letters carries two bits: four spellings of one signature.
        let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let last = letters.iter().position(|letter| *letter == good.as_bytes()[good.len() - 1]).unwrap();
        format!("{}{}", &good[..good.len() - 1], letters[last ^ 1] as char)
    };
    for token in [
        "a".repeat(65_536),
        format!("{good}{}", "A".repeat(65_536)),
        attack.with("pad", json!("x".repeat(48 * 1024))),
        format!("{}.{}", parts[0], parts[1]),
        format!("{good}.{}", parts[2]),
        format!("{good}="),
        format!(".{good}"),
        "..".to_owned(),
        "null.null.null".to_owned(),
        spare,
    ] {
        attack.is_refused(&token).await;
    }
    attack.app.bearer(&good).get(ME).await.expect(200);
}

#[tokio::test]
async fn a_request_with_two_authorizations_is_refused_even_if_both_are_good() {
    let attack = Attack::begin().await;
    let Attack { app, acme, .. } = &attack;
    let tokens = [&acme.owner, &acme.viewer].map(|persona| persona.token.clone().unwrap());
    let key = app.api_key(acme, &["products:read"]).await.token.unwrap();
    for (first, second) in [
        (tokens[0].as_str(), tokens[1].as_str()),
        (&tokens[0], &tokens[0]),
        (&tokens[0], "nonsense"),
        ("nonsense", &tokens[0]),
        (&key, &tokens[0]),
        (&tokens[0], &key),
    ] {
        let request = app.bearer(first).request(Method::GET, ME);
        let reply = Reply::of(request.header("authorization", format!("Bearer {second}"))).await;
        refused(&reply, "invalid_token", first);
    }
}

#[tokio::test]
async fn a_token_of_an_ended_session_is_refused_remembered_or_made_anew() {
    let attack = Attack::begin().await;
    let Attack { app, acme, forge, .. } = &attack;
    let email = format!("owner@{}.example", acme.slug);
    let login = json!({"email": email, "password": PASSWORD});
    let session = app.anon().post("/api/v1/auth/login", login).await.expect(200);
    let ended = app.bearer(session["access_token"].as_str().unwrap());
    ended.get(ME).await.expect(200);
    ended.post("/api/v1/auth/logout", json!({})).await.expect(204);

    let anew = forge.token(&edited(ended.claims(), "jti", attack.claims["jti"].clone()));
    for token in [ended.token.as_deref().unwrap(), &anew] {
        refused(&app.bearer(token).get(ME).await, "session_ended", token);
    }
    acme.owner.get(ME).await.expect(200);
}

#[tokio::test]
async fn a_member_of_one_org_can_not_edit_their_token_into_one_of_another() {
    let attack = Attack::begin().await;
    let Attack { app, acme, forge, .. } = &attack;
    let globex = app.org().await;
    let theirs = globex.owner.claims();
    globex.owner.get("/api/v1/org").await.expect(200);

    let parts = |persona: &Persona| -> Vec<String> {
        persona.token.as_deref().unwrap().split('.').map(ToOwned::to_owned).collect()
    };
    let (ours, theirs_in_parts) = (parts(&acme.owner), parts(&globex.owner));
    for edit in [
        edited(theirs.clone(), "org", json!(acme.id.to_string())),
        edited(theirs.clone(), "sub", attack.claims["sub"].clone()),
        attack.claims.clone(),
    ] {
        let edit = encoded(&edit);
        attack.is_refused(&format!("{}.{edit}.{}", theirs_in_parts[0], theirs_in_parts[2])).await;
    }
    attack.is_refused(&format!("{}.{}.{}", ours[0], ours[1], theirs_in_parts[2])).await;
    let stranger = Forge::stranger(&forge.kid);
    attack.is_refused(&stranger.token(&edited(theirs.clone(), "org", json!(acme.id.to_string())))).await;

    // Even the platform's own key makes nobody a member.
    let signed = app.bearer(&forge.token(&edited(theirs, "org", json!(acme.id.to_string()))));
    signed.get("/api/v1/org").await.expect_problem(403, "not_a_member");
    globex.owner.get("/api/v1/org").await.expect(200);
}
