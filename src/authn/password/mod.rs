//! Passwords: argon2id (RFC 9106), hashed off the async threads behind a bounded queue.

use crate::error::{Error, Result};
use anyhow::anyhow;
use argon2::{Algorithm, Argon2, Params, PasswordHash, PasswordHasher as _, PasswordVerifier as _, Version};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret as _, SecretString};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::sync::Semaphore;

mod strength;

pub use strength::{TOO_COMMON, long_enough, not_endless, not_of_the_person};

/// What a hash costs, and so what guessing costs; one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    pub memory_kib: u32,
    pub passes: u32,
}

impl Default for Cost {
    /// OWASP's choice for argon2id.
    fn default() -> Self {
        Self { memory_kib: 19_456, passes: 2 }
    }
}

/// Hashes and checks passwords, a few at a time.
#[derive(Clone)]
pub struct Hasher {
    argon: Argon2<'static>,
    running: Arc<Semaphore>,
    inside: Arc<AtomicUsize>,
    places: usize,
    /// Checked against when there is no such account, so that unknown addresses cost the same time.
    decoy: Arc<str>,
}

impl Hasher {
    /// `at_once` hashes run, `queue` wait for it, and what comes beyond is answered 503.
    pub fn new(at_once: usize, queue: usize) -> anyhow::Result<Self> {
        Self::with(Cost::default(), at_once, queue)
    }

    /// The same, at another cost.
    pub fn with(Cost { memory_kib, passes }: Cost, at_once: usize, queue: usize) -> anyhow::Result<Self> {
        let params = Params::new(memory_kib, passes, 1, None).map_err(|error| anyhow!("argon2: {error}"))?;
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let decoy = hash(&argon, "no account has this password")?;
        Ok(Self {
            argon,
            running: Arc::new(Semaphore::new(at_once)),
            inside: Arc::default(),
            places: at_once + queue,
            decoy: decoy.into(),
        })
    }

    pub async fn hash(&self, password: SecretString) -> Result<String> {
        let argon = self.argon.clone();
        self.run(move || hash(&argon, password.expose_secret())).await
    }

    /// Whether `password` is the one behind `hash`; with no hash, false after the same time.
    pub async fn verify(&self, password: SecretString, hash: Option<String>) -> Result<bool> {
        let argon = self.argon.clone();
        let decoy = Arc::clone(&self.decoy);
        self.run(move || {
            let known = hash.is_some();
            let phc = hash.as_deref().unwrap_or(&decoy);
            let phc =
                PasswordHash::new(phc).map_err(|error| anyhow!("a stored hash is unreadable: {error}"))?;
            Ok(argon.verify_password(password.expose_secret().as_bytes(), &phc).is_ok() && known)
        })
        .await
    }

    /// Whether a stored hash cost less than one made today.
    pub fn outdated(&self, phc: &str) -> bool {
        let Some(stored) = PasswordHash::new(phc).ok().and_then(|phc| Params::try_from(&phc).ok()) else {
            return true;
        };
        let today = self.argon.params();
        stored.m_cost() < today.m_cost() || stored.t_cost() < today.t_cost()
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> Result<T> {
        let _place = Place::take(&self.inside, self.places)?;
        let permit =
            Arc::clone(&self.running).acquire_owned().await.map_err(|error| Error::Internal(error.into()))?;
        // The permit goes with the work: a client that hangs up does not make room while its hash still runs.
        tokio::task::spawn_blocking(move || {
            let done = work();
            drop(permit);
            done
        })
        .await
        .map_err(|error| Error::Internal(error.into()))?
        .map_err(Error::Internal)
    }
}

fn hash(argon: &Argon2<'_>, password: &str) -> anyhow::Result<String> {
    let phc = argon.hash_password(password.as_bytes()).map_err(|error| anyhow!("argon2: {error}"))?;
    Ok(phc.to_string())
}

/// A password that nobody has to think up: 160 random bits.
pub fn generate() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 20]>())
}

/// A place inside, waiting or at work, given back however that ends.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(inside: &Arc<AtomicUsize>, places: usize) -> Result<Self> {
        let place = Self(Arc::clone(inside));
        if inside.fetch_add(1, Ordering::SeqCst) >= places {
            return Err(Error::Unavailable("too many people are signing in; try again in a moment"));
        }
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretString {
        text.to_owned().into()
    }

    #[tokio::test]
    async fn a_password_fits_its_own_hash_only() {
        let hasher = Hasher::new(1, 8).unwrap();
        let hash = hasher.hash(secret("correct horse battery")).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(hasher.verify(secret("correct horse battery"), Some(hash.clone())).await.unwrap());
        assert!(!hasher.verify(secret("correct horse batterz"), Some(hash)).await.unwrap());
        assert!(!hasher.verify(secret("no account has this password"), None).await.unwrap());
    }

    #[tokio::test]
    async fn a_hash_that_cost_less_than_today_is_outdated_and_still_fits() {
        let cheap = Cost { memory_kib: 8_192, passes: 1 };
        let old = Hasher::with(cheap, 1, 8).unwrap().hash(secret("correct horse battery")).await.unwrap();
        assert!(!Hasher::with(cheap, 1, 8).unwrap().outdated(&old));
        for dearer in [Cost { memory_kib: 8_193, ..cheap }, Cost { passes: 2, ..cheap }] {
            let hasher = Hasher::with(dearer, 1, 8).unwrap();
            assert!(hasher.outdated(&old));
            assert!(hasher.verify(secret("correct horse battery"), Some(old.clone())).await.unwrap());
        }
        assert!(!Hasher::with(Cost { memory_kib: 4_096, passes: 1 }, 1, 8).unwrap().outdated(&old));
    }

    #[tokio::test]
    async fn beyond_the_queue_sign_in_is_refused_at_once() {
        let hasher = Hasher::new(1, 2).unwrap();
        let attempts = (0..10).map(|_| hasher.hash(secret("a long enough password")));
        let refused = futures::future::join_all(attempts).await.into_iter().filter(Result::is_err).count();
        assert_eq!(refused, 7, "one at work, two waiting");
    }
}
