//! Files that jobs read and write: of which rows, in which form, and where they are kept.

use crate::{
    error::Result,
    ids::{JobId, OrgId},
    storage,
    tenancy::TenantTx,
};
use axum::http::HeaderValue;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What can be taken in and given out by the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rows {
    Products,
}

/// How rows are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// RFC 4180, in UTF-8, with a header row.
    Csv,
    /// A JSON object a line.
    Ndjson,
}

impl Format {
    /// That of a body of this media type, whatever its parameters are.
    pub fn of(content_type: &str) -> Option<Self> {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        [Self::Csv, Self::Ndjson].into_iter().find(|format| essence.eq_ignore_ascii_case(format.media_type()))
    }

    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv",
            Self::Ndjson => "application/x-ndjson",
        }
    }

    /// As answers declare it.
    pub const fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Ndjson => "application/x-ndjson",
        })
    }

    pub const fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
        }
    }
}

/// A file of CSV with a header row.
#[derive(ToSchema)]
#[schema(
    value_type = String,
    max_length = 1_000_000_000_000_usize,
    example = "sku,name,price_amount,price_currency\nCOG-1,Cog,1999,EUR\n"
)]
#[expect(dead_code, reason = "streamed; this is how it looks")]
pub struct CsvFile(String);

/// A file with a JSON object a line, each as for `POST /products`.
#[derive(ToSchema)]
#[schema(
    value_type = String,
    max_length = 1_000_000_000_000_usize,
    example = "{\"sku\": \"COG-1\", \"name\": \"Cog\", \"price\": {\"amount\": 1999, \"currency\": \"EUR\"}}\n"
)]
#[expect(dead_code, reason = "streamed; this is how it looks")]
pub struct NdjsonFile(String);

/// Where the file of a job is kept.
pub fn key(org: OrgId, job: JobId) -> storage::Key {
    storage::Key::of(org, job)
}

/// Writes down that there is, or soon will be, a file of this job: what is not written down, no sweep finds.
pub async fn note(tx: &mut TenantTx, job: JobId) -> Result<()> {
    sqlx::query!("insert into job_files (org_id, job_id) values ($1, $2)", tx.org().uuid(), job.uuid())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Format;

    #[test]
    fn a_body_is_of_the_form_that_its_media_type_says() {
        assert_eq!(Format::of("text/csv"), Some(Format::Csv));
        assert_eq!(Format::of("Text/CSV; charset=utf-8"), Some(Format::Csv));
        assert_eq!(Format::of("application/x-ndjson"), Some(Format::Ndjson));
        for other in ["", "application/json", "text/plain", "text/csvx"] {
            assert_eq!(Format::of(other), None, "{other}");
        }
    }
}
