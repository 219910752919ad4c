//! What the clients of a run know, sent and were told.

use crate::support::{Persona, Reply, Smtp, until};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use insula::audit::hex;
use serde_json::{Value, json};

/// What signing in answers.
pub const TOKENS: [&str; 2] = ["access_token", "refresh_token"];

pub struct Run {
    /// By what they are.
    pub secrets: Vec<(String, String)>,
    /// By the request that they answered, less what it was right to show.
    pub answers: Vec<(String, String)>,
    /// Takes the mails, each of which is to show the token of its link.
    pub smtp: Smtp,
}

impl Run {
    pub async fn begin() -> Self {
        Self { secrets: Vec::new(), answers: Vec::new(), smtp: Smtp::start(&[]).await }
    }

    /// A password that nobody else has.
    pub fn password(&mut self, name: &str) -> String {
        let password = format!("canary-{}-{:032x}", name.replace(' ', "-"), rand::random::<u128>());
        self.keep(name, &password);
        password
    }

    pub fn keep(&mut self, name: &str, secret: &str) {
        self.secrets.push((name.to_owned(), secret.to_owned()));
    }

    /// However bytes are written down.
    pub fn keep_bytes(&mut self, name: &str, bytes: &[u8]) {
        for (form, text) in [
            ("hex", hex(bytes)),
            ("base64", STANDARD_NO_PAD.encode(bytes)),
            ("base64url", URL_SAFE_NO_PAD.encode(bytes)),
        ] {
            self.keep(&format!("{name}, in {form}"), &text);
        }
    }

    /// Nothing secret is in this answer.
    pub fn answered(&mut self, request: &str, reply: &Reply) {
        self.answers.push((request.to_owned(), told(reply)));
    }

    /// Nor in this one, whose body is answered here too.
    #[track_caller]
    pub fn told(&mut self, request: &str, reply: &Reply, status: u16) -> Value {
        let body = reply.expect(status);
        self.answered(request, reply);
        body
    }

    /// Nor in this refusal.
    #[track_caller]
    pub fn refused(&mut self, request: &str, reply: &Reply, status: u16, code: &str) {
        reply.expect_problem(status, code);
        self.answered(request, reply);
    }

    /// These members of the answer are secrets, shown here alone.
    pub fn shown<const N: usize>(&mut self, request: &str, reply: &Reply, members: [&str; N]) -> [String; N] {
        let body = reply.json();
        let secrets = members.map(|member| body[member].as_str().unwrap().to_owned());
        self.withhold(request, reply, members.iter().zip(&secrets));
        secrets
    }

    /// So are all that this member of it lists.
    pub fn shown_all(&mut self, request: &str, reply: &Reply, member: &str) -> Vec<String> {
        let body = reply.json();
        let listed = body[member].as_array().unwrap().iter();
        let secrets: Vec<String> = listed.map(|secret| secret.as_str().unwrap().to_owned()).collect();
        self.withhold(request, reply, secrets.iter().map(|secret| (&member, secret)));
        secrets
    }

    fn withhold<'a>(
        &mut self,
        request: &str,
        reply: &Reply,
        secrets: impl Iterator<Item = (&'a &'a str, &'a String)>,
    ) {
        let mut rest = told(reply);
        for (member, secret) in secrets {
            assert!(rest.contains(secret), "{member} of {request}");
            rest = rest.replace(secret, "(shown)");
            self.keep(&format!("{member} of {request}"), secret);
        }
        self.answers.push((request.to_owned(), rest));
    }

    /// The token in the link to `page` of a mail that nobody has read yet.
    pub async fn mailed(&mut self, address: &str, page: &str) -> String {
        let mut token = None;
        until(&format!("{address} is mailed a link to {page}"), async || {
            let letters = self.letters();
            let theirs = letters.iter().filter(|letter| letter.contains(&format!("\nTo: {address}\n")));
            let tokens = theirs.filter_map(|letter| letter.split_once(&format!("/{page}{LINK}")));
            let unread = tokens.map(|(_, rest)| token_at(rest)).find(|token| !self.knows(token));
            token = unread.map(str::to_owned);
            token.is_some()
        })
        .await;
        let token = token.unwrap();
        self.keep(&format!("token of the {page} mailed to {address}"), &token);
        token
    }

    /// The mails that were sent, as they are read, less the token of each one's own link.
    pub fn letters_less_their_tokens(&self) -> Vec<String> {
        let less = |letter: String| match letter.split_once(LINK) {
            Some((_, rest)) => letter.replace(token_at(rest), "(its own)"),
            None => letter,
        };
        self.letters().into_iter().map(less).collect()
    }

    /// Lines that were too long are whole again.
    fn letters(&self) -> Vec<String> {
        let read = |message: String| message.replace("=\n", "").replace("=3D", "=");
        self.smtp.received().into_iter().map(read).collect()
    }

    fn knows(&self, secret: &str) -> bool {
        self.secrets.iter().any(|(_, known)| known == secret)
    }

    /// Every secret of the run that `text` holds, or enough of one to use it.
    pub fn found_in(&self, text: &str) -> Vec<&str> {
        let found =
            self.secrets.iter().filter(|(_, secret)| needles(secret).iter().any(|part| text.contains(part)));
        found.map(|(name, _)| name.as_str()).collect()
    }

    pub async fn signs_in(&mut self, base: &str, email: &str, password: &str) -> Persona {
        let login = json!({"email": email, "password": password});
        let reply = Persona::new(base, None).post("/api/v1/auth/login", login).await;
        reply.expect(200);
        let [access, _] = self.shown(&format!("login of {email}"), &reply, TOKENS);
        Persona::new(base, Some(access))
    }

    pub async fn signs_up(&mut self, base: &str, email: &str, password: &str) -> Persona {
        let new = json!({"email": email, "password": password, "name": "Somebody", "org_name": "Somebody's"});
        let reply = Persona::new(base, None).post("/api/v1/auth/register", new).await;
        reply.expect(201);
        let [access, _] = self.shown(&format!("register of {email}"), &reply, TOKENS);
        Persona::new(base, Some(access))
    }
}

/// How the links of mails go on.
const LINK: &str = "?token=";

fn token_at(text: &str) -> &str {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && !"_-".contains(letter)).next().unwrap()
}

fn told(reply: &Reply) -> String {
    format!("{:?} {}", reply.headers, reply.text)
}

/// How a secret might be written down: as it is, cut, in base64 and, from a column of bytes, in hex.
fn needles(secret: &str) -> Vec<String> {
    let tail = &secret[secret.len().saturating_sub(16)..];
    vec![secret.to_owned(), tail.to_owned(), STANDARD.encode(secret), hex(tail.as_bytes())]
}
