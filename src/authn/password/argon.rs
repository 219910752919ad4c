//! argon2id (RFC 9106) in memory that is used again: 19 MiB taken and freed for each hash never quite come back.

use anyhow::{Context as _, anyhow};
use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::phc::{Output, ParamsString, PasswordHash, Salt},
};

/// What one thread hashes in; as large as the dearest hash it has met.
pub type Memory = Vec<Block>;

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

impl Cost {
    /// As a PHC string: `$argon2id$v=19$m=19456,t=2,p=1$..`
    pub fn hash(self, password: &str, memory: &mut Memory) -> anyhow::Result<String> {
        let params = Params::new(self.memory_kib, self.passes, 1, None).map_err(failed)?;
        let salt = Salt::new(&rand::random::<[u8; 16]>()).map_err(failed)?;
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let hash = compute(&argon, password, &salt, Params::DEFAULT_OUTPUT_LEN, memory)?;
        let phc = PasswordHash {
            algorithm: Algorithm::Argon2id.ident(),
            version: Some(Version::V0x13.into()),
            params: ParamsString::try_from(argon.params()).map_err(failed)?,
            salt: Some(salt),
            hash: Some(hash),
        };
        Ok(phc.to_string())
    }

    /// Whether it is more than a stored hash cost; what is no hash of ours is hashed anew as well.
    pub fn exceeds(self, phc: &str) -> bool {
        let stored = PasswordHash::new(phc).ok().and_then(|phc| Params::try_from(&phc).ok());
        stored.is_none_or(|stored| stored.m_cost() < self.memory_kib || stored.t_cost() < self.passes)
    }
}

/// At whatever cost it was hashed.
pub fn fits(password: &str, phc: &str, memory: &mut Memory) -> anyhow::Result<bool> {
    let phc = PasswordHash::new(phc).map_err(failed).context("a stored hash is unreadable")?;
    let (salt, expected) = phc.salt.as_ref().zip(phc.hash.as_ref()).context("a stored hash is not whole")?;
    let algorithm = Algorithm::try_from(phc.algorithm.as_str()).map_err(failed)?;
    let version = phc.version.map(Version::try_from).transpose().map_err(failed)?.unwrap_or_default();
    let argon = Argon2::new(algorithm, version, Params::try_from(&phc).map_err(failed)?);
    // Compared in constant time.
    Ok(compute(&argon, password, salt, expected.len(), memory)? == *expected)
}

fn compute(
    argon: &Argon2<'_>,
    password: &str,
    salt: &[u8],
    length: usize,
    memory: &mut Memory,
) -> anyhow::Result<Output> {
    let blocks = argon.params().block_count();
    if memory.len() < blocks {
        memory.resize(blocks, Block::new());
    }
    let mut hash = [0; Output::MAX_LENGTH];
    let hash = &mut hash[..length];
    argon
        .hash_password_into_with_memory(password.as_bytes(), salt, hash, &mut memory[..blocks])
        .map_err(failed)?;
    Output::new(hash).map_err(failed)
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("argon2: {error}")
}
