//! What `insula dev` has sent, in a browser and for programs. It shows everybody's tokens, so nothing else mounts it.

use crate::{
    error::Result,
    extract::Json,
    mail::{self, Kept},
    state::AppState,
};
use anyhow::Context as _;
use askama::Template as _;
use axum::{
    Router,
    extract::State,
    http::{HeaderValue, header},
    response::Html,
    routing::get,
};
use serde::Serialize;
use tower_http::set_header::SetResponseHeaderLayer;

/// Nothing but the page and its own style; a link leads out.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub fn router() -> Router<AppState> {
    Router::new().route("/dev/mail", get(page)).route("/dev/mail.json", get(list)).route_layer(
        SetResponseHeaderLayer::overriding(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    )
}

#[derive(askama::Template)]
#[template(
    ext = "html",
    source = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta http-equiv="refresh" content="5"><title>Mail of insula dev</title>
<style>
body { margin: 2em auto; max-width: 50em; font: 16px/1.5 sans-serif; color: #222 }
article { border: 1px solid #ccc; padding: 0 1em 1em; margin: 1em 0 }
pre, code { white-space: pre-wrap; overflow-wrap: anywhere }
h2 { font-size: 1.1em; margin-bottom: 0 }
</style>
</head>
<body>
<h1>Mail</h1>
<p>What this server has sent, newest first, as it is in {{ folder }}; for programs: <a href="/dev/mail.json">/dev/mail.json</a>.</p>
{% for mail in mails %}<article id="{{ mail.id }}">
<h2>{{ mail.subject }}</h2>
<p>To {{ mail.to }}, from {{ mail.from }}, {{ mail.at }}</p>
<pre>{{ mail.text }}</pre>
{% if let Some(link) = mail.link.as_ref() %}<p><a href="{{ link }}">{{ link }}</a></p>
{% endif %}{% if let Some(token) = mail.token.as_ref() %}<p>Token <code>{{ token }}</code></p>
{% endif %}</article>
{% else %}<p>None yet.</p>
{% endfor %}</body>
</html>
"#
)]
struct Page {
    folder: String,
    mails: Vec<Kept>,
}

#[derive(Serialize)]
struct Mails {
    data: Vec<Kept>,
}

async fn page(State(state): State<AppState>) -> Result<Html<String>> {
    let folder = state.config.mail.folder.display().to_string();
    let page = Page { folder, mails: mails(&state).await? };
    Ok(Html(page.render().context("rendering the mails")?))
}

async fn list(State(state): State<AppState>) -> Result<Json<Mails>> {
    Ok(Json(Mails { data: mails(&state).await? }))
}

async fn mails(state: &AppState) -> Result<Vec<Kept>> {
    let folder = &state.config.mail.folder;
    if folder.as_os_str().is_empty() {
        return Ok(Vec::new());
    }
    Ok(mail::kept(folder.clone()).await?)
}
