//! What settings must be beyond what their types say, checked before anything starts.

use super::{Auth, Config, Mail, Unusable};
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::PgConnectOptions;
use std::str::FromStr as _;

impl Config {
    /// What reading the database needs.
    pub fn check_for_reading(&self) -> Result<(), Unusable> {
        required("INSULA_DATABASE__APP_URL", &self.database.app_url, "postgres://insula_app:..@host/insula")?;
        required(
            "INSULA_DATABASE__PLATFORM_URL",
            &self.database.platform_url,
            "postgres://insula_platform:..@host/insula",
        )
    }

    /// What `serve` needs beyond what the types say.
    pub fn check_for_serving(&self) -> Result<(), Unusable> {
        self.check_for_reading()?;
        self.master_key()?;
        let url = &self.http.public_url;
        if !url.starts_with("https://") && !url.starts_with("http://") {
            return Err(Unusable(format!(
                "INSULA_HTTP__PUBLIC_URL: {url:?} is no address; set where clients reach this API, like https://api.example.com"
            )));
        }
        self.check_mail()?;
        self.check_argon2()?;
        for origin in &self.http.allowed_origins {
            if origin.parse::<axum::http::HeaderValue>().is_err() || !origin.contains("://") {
                return Err(Unusable(format!(
                    "INSULA_HTTP__ALLOWED_ORIGINS: {origin:?} is no origin; write it like https://app.example.com"
                )));
            }
        }
        for (key, url) in [("APP", &self.database.app_url), ("PLATFORM", &self.database.platform_url)] {
            let text = url.expose_secret();
            // The parser takes any scheme.
            let postgres = ["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme));
            if !postgres || PgConnectOptions::from_str(text).is_err() {
                return Err(Unusable(format!("INSULA_DATABASE__{key}_URL: is no Postgres address")));
            }
        }
        let issuer = &self.auth.totp_issuer;
        if issuer.trim().is_empty() || issuer.contains(':') {
            return Err(Unusable(format!(
                "INSULA_AUTH__TOTP_ISSUER: {issuer:?} can't stand before a colon in an authenticator app; set a plain name"
            )));
        }
        for (key, value) in [
            ("LIMITS__IP__QUOTA_PER_MINUTE", u64::from(self.limits.ip.quota_per_minute)),
            ("LIMITS__IP__BURST", u64::from(self.limits.ip.burst)),
            ("LIMITS__IP__NETWORK_QUOTA_PER_MINUTE", u64::from(self.limits.ip.of_networks().0)),
            ("LIMITS__IP__NETWORK_BURST", u64::from(self.limits.ip.of_networks().1)),
            ("AUTH__LOCK_AFTER_FAILURES", u64::from(self.auth.lock_after_failures)),
            ("AUTH__LOCK_MINUTES", u64::from(self.auth.lock_minutes)),
            ("AUTH__ACCESS_SECONDS", u64::from(self.auth.access_seconds)),
            ("AUTH__REFRESH_IDLE_DAYS", u64::from(self.auth.refresh_idle_days)),
            ("AUTH__SESSION_DAYS", u64::from(self.auth.session_days)),
            ("DATABASE__APP_CONNECTIONS", u64::from(self.database.app_connections)),
            ("DATABASE__ORG_CONNECTIONS", self.database.org_connections.map_or(1, u64::from)),
            ("DATABASE__GATE_CONNECTIONS", u64::from(self.database.gate_connections)),
            ("DATABASE__PLATFORM_CONNECTIONS", u64::from(self.database.platform_connections)),
            ("HTTP__TIMEOUT_SECONDS", self.http.timeout_seconds),
            ("HTTP__UNREAD_SECONDS", self.http.unread_seconds),
            ("REDIS__TIMEOUT_MILLISECONDS", self.redis.timeout_milliseconds),
            ("REDIS__ASSUMED_REPLICAS", u64::from(self.redis.assumed_replicas)),
            ("AUTHZ__POLICIES_MEBIBYTES", u64::from(self.authz.policies_mebibytes)),
            ("STORAGE__IMPORT_MEBIBYTES", u64::from(self.storage.import_mebibytes)),
            ("USAGE__JOURNAL_MEBIBYTES", u64::from(self.usage.journal_mebibytes)),
            ("USAGE__RETENTION_DAYS", u64::from(self.usage.retention_days)),
            ("DECISIONS__RETENTION_DAYS", u64::from(self.decisions.retention_days)),
            ("JOBS__RETENTION_DAYS", u64::from(self.jobs.retention_days)),
            ("JOBS__FAILED_RETENTION_DAYS", u64::from(self.jobs.failed_retention_days)),
            ("WEBHOOKS__TIMEOUT_MILLISECONDS", self.webhooks.timeout_milliseconds),
            ("WEBHOOKS__RETENTION_DAYS", u64::from(self.webhooks.retention_days)),
            ("DECISIONS__MEBIBYTES", u64::from(self.decisions.mebibytes)),
            ("AUTH__CONCURRENT_HASHES", self.auth.concurrent_hashes as u64),
        ] {
            if value == 0 {
                return Err(Unusable(format!("INSULA_{key}: must be at least 1")));
            }
        }
        if !(1..=1024).contains(&self.storage.file_mebibytes) {
            return Err(Unusable::new("INSULA_STORAGE__FILE_MEBIBYTES", "must be 1 to 1024"));
        }
        if self.cache.max_age_milliseconds > 1000 {
            return Err(Unusable::new(
                "INSULA_CACHE__MAX_AGE_MILLISECONDS",
                "must be 0 (keep nothing) to 1000: what another replica writes is seen within a second",
            ));
        }
        if self.webhooks.retry_seconds.iter().any(|wait| !(0.0..=86_400.0).contains(wait)) {
            return Err(Unusable::new("INSULA_WEBHOOKS__RETRY_SECONDS", "must be 0 to 86400 (a day) each"));
        }
        if !(0.0..=1.0).contains(&self.decisions.sample) {
            return Err(Unusable::new(
                "INSULA_DECISIONS__SAMPLE",
                "must be 0 (record nothing) to 1 (every org)",
            ));
        }
        if !(0.0..=1.0).contains(&self.traces.sample) {
            return Err(Unusable::new("INSULA_TRACES__SAMPLE", "must be 0 (none) to 1 (every trace)"));
        }
        let collector = &self.traces.otlp_url;
        if !collector.is_empty() && !collector.starts_with("http://") && !collector.starts_with("https://") {
            return Err(Unusable::new(
                "INSULA_TRACES__OTLP_URL",
                "is no address; write it like http://otel-collector:4318",
            ));
        }
        Ok(())
    }

    fn check_mail(&self) -> Result<(), Unusable> {
        let Mail { smtp_url, folder, link_base, .. } = &self.mail;
        if !smtp_url.expose_secret().is_empty() && !folder.as_os_str().is_empty() {
            return Err(Unusable::new(
                "INSULA_MAIL__FOLDER",
                "mails go to a folder or to SMTP_URL: set one of them",
            ));
        }
        if !link_base.is_empty() && !link_base.starts_with("https://") && !link_base.starts_with("http://") {
            return Err(Unusable::new(
                "INSULA_MAIL__LINK_BASE",
                format!(
                    "{link_base:?} is no address; set where your pages are, like https://app.example.com"
                ),
            ));
        }
        Ok(())
    }

    /// Between what anybody could guess through and what would fill the machine.
    fn check_argon2(&self) -> Result<(), Unusable> {
        let Auth { argon2_memory_kib, argon2_passes, .. } = self.auth;
        if !(7_168..=1_048_576).contains(&argon2_memory_kib) {
            return Err(Unusable::new(
                "INSULA_AUTH__ARGON2_MEMORY_KIB",
                "must be 7168 (7 MiB) to 1048576 (1 GiB)",
            ));
        }
        if !(1..=20).contains(&argon2_passes) {
            return Err(Unusable::new("INSULA_AUTH__ARGON2_PASSES", "must be 1 to 20"));
        }
        Ok(())
    }

    pub fn check_for_migrating(&self) -> Result<(), Unusable> {
        required(
            "INSULA_DATABASE__OWNER_URL",
            &self.database.owner_url,
            "postgres://insula_owner:..@host/insula",
        )
    }
}

fn required(key: &str, value: &SecretString, example: &str) -> Result<(), Unusable> {
    if value.expose_secret().is_empty() {
        return Err(Unusable(format!("{key}: is not set; it looks like {example}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serving_needs_a_database_and_says_how_its_address_looks() {
        let config = Config::with("").unwrap();
        let missing = config.check_for_serving().unwrap_err().to_string();
        assert_eq!(
            missing,
            "INSULA_DATABASE__APP_URL: is not set; it looks like postgres://insula_app:..@host/insula"
        );
    }

    #[test]
    fn an_issuer_that_no_app_can_show_is_refused() {
        for issuer in ["", "Acme: the shop"] {
            let databases = "[database]\napp_url = \"postgres://a@h/d\"\nplatform_url = \"postgres://b@h/d\"";
            let auth = format!("[auth]\nmaster_key = \"{}=\"\ntotp_issuer = {issuer:?}", "A".repeat(43));
            let config = Config::with_all(&[databases, &auth]).unwrap();
            let wrong = config.check_for_serving().unwrap_err().to_string();
            assert!(wrong.starts_with("INSULA_AUTH__TOTP_ISSUER: "), "{wrong}");
        }
    }

    #[test]
    fn a_cost_that_anybody_could_guess_through_is_refused_and_so_is_one_that_fills_the_machine() {
        for (setting, key) in [
            ("argon2_memory_kib = 7167", "ARGON2_MEMORY_KIB"),
            ("argon2_memory_kib = 1048577", "ARGON2_MEMORY_KIB"),
            ("argon2_passes = 0", "ARGON2_PASSES"),
            ("argon2_passes = 21", "ARGON2_PASSES"),
        ] {
            let refused = Config::with(&format!("[auth]\n{setting}")).unwrap().check_argon2();
            assert!(
                refused.unwrap_err().to_string().starts_with(&format!("INSULA_AUTH__{key}: ")),
                "{setting}"
            );
        }
        Config::with("").unwrap().check_argon2().unwrap();
    }

    #[test]
    fn mails_have_one_way_to_go_and_links_that_lead_somewhere() {
        let refused = |mail: &str| {
            Config::with(&format!("[mail]\n{mail}")).unwrap().check_mail().unwrap_err().to_string()
        };
        let two = refused("smtp_url = \"smtp://localhost\"\nfolder = \"/tmp/mail\"");
        assert!(two.starts_with("INSULA_MAIL__FOLDER: "), "{two}");
        assert!(refused("link_base = \"app.example.com\"").starts_with("INSULA_MAIL__LINK_BASE: "));

        let unset = Config::with("[http]\npublic_url = \"https://api.example.com/\"").unwrap();
        assert_eq!(unset.link_base(), "https://api.example.com");
        let set = Config::with("[mail]\nlink_base = \"https://app.example.com/\"").unwrap();
        assert_eq!(set.link_base(), "https://app.example.com");
        assert!(Config::with("[dev]\nmail_page = true").is_err(), "no setting shows everybody's mails");
    }
}
