//! The ways in which a limit is counted.

/// By what count a limit is kept.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    utoipa::ToSchema,
    sqlx::Type,
)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum Counting {
    /// By the one whole count: there is no Redis, or it was asked for every unit.
    #[default]
    Exact,
    /// By units that a replica has leased from the whole count, which is in Redis.
    Leased,
    /// By a replica's share of the limit, since Redis is away.
    Degraded,
}

impl Counting {
    pub const ALL: [Self; 3] = [Self::Exact, Self::Leased, Self::Degraded];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Leased => "leased",
            Self::Degraded => "degraded",
        }
    }
}
