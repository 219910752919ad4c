//! Where a request came from: what the audit keeps of it beside who asked.

use crate::ids::RequestId;
use std::net::IpAddr;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// The client's address, and whether it came over TLS as far as is known.
#[derive(Clone, Copy, Debug)]
pub struct ClientIp {
    pub ip: IpAddr,
    pub https: bool,
}

/// The traces of one request.
#[derive(Clone, Debug)]
pub struct Trail {
    /// When it was acted on, by the platform's clock.
    pub at: OffsetDateTime,
    /// None for the platform's own work.
    pub ip: Option<IpAddr>,
    pub request: Option<RequestId>,
    /// As the client calls itself, cut to a bearable length.
    pub user_agent: Option<String>,
}

impl Trail {
    /// What nobody asked for: the platform's own work, and the command line's.
    pub fn of_the_house(at: OffsetDateTime) -> Self {
        Self { at, ip: None, request: None, user_agent: None }
    }

    /// As the functions of the database take it.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "at": self.at.format(&Rfc3339).ok(),
            "ip": self.ip,
            "request_id": self.request.map(RequestId::uuid),
            "user_agent": self.user_agent,
        })
    }
}
