//! `PlatformDb`: the door of operators and workers, through policies written for the platform role by name.

use super::tx::Held;
use crate::{db::Pools, error::Result, ids::OrgId};
use sqlx::{Executor as _, PgConnection};
use std::ops::{Deref, DerefMut};

/// Opens transactions across orgs. Only a signed-in operator's request and the platform's own work have one.
#[derive(Clone)]
pub struct PlatformDb(Pools);

impl PlatformDb {
    pub fn new(pools: Pools) -> Self {
        Self(pools)
    }

    pub async fn begin(&self) -> Result<PlatformTx> {
        let mut tx = PlatformTx(Held::take(&self.0.platform).await?);
        tx.execute(sqlx::raw_sql("begin")).await?;
        Ok(tx)
    }
}

/// An open transaction that sees what the platform role's policies show it; rolled back unless committed.
#[must_use = "a transaction that is not committed is rolled back"]
pub struct PlatformTx(Held);

impl PlatformTx {
    pub async fn commit(mut self) -> Result<()> {
        self.execute(sqlx::raw_sql("commit")).await?;
        self.0.finished();
        Ok(())
    }
}

impl Deref for PlatformTx {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.0.get()
    }
}

impl DerefMut for PlatformTx {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.0.get_mut()
    }
}

impl PlatformTx {
    /// Who changes an org after this takes turns with whoever does the same, and so knows what they found.
    pub async fn lock_org(&mut self, org: OrgId) -> Result<()> {
        sqlx::query!("select from org_control where org_id = $1 for no key update", org.uuid())
            .execute(&mut **self)
            .await?;
        Ok(())
    }

    /// Tells every replica of a change at commit. Last: the counter of changes is locked from here on.
    pub async fn tell_of_org(&mut self, org: OrgId) -> Result<()> {
        sqlx::query!("select control_change('org', $1, null)", org.uuid()).execute(&mut **self).await?;
        Ok(())
    }

    /// The org that an operator names by its id or slug.
    pub async fn org_named(&mut self, name: &str) -> Result<Option<OrgId>> {
        let id = name.parse().ok().map(OrgId::uuid);
        let found = sqlx::query_scalar!(
            r#"select id as "id: OrgId" from orgs where id = $1 or slug = $2 and $1 is null"#,
            id,
            name
        );
        Ok(found.fetch_optional(&mut **self).await?)
    }
}
