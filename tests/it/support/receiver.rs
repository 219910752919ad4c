//! Somebody whom webhooks are sent to: keeps what comes, and answers as it was told to.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{
        AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _,
        BufReader,
    },
    net::TcpListener,
    sync::watch,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer},
};
use tokio_util::sync::{CancellationToken, DropGuard};

#[derive(Clone)]
pub enum Answer {
    /// With this status, header and body.
    Says(u16, Option<(&'static str, String)>, String),
    /// When it is released, with 200.
    Held,
    /// Never.
    Silence,
    /// With this status and the beginning of a body that never ends.
    Endless(u16),
    /// By hanging up.
    HangsUp,
}

/// With this status, and no more.
pub const fn status(status: u16) -> Answer {
    Answer::Says(status, None, String::new())
}

#[derive(Clone, Debug)]
pub struct Received {
    pub at: Instant,
    pub line: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Received {
    /// What it is called by whoever sends it twice.
    pub fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }
}

pub struct Receiver {
    pub url: String,
    desk: Arc<Desk>,
    _stop: DropGuard,
}

struct Desk {
    script: Mutex<VecDeque<Answer>>,
    otherwise: Mutex<Answer>,
    received: Mutex<Vec<Received>>,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
    released: watch::Sender<bool>,
    pause: Duration,
}

impl Receiver {
    /// Gives these answers, and then 200 for ever.
    pub async fn start(script: impl IntoIterator<Item = Answer>) -> Self {
        Self::open(script, None, Duration::ZERO).await
    }

    /// Takes so long for each.
    pub async fn slow(pause: Duration) -> Self {
        Self::open([], None, pause).await
    }

    /// Over TLS, as `localhost`, with a certificate of this authority.
    pub async fn secure(authority: &Authority) -> Self {
        Self::open([], Some(authority.acceptor()), Duration::ZERO).await
    }

    async fn open(
        script: impl IntoIterator<Item = Answer>,
        tls: Option<TlsAcceptor>,
        pause: Duration,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = match tls {
            None => format!("http://127.0.0.1:{port}/hooks?tenant=1"),
            Some(_) => format!("https://localhost:{port}/hooks"),
        };
        let desk = Arc::new(Desk {
            script: Mutex::new(script.into_iter().collect()),
            otherwise: Mutex::new(status(200)),
            received: Mutex::default(),
            at_once: AtomicUsize::default(),
            most_at_once: AtomicUsize::default(),
            released: watch::Sender::new(false),
            pause,
        });
        let (stop, at_desk) = (CancellationToken::new(), Arc::clone(&desk));
        let until = stop.clone();
        tokio::spawn(until.clone().run_until_cancelled_owned(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (desk, tls) = (Arc::clone(&at_desk), tls.clone());
                tokio::spawn(until.clone().run_until_cancelled_owned(async move {
                    match tls {
                        None => desk.serve(client).await,
                        Some(tls) => {
                            if let Ok(client) = tls.accept(client).await {
                                desk.serve(client).await;
                            }
                        }
                    }
                }));
            }
        }));
        Self { url, desk, _stop: stop.drop_guard() }
    }

    /// From here on, once the script is through.
    pub fn answer(&self, otherwise: Answer) {
        *self.desk.otherwise.lock().unwrap() = otherwise;
    }

    /// What is held is answered, and whatever comes later.
    pub fn release(&self) {
        self.desk.released.send_replace(true);
    }

    /// In the order in which it came.
    pub fn received(&self) -> Vec<Received> {
        self.desk.received.lock().unwrap().clone()
    }

    pub fn ids(&self) -> Vec<String> {
        self.received().iter().map(|received| received.id().to_owned()).collect()
    }

    pub fn count(&self) -> usize {
        self.desk.received.lock().unwrap().len()
    }

    pub fn most_at_once(&self) -> usize {
        self.desk.most_at_once.load(Ordering::SeqCst)
    }
}

impl Desk {
    /// RFC 9112, as little of it as a client needs.
    async fn serve(&self, client: impl AsyncRead + AsyncWrite) {
        let (from, mut to) = tokio::io::split(client);
        let mut from = BufReader::new(from);
        while let Some(received) = read(&mut from).await {
            self.received.lock().unwrap().push(received);
            let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_at_once.fetch_max(now, Ordering::SeqCst);
            let answer = self.script.lock().unwrap().pop_front();
            let answer = answer.unwrap_or_else(|| self.otherwise.lock().unwrap().clone());
            tokio::time::sleep(self.pause).await;
            let (said, ends) = match answer {
                Answer::Says(status, header, body) => {
                    let header = header.map_or(String::new(), |(name, value)| format!("{name}: {value}\r\n"));
                    (
                        format!(
                            "HTTP/1.1 {status} Said\r\n{header}content-length: {}\r\n\r\n{body}",
                            body.len()
                        ),
                        true,
                    )
                }
                Answer::Held => {
                    self.released.subscribe().wait_for(|released| *released).await.unwrap();
                    ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned(), true)
                }
                Answer::Endless(status) => {
                    (format!("HTTP/1.1 {status} Said\r\ncontent-length: 100\r\n\r\nthe beginning"), false)
                }
                Answer::Silence => (String::new(), false),
                Answer::HangsUp => {
                    self.at_once.fetch_sub(1, Ordering::SeqCst);
                    return;
                }
            };
            if ends {
                self.at_once.fetch_sub(1, Ordering::SeqCst);
            }
            if to.write_all(said.as_bytes()).await.is_err() || to.flush().await.is_err() {
                return;
            }
            if !ends {
                return std::future::pending().await;
            }
        }
    }
}

async fn read(from: &mut (impl AsyncBufRead + Unpin)) -> Option<Received> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if from.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let headers: BTreeMap<String, String> = lines[1..]
        .iter()
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let mut body = vec![0; headers.get("content-length").map_or(0, |length| length.parse().unwrap())];
    from.read_exact(&mut body).await.ok()?;
    Some(Received {
        at: Instant::now(),
        line: lines.remove(0),
        headers,
        body: String::from_utf8(body).unwrap(),
    })
}

/// An authority of its own, whom nobody trusts who was not told to.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// For whoever is to trust it.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    fn acceptor(&self) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}
