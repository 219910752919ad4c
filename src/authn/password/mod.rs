//! Passwords: argon2id (RFC 9106), hashed off the async threads behind a bounded queue.

use crate::error::{Error, Result};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret as _, SecretString};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

mod argon;
mod strength;
mod threads;

pub use argon::Cost;
pub use strength::{TOO_COMMON, long_enough, not_endless, not_of_the_person};

use argon::{Memory, fits};
use threads::Threads;

/// Hashes and checks passwords, a few at a time.
#[derive(Clone)]
pub struct Hasher {
    cost: Cost,
    threads: Threads,
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
    pub fn with(cost: Cost, at_once: usize, queue: usize) -> anyhow::Result<Self> {
        let decoy = cost.hash("no account has this password", &mut Memory::new())?;
        Ok(Self {
            cost,
            threads: Threads::start(at_once)?,
            inside: Arc::default(),
            places: at_once + queue,
            decoy: decoy.into(),
        })
    }

    pub async fn hash(&self, password: SecretString) -> Result<String> {
        let cost = self.cost;
        self.run(move |memory| cost.hash(password.expose_secret(), memory)).await
    }

    /// Whether `password` is the one behind `hash`; with no hash, false after the same time.
    pub async fn verify(&self, password: SecretString, hash: Option<String>) -> Result<bool> {
        let decoy = Arc::clone(&self.decoy);
        self.run(move |memory| {
            let (phc, known) = hash.as_deref().map_or((&*decoy, false), |hash| (hash, true));
            Ok(fits(password.expose_secret(), phc, memory)? && known)
        })
        .await
    }

    /// Whether a stored hash cost less than one made today.
    pub fn outdated(&self, phc: &str) -> bool {
        self.cost.exceeds(phc)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Memory) -> anyhow::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.threads.run(Place::take(&self.inside, self.places)?, work).await
    }
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
        hasher.hash(secret("and then there is room")).await.unwrap();
    }

    #[tokio::test]
    async fn who_hangs_up_leaves_their_place_to_others() {
        let hasher = Hasher::new(1, 2).unwrap();
        let password = || secret("a long enough password");
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(hasher.hash(password()))).collect();
        for attempt in &mut waiting {
            assert!(futures::poll!(attempt).is_pending());
        }
        assert!(hasher.hash(password()).await.is_err());
        let first = waiting.remove(0);
        drop(waiting);
        first.await.unwrap();
        // Those who hung up are passed over.
        hasher.hash(password()).await.unwrap();
    }
}
