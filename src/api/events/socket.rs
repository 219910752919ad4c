//! Events as they happen, to whoever stays on the line: a WebSocket.

use super::{
    follow::{End, Following, HEARTBEAT, Listener, Told},
    resume::Resume,
};
use crate::{
    authn::Credential,
    caller::{Caller, refused},
    error::{Error, Problem, Result},
    events::Carrier,
    extract::Query,
    state::AppState,
    trail::ClientIp,
};
use axum::{
    Extension,
    extract::{
        State,
        ws::{
            CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code,
            rejection::WebSocketUpgradeRejection,
        },
    },
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::Response,
};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// Bytes of what a client may say at a time: there is little to say.
const LONGEST: usize = 4096;
/// Messages that a client may send between two heartbeats.
const MOST: u32 = 100;
/// How long the other side has to say goodbye.
const FAREWELL: Duration = Duration::from_secs(3);
/// What was sent stays unread. Private codes begin at 4000 (RFC 6455, section 7.4.2).
const SLOW: u16 = 4408;

/// Follow what happens, by a WebSocket
///
/// The same as `GET /events` (RFC 6455): each text message is an event as `GET /events/history` has it, of what the caller
/// may read when it is sent, from now on or after the `seq` that `after` or `Last-Event-ID` names. `{"type": "gap", "after":
/// .., "before": ..}` says that what came between is not kept any more. A ping every 15 s is to be answered. What a client
/// sends is passed over, but for `{"type": "ping"}`, which is answered by `{"type": "pong"}`; it may be 4,096 bytes long, and
/// there may be 100 messages in 15 s. Browsers come in by a ticket, from the allowed origins alone (a page elsewhere would
/// have neither ticket nor token). The close code says why it ends: 1001 the server stops, 1008 the caller would not be let
/// in any more, with the problem's `code` as the reason, or says too much; 1002 what they say can't be read or is too long; 4408 what was sent
/// stayed unread for 30 s. Where it is worth connecting again the reason names the last `seq` that was sent: `after=17`.
#[utoipa::path(get, path = "/ws", tag = "events",
    params(Resume, ("Last-Event-ID" = Option<i64>, Header, description = "The last that was seen.")),
    responses((status = 101, description = "The connection is a WebSocket, for as long as both sides stay.",
               headers(("Upgrade" = String, description = "`websocket`."),
                       ("Connection" = String, description = "`upgrade`."),
                       ("Sec-WebSocket-Accept" = String, description = "Of the request's key (RFC 6455, section 4.2.2)."))),
              (status = 426, description = "This is no handshake of a WebSocket, version 13 (`upgrade_required`).",
               headers(("Upgrade" = String, description = "`websocket`."),
                       ("Sec-WebSocket-Version" = String, description = "`13`.")))))]
pub async fn follow_events_by_socket(
    State(state): State<AppState>,
    caller: Caller,
    Extension(client): Extension<ClientIp>,
    Extension(credential): Extension<Credential>,
    headers: HeaderMap,
    Query(resume): Query<Resume>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response> {
    check_origin(&state, &headers)?;
    let upgrade = upgrade.map_err(|_| no_handshake())?;
    let (org, after) = (caller.org(), resume.after(&headers)?);
    let listener = Listener { state: state.clone(), credential, client, org, after };
    let following = listener.follow(Carrier::WebSocket).await?;
    let patience = state.config.http.unread();
    // By default each of the two is 128 KiB, of every connection.
    let upgrade = upgrade.read_buffer_size(LONGEST).write_buffer_size(LONGEST);
    let upgrade = upgrade.max_message_size(LONGEST).max_frame_size(LONGEST);
    Ok(upgrade.on_upgrade(async move |socket| {
        let carried = Socket { line: socket, sent: following.after, patience }.carry(following);
        state.streams.carry(carried).await;
    }))
}

/// Pages elsewhere can't use what they do not have, a ticket or a token; where a browser says that they try, it ends here.
fn check_origin(state: &AppState, headers: &HeaderMap) -> Result<()> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let http = &state.config.http;
    let is_ours = |origin: &str| {
        let own = http.public_url.parse::<Uri>().ok().and_then(|url| {
            let (scheme, authority) = (url.scheme()?, url.authority()?);
            Some(format!("{scheme}://{authority}"))
        });
        own.as_deref() == Some(origin) || http.allowed_origins.iter().any(|allowed| allowed == origin)
    };
    if origin.to_str().is_ok_and(is_ours) {
        return Ok(());
    }
    Err(refused(
        "origin_not_allowed",
        "pages of this origin may not connect: the server's configuration names those that may",
    ))
}

fn no_handshake() -> Error {
    let detail = "this is a WebSocket: connect with a client for one, version 13, or use GET /api/v1/events";
    let problem = Problem::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", detail)
        .header(header::UPGRADE, HeaderValue::from_static("websocket"))
        .header(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    Error::Unacceptable(Box::new(problem))
}

struct Socket {
    line: WebSocket,
    /// The number of the last event that was sent.
    sent: i64,
    /// How long the other side may leave what was sent unread.
    patience: Duration,
}

/// What the other side has done, where that is the end.
enum Over {
    /// They are gone, or have said goodbye.
    Gone,
    Slow,
    TooMuch,
    /// What they say can't be read, or is too long.
    Unreadable,
}

impl Socket {
    async fn carry(mut self, following: Following) {
        let Following { mut told, end, .. } = following;
        let over = self.pass_on(&mut told).await;
        // What has not been sent by now is not going to be: the place is free while they say goodbye.
        drop(told);
        let ended = if over.is_ok() { end.await.unwrap_or(End::Stopping) } else { End::Gone };
        let (code, reason) = match over {
            Ok(()) => self.why(ended),
            Err(Over::Gone) => return,
            Err(Over::Slow) => self.why(End::Slow),
            Err(Over::TooMuch) => (close_code::POLICY, "too_many_messages".to_owned()),
            Err(Over::Unreadable) => (close_code::PROTOCOL, "unreadable_message".to_owned()),
        };
        let frame = CloseFrame { code, reason: reason.into() };
        let goodbye = async {
            if self.line.send(Message::Close(Some(frame))).await.is_ok() {
                while let Some(Ok(_)) = self.line.recv().await {}
            }
        };
        // Who does not hear it finds the connection closed.
        timeout(FAREWELL, goodbye).await.ok();
    }

    /// Until nothing more is to be told.
    ///
    /// # Errors
    /// Says what the other side did, where that ends it.
    async fn pass_on(&mut self, told: &mut tokio::sync::mpsc::Receiver<Told>) -> Result<(), Over> {
        let mut beat = interval(HEARTBEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut heard, mut messages) = (Instant::now(), 0);
        loop {
            tokio::select! {
                told = told.recv() => {
                    let Some(told) = told else { return Ok(()) };
                    self.send(Message::text(said(&told))).await?;
                    if let Some(event) = told.event() {
                        self.sent = event.seq;
                    }
                }
                message = self.line.recv() => {
                    (heard, messages) = (Instant::now(), messages + 1);
                    if messages > MOST {
                        return Err(Over::TooMuch);
                    }
                    match message {
                        // A close is answered by the library, once it is asked for more.
                        Some(Ok(message)) if is_ping(&message) => self.send(Message::text(r#"{"type":"pong"}"#)).await?,
                        Some(Ok(_)) => {}
                        Some(Err(_)) => return Err(Over::Unreadable),
                        None => return Err(Over::Gone),
                    }
                }
                _ = beat.tick() => {
                    if heard.elapsed() > self.patience.max(2 * HEARTBEAT) {
                        return Err(Over::Slow);
                    }
                    messages = 0;
                    self.send(Message::Ping(Vec::new().into())).await?;
                }
            }
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), Over> {
        match timeout(self.patience, self.line.send(message)).await {
            Ok(sent) => sent.map_err(|_| Over::Gone),
            Err(_) => Err(Over::Slow),
        }
    }

    /// As a close frame says it.
    fn why(&self, end: End) -> (u16, String) {
        let resume = format!("after={}", self.sent);
        match end {
            End::Slow => (SLOW, resume),
            End::Stopping | End::Gone => (close_code::AWAY, resume),
            End::Refused(Error::Internal(_)) => (close_code::ERROR, resume),
            End::Refused(error) => (close_code::POLICY, error.into_problem().code.to_owned()),
        }
    }
}

fn said(told: &Told) -> String {
    match told {
        Told::Gap { after, before } => json!({"type": "gap", "after": after, "before": before}).to_string(),
        Told::Event(page, at) => {
            page.get(*at).and_then(|event| serde_json::to_string(event).ok()).unwrap_or_default()
        }
    }
}

fn is_ping(message: &Message) -> bool {
    let Message::Text(text) = message else { return false };
    serde_json::from_str(text).is_ok_and(|said: Value| said["type"] == "ping")
}
