//! Who makes the requests: connects to checked addresses alone, follows nothing, and asks no proxy (SSRF).

use crate::{
    config::{self, Unusable},
    webhooks::{WebhookUrl, forbidden, within},
};
use ipnet::IpNet;
use reqwest::{
    Certificate, Client,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};
use std::{error::Error, fmt, net::IpAddr, path::Path, sync::Arc, time::Duration};

/// Short: whoever moves to another address is found there soon.
const IDLE: Duration = Duration::from_secs(10);
const IDLE_OF_A_HOST: usize = 4;
const USER_AGENT: &str = concat!("Insula-Webhooks/", env!("CARGO_PKG_VERSION"));

pub struct WebhookClient {
    encrypted: Client,
    /// To networks that the settings open, and nowhere else.
    plain: Client,
    allowed: Arc<[IpNet]>,
    patience: Duration,
}

impl WebhookClient {
    pub fn open(settings: &config::Webhooks) -> Result<Self, Unusable> {
        Self::asking(settings, Arc::new(System))
    }

    /// With somebody of one's own to ask for the addresses of names; whatever they answer is checked.
    pub fn asking(settings: &config::Webhooks, names: Arc<dyn Resolve>) -> Result<Self, Unusable> {
        let allowed: Arc<[IpNet]> = settings.allowed_networks.clone().into();
        let roots = roots(&settings.extra_roots_file)?;
        let client = |only_allowed| {
            let (names, allowed) = (Arc::clone(&names), Arc::clone(&allowed));
            Client::builder()
                .user_agent(USER_AGENT)
                .dns_resolver(Arc::new(Checked { names, allowed, only_allowed }))
                .tls_certs_merge(roots.iter().cloned())
                .redirect(redirect::Policy::none())
                .referer(false)
                .no_proxy()
                .http1_only()
                .https_only(!only_allowed)
                .pool_idle_timeout(IDLE)
                .pool_max_idle_per_host(IDLE_OF_A_HOST)
                .build()
                .map_err(|error| Unusable::new("INSULA_WEBHOOKS__EXTRA_ROOTS_FILE", error))
        };
        Ok(Self {
            encrypted: client(false)?,
            plain: client(true)?,
            patience: Duration::from_millis(settings.timeout_milliseconds),
            allowed,
        })
    }

    /// For all of a request.
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// Who calls this URL, if it may be called as far as it tells by itself. An address in the place of a name is asked
    /// of nobody, so it is checked here.
    pub(super) fn to(&self, url: &str) -> Result<(WebhookUrl, &Client), &'static str> {
        let url = WebhookUrl::parse(url, &self.allowed).map_err(|fault| fault.detail)?;
        let client = if url.is_plain() { &self.plain } else { &self.encrypted };
        Ok((url, client))
    }
}

fn roots(file: &Path) -> Result<Vec<Certificate>, Unusable> {
    if file.as_os_str().is_empty() {
        return Ok(Vec::new());
    }
    let unusable = |why: &dyn fmt::Display| {
        Unusable::new("INSULA_WEBHOOKS__EXTRA_ROOTS_FILE", format!("{}: {why}", file.display()))
    };
    let pem = std::fs::read(file).map_err(|error| unusable(&error))?;
    let roots = Certificate::from_pem_bundle(&pem).map_err(|error| unusable(&error))?;
    if roots.is_empty() {
        return Err(unusable(&"there is no certificate in it"));
    }
    Ok(roots)
}

/// The machine's own way.
struct System;

impl Resolve for System {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(Box::new(found.collect::<Vec<_>>().into_iter()) as Addrs)
        })
    }
}

/// Gives out addresses only if all of a name's may be called: the connection is made to one of these, so that nobody can
/// answer something else in between.
struct Checked {
    names: Arc<dyn Resolve>,
    allowed: Arc<[IpNet]>,
    only_allowed: bool,
}

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let (found, allowed, only_allowed) =
            (self.names.resolve(name), Arc::clone(&self.allowed), self.only_allowed);
        Box::pin(async move {
            let found: Vec<_> = found.await.map_err(|_| NoSuchName)?.collect();
            if found.is_empty() {
                return Err(NoSuchName.into());
            }
            let may_call = |ip: IpAddr| {
                if only_allowed { within(&allowed, ip) } else { !forbidden(ip, &allowed) }
            };
            if found.iter().all(|address| may_call(address.ip())) {
                Ok(Box::new(found.into_iter()) as Addrs)
            } else {
                Err(ForbiddenAddress.into())
            }
        })
    }
}

#[derive(Debug)]
pub(super) struct NoSuchName;

#[derive(Debug)]
pub(super) struct ForbiddenAddress;

impl fmt::Display for NoSuchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name has no address")
    }
}

impl fmt::Display for ForbiddenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name leads to an address that is not on the open internet, which is not called")
    }
}

impl Error for NoSuchName {}
impl Error for ForbiddenAddress {}
