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
        let names: Arc<dyn Resolve> = Arc::new(System);
        Self::asking(settings, &names)
    }

    /// With somebody of one's own to ask for the addresses of names; whatever they answer is checked.
    pub fn asking(settings: &config::Webhooks, names: &Arc<dyn Resolve>) -> Result<Self, Unusable> {
        let allowed: Arc<[IpNet]> = settings.allowed_networks.clone().into();
        let roots = roots(&settings.extra_roots_file)?;
        let client = |only_allowed| {
            let (names, allowed) = (Arc::clone(names), Arc::clone(&allowed));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Config, webhooks::Outcome, worker::webhooks::wire};
    use std::{
        net::SocketAddr,
        sync::atomic::{AtomicUsize, Ordering},
    };
    use tokio::{net::TcpListener, time::timeout};

    /// Somebody who answers something else each time, and the last for ever.
    struct Rebinding {
        answers: Vec<Vec<&'static str>>,
        asked: AtomicUsize,
    }

    impl Rebinding {
        fn new(answers: &[&[&'static str]]) -> Arc<Self> {
            let answers = answers.iter().map(|answer| answer.to_vec()).collect();
            Arc::new(Self { answers, asked: AtomicUsize::default() })
        }
    }

    impl Resolve for Rebinding {
        fn resolve(&self, _: Name) -> Resolving {
            let asked = self.asked.fetch_add(1, Ordering::SeqCst).min(self.answers.len() - 1);
            let found: Vec<SocketAddr> =
                self.answers[asked].iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0)).collect();
            Box::pin(async move { Ok(Box::new(found.into_iter()) as Addrs) })
        }
    }

    fn client(names: &Arc<Rebinding>, allowed: &str) -> WebhookClient {
        let config = Config::with(&format!("[webhooks]\nallowed_networks = [{allowed}]")).unwrap();
        let names: Arc<dyn Resolve> = Arc::clone(names) as _;
        WebhookClient::asking(&config.webhooks, &names).unwrap()
    }

    fn checked(names: &Arc<Rebinding>) -> Checked {
        Checked { names: Arc::clone(names) as Arc<dyn Resolve>, allowed: Arc::new([]), only_allowed: false }
    }

    async fn found(checked: &Checked) -> Result<Vec<IpAddr>, bool> {
        match checked.resolve("rebind.test".parse().unwrap()).await {
            Ok(found) => Ok(found.map(|address| address.ip()).collect()),
            Err(error) => Err(error.is::<ForbiddenAddress>()),
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_once_it_was_checked_is_refused_when_it_does() {
        let names = Rebinding::new(&[&["8.8.8.8"], &["127.0.0.1"]]);
        let checked = checked(&names);
        assert_eq!(found(&checked).await, Ok(vec!["8.8.8.8".parse().unwrap()]));
        assert_eq!(found(&checked).await, Err(true));
    }

    #[tokio::test]
    async fn one_address_inside_spoils_all_of_a_name_s_and_none_is_no_address() {
        for answers in [["8.8.8.8", "169.254.169.254"], ["::ffff:10.0.0.1", "8.8.8.8"]] {
            assert_eq!(found(&checked(&Rebinding::new(&[&answers]))).await, Err(true), "{answers:?}");
        }
        assert_eq!(found(&checked(&Rebinding::new(&[&[]]))).await, Err(false));
    }

    #[tokio::test]
    async fn nothing_is_connected_to_that_was_not_checked_and_each_connection_is_to_what_was() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let names = Rebinding::new(&[&["127.0.0.1"], &["10.0.0.1"]]);

        let closed = client(&names, "");
        let url = format!("https://rebind.test:{port}/");
        let (url, to) = closed.to(&url).unwrap();
        let refused = to.post(url.as_url().clone()).send().await.unwrap_err();
        assert_eq!(wire::reason(&refused).0, Outcome::ForbiddenAddress, "{refused:?}");
        let nobody = timeout(Duration::from_millis(50), listener.accept()).await;
        assert!(nobody.is_err(), "somebody has called");

        names.asked.store(0, Ordering::SeqCst);
        let open = client(&names, "\"127.0.0.0/8\"");
        let url = format!("http://rebind.test:{port}/");
        let (url, to) = open.to(&url).unwrap();
        let request = tokio::spawn(to.post(url.as_url().clone()).send());
        let (_, from) = listener.accept().await.unwrap();
        assert_eq!(from.ip(), IpAddr::from([127, 0, 0, 1]));
        assert_eq!(
            names.asked.load(Ordering::SeqCst),
            1,
            "asked once, so that there is no second answer to take"
        );
        request.abort();
        // The second time it leads elsewhere inside.
        let refused = to.post(url.as_url().clone()).send().await.unwrap_err();
        assert_eq!(wire::reason(&refused).0, Outcome::ForbiddenAddress, "{refused:?}");
    }

    #[test]
    fn an_address_in_the_place_of_a_name_is_checked_though_nobody_is_asked_for_it() {
        let names = Rebinding::new(&[&["8.8.8.8"]]);
        let client = client(&names, "");
        for url in
            ["https://127.0.0.1/", "https://[::ffff:a9fe:a9fe]/", "https://2130706433/", "http://8.8.8.8/"]
        {
            assert!(client.to(url).is_err(), "{url}");
        }
        assert!(client.to("https://8.8.8.8/").is_ok());
    }

    #[test]
    fn a_file_of_roots_that_can_not_be_used_is_named_before_anything_starts() {
        for file in ["/nowhere/roots.pem", "/dev/null"] {
            let config = Config::with(&format!("[webhooks]\nextra_roots_file = {file:?}")).unwrap();
            let refused = WebhookClient::open(&config.webhooks).err().unwrap().to_string();
            assert!(refused.starts_with("INSULA_WEBHOOKS__EXTRA_ROOTS_FILE: "), "{refused}");
        }
    }
}
