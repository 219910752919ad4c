//! Which address asks: the peer's, or what trusted proxies say in front of it.

use crate::{state::AppState, trail::ClientIp};
use axum::{
    extract::{ConnectInfo, Request, State},
    http::HeaderMap,
    middleware::Next,
    response::Response,
};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

pub async fn client_ip(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)).to_canonical();
    let client = resolve(peer, request.headers(), &state.config.http.trusted_proxies);
    request.extensions_mut().insert(client);
    next.run(request).await
}

/// Walks `X-Forwarded-For` from the right: each trusted proxy vouches for the address before it, and the
/// first that nobody vouches for is the client. What stands further left is the client's own claim.
fn resolve(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> ClientIp {
    let is_trusted = |ip: &IpAddr| trusted.iter().any(|net| net.contains(ip));
    if !is_trusted(&peer) {
        return ClientIp { ip: peer, https: false };
    }
    let hops = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let hops: Vec<Option<IpAddr>> = hops
        .flat_map(|value| value.split(','))
        .map(|hop| hop.trim().parse().ok().map(|ip: IpAddr| ip.to_canonical()))
        .collect();
    let mut ip = peer;
    for hop in hops.iter().rev() {
        let Some(hop) = hop else { break };
        ip = *hop;
        if !is_trusted(hop) {
            break;
        }
    }
    let proto = headers.get_all("x-forwarded-proto").iter().next_back().and_then(|value| value.to_str().ok());
    let https = proto.and_then(|value| value.rsplit(',').next()).is_some_and(|proto| proto.trim() == "https");
    ClientIp { ip, https }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        resolve(peer.parse().unwrap(), &headers, &trusted).ip.to_string()
    }

    #[test]
    fn only_a_trusted_proxy_can_say_who_is_behind_it() {
        assert_eq!(client("203.0.113.9", &["198.51.100.1"]), "203.0.113.9", "nobody vouches");
        assert_eq!(client("10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(
            client("10.0.0.1", &["1.1.1.1, 198.51.100.1 , 10.0.0.2"]),
            "198.51.100.1",
            "forged first hop"
        );
        assert_eq!(client("10.0.0.1", &["1.1.1.1", "198.51.100.1"]), "198.51.100.1", "two headers");
        assert_eq!(
            client("10.0.0.1", &["198.51.100.1, nonsense"]),
            "10.0.0.1",
            "nonsense vouches for nothing"
        );
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }
}
