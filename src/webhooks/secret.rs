//! What requests to an endpoint are signed with: Standard Webhooks, symmetric (`v1`).

use crate::{
    error::{Error, Result},
    ids::WebhookSecretId,
    vault::Vault,
};
use anyhow::anyhow;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{SecretString, zeroize::Zeroizing};

/// The specification asks for 24 to 64.
const BYTES: usize = 32;

/// Known to the platform and to whoever runs the endpoint. At rest it is sealed, under the id of its row.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    #[expect(clippy::new_without_default, reason = "two calls never agree")]
    pub fn new() -> Self {
        Self(Zeroizing::new(rand::random::<[u8; BYTES]>().to_vec()))
    }

    /// For whoever runs the endpoint, once: `whsec_` and base64, as the libraries of Standard Webhooks take it.
    pub fn text(&self) -> SecretString {
        format!("whsec_{}", STANDARD.encode(&*self.0)).into()
    }

    pub fn seal(&self, vault: &Vault, id: WebhookSecretId) -> Result<Vec<u8>> {
        vault.seal(&sealed_as(id), &self.0)
    }

    /// # Errors
    /// Internal where it was sealed under another master key, or is another row's.
    pub fn open(vault: &Vault, id: WebhookSecretId, sealed: &[u8]) -> Result<Self> {
        Ok(Self(Zeroizing::new(vault.open(&sealed_as(id), sealed)?)))
    }

    /// The signature of a message, one of those that `webhook-signature` lists: `v1,` and, in base64, HMAC-SHA-256 of
    /// `<id>.<timestamp>.<body>`. `timestamp` is in seconds since 1970, as `webhook-timestamp` has it.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> Result<String> {
        let mac = <Hmac<sha2::Sha256>>::new_from_slice(&self.0)
            .map_err(|error| Error::Internal(anyhow!("signing a webhook: {error}")))?
            .chain_update(format!("{id}.{timestamp}."))
            .chain_update(body);
        Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
    }
}

fn sealed_as(id: WebhookSecretId) -> String {
    format!("webhook secret {id}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

    /// The example of the specification, which every library of Standard Webhooks tests itself with.
    #[test]
    fn a_message_is_signed_as_the_specification_signs_it() {
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = Secret(Zeroizing::new(key)).sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature.unwrap(), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_is_opened_in_its_own_row_alone_and_is_32_bytes_of_base64() {
        let (vault, id) = (Vault::new(&[7; 32]).unwrap(), WebhookSecretId::new());
        let secret = Secret::new();
        let sealed = secret.seal(&vault, id).unwrap();
        let opened = Secret::open(&vault, id, &sealed).unwrap();
        assert_eq!(opened.text().expose_secret(), secret.text().expose_secret());
        assert!(Secret::open(&vault, WebhookSecretId::new(), &sealed).is_err());
        assert_ne!(Secret::new().text().expose_secret(), secret.text().expose_secret());

        let text = secret.text();
        let base64 = text.expose_secret().strip_prefix("whsec_").unwrap();
        assert_eq!(STANDARD.decode(base64).unwrap().len(), 32);
    }
}
