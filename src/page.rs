//! Keyset pages: what a list may be sorted and filtered by, the statement for it, and its signed cursors.
//!
//! A statement is put together from the static pieces of a `Listing` alone, so that the set of texts is
//! bounded and each holds just the filters that were asked for: `$1 is null or x = $1` would hide the index.

use crate::error::{Error, Result};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Serialize;
use sqlx::{FromRow, PgConnection, Postgres, QueryBuilder, Row as _, postgres::PgRow};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use utoipa::ToSchema;
use uuid::Uuid;

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    #[schema(max_items = 100)]
    pub data: Vec<T>,
    /// Send it as `cursor`, with the same sort and filters, for the page after this one.
    #[schema(max_length = 2000)]
    pub next_cursor: Option<String>,
    /// The same for the page before this one; none on the first.
    #[schema(max_length = 2000)]
    pub prev_cursor: Option<String>,
    /// Whether there is a page after this one.
    pub has_more: bool,
    /// How many there are on all pages, where `Prefer: count=exact` asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 1, minimum = 0, nullable = false)]
    pub total_count: Option<i64>,
}

/// What a resource's list offers: declared once, next to the resource.
pub struct Listing {
    /// The columns of the row type, comma separated.
    pub columns: &'static str,
    /// Table and standing conditions; `$1` is the org.
    pub from: &'static str,
    /// The first one, descending, is the default.
    pub sorts: &'static [Sort],
    pub filters: &'static [Filter],
}

pub struct Sort {
    pub name: &'static str,
    /// As in its index; text sorts by `collate "C"`.
    pub column: &'static str,
    /// The type that a cursor's text is read back as.
    pub cast: &'static str,
}

pub struct Filter {
    pub name: &'static str,
    /// Everything before the value, like `price >=`; or the whole, with `{}` in each place of the value.
    pub predicate: &'static str,
    pub kind: Kind,
    pub about: &'static str,
}

#[derive(Clone, Copy)]
pub enum Kind {
    /// An id with this prefix.
    Id(fn(&str) -> Option<Uuid>),
    Int,
    Bool,
    /// RFC 3339.
    Time,
    OneOf(&'static [&'static str]),
    Text,
    /// Words to be searched for.
    Words,
    /// What the path says: the list is one of many alike, and no query asks for it.
    Within,
    /// The same where the path names it by its id.
    WithinId(fn(&str) -> Option<Uuid>),
    /// A text, and how what it names is known to the database.
    Name(fn(&str) -> String),
}

enum Value {
    Uuid(Uuid),
    Int(i64),
    Bool(bool),
    Time(OffsetDateTime),
    Text(String),
}

impl Value {
    fn bind(&self, sql: &mut QueryBuilder<Postgres>) {
        match self {
            Self::Uuid(id) => sql.push_bind(*id),
            Self::Int(number) => sql.push_bind(*number),
            Self::Bool(yes) => sql.push_bind(*yes),
            Self::Time(at) => sql.push_bind(*at),
            Self::Text(word) => sql.push_bind(word.clone()),
        };
    }
}

pub const DEFAULT_LIMIT: u32 = 20;
pub const MAX_LIMIT: u32 = 100;

/// A list request that has been checked against its `Listing`.
pub struct Asked {
    listing: &'static Listing,
    org: Uuid,
    limit: u32,
    sort: &'static Sort,
    descending: bool,
    filters: Vec<(&'static Filter, Value)>,
    only: Option<(&'static str, Vec<String>)>,
    edge: Option<Edge>,
    seal: Seal,
}

/// The row that a page begins beyond, or, where it is the one before, ends short of.
#[derive(Debug, PartialEq, Eq)]
struct Edge {
    side: Side,
    key: String,
    id: Uuid,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    After,
    Before,
}

impl Asked {
    /// Reads the query of a request to list `listing` in `org`. Errors are 400 and name what is known.
    pub fn parse(
        listing: &'static Listing,
        org: Uuid,
        key: &CursorKey,
        query: &[(String, String)],
    ) -> Result<Self> {
        let mut limit = DEFAULT_LIMIT;
        let (mut sort, mut descending) = (&listing.sorts[0], true);
        let mut filters = Vec::new();
        let mut cursor = None;
        let mut seen: Vec<&str> = Vec::new();
        for (name, text) in query {
            if seen.contains(&name.as_str()) {
                return Err(unusable(name, "is given twice"));
            }
            seen.push(name);
            match name.as_str() {
                "limit" => {
                    limit = text
                        .parse()
                        .ok()
                        .filter(|limit| (1..=MAX_LIMIT).contains(limit))
                        .ok_or_else(|| unusable("limit", "is a number from 1 to 100"))?;
                }
                "sort" => {
                    let wanted = text.strip_prefix('-');
                    descending = wanted.is_some();
                    let wanted = wanted.unwrap_or(text);
                    sort = listing.sorts.iter().find(|sort| sort.name == wanted).ok_or_else(|| {
                        unusable(
                            "sort",
                            &format!("is one of {}, or one of them after a -", names(listing.sorts)),
                        )
                    })?;
                }
                "cursor" => cursor = Some(text),
                name => {
                    let filter = listing
                        .filters
                        .iter()
                        .find(|filter| filter.name == name)
                        .ok_or_else(|| listing.unknown(name, &[]))?;
                    filters.push((filter, filter.read(text)?));
                }
            }
        }
        filters.sort_by_key(|(filter, _)| filter.name);
        let seal = Seal::of(key, org, listing, query);
        let edge = cursor.map(|cursor| seal.open(cursor)).transpose()?;
        Ok(Self { listing, org, limit, sort, descending, filters, only: None, edge, seal })
    }

    /// The same of those alone whose `column` is one of `words`: what the caller may see of the list.
    #[must_use]
    pub fn only(self, column: &'static str, words: Vec<String>) -> Self {
        Self { only: Some((column, words)), ..self }
    }

    /// Runs the list's one statement and answers the page.
    pub async fn fetch<R, T>(&self, connection: &mut PgConnection) -> Result<Page<T>>
    where
        R: for<'row> FromRow<'row, PgRow> + Into<T>,
    {
        let mut rows = self.statement().build().fetch_all(connection).await?;
        let backwards = self.is_backwards();
        let goes_on = rows.len() > self.limit as usize;
        rows.truncate(self.limit as usize);
        if backwards {
            rows.reverse();
        }
        let (before, after) = match rows.first() {
            Some(first) if backwards => (goes_on, first.try_get("ahead")?),
            _ => (self.edge.is_some(), goes_on),
        };
        let cursor = |side, row: Option<&PgRow>| -> Result<Option<String>> {
            let Some(row) = row else { return Ok(None) };
            Ok(Some(self.seal.close(side, &row.try_get::<String, _>("sort_key")?, row.try_get("id")?)))
        };
        Ok(Page {
            next_cursor: cursor(Side::After, rows.last().filter(|_| after))?,
            prev_cursor: cursor(Side::Before, rows.first().filter(|_| before))?,
            has_more: after,
            total_count: None,
            data: rows.iter().map(|row| R::from_row(row).map(Into::into)).collect::<Result<_, _>>()?,
        })
    }

    /// How many rows there are on all pages.
    pub async fn count(&self, connection: &mut PgConnection) -> Result<i64> {
        let mut sql = QueryBuilder::new("select count(*) from ");
        self.push_rows(&mut sql);
        Ok(sql.build_query_scalar().fetch_one(connection).await?)
    }

    fn is_backwards(&self) -> bool {
        self.edge.as_ref().is_some_and(|edge| edge.side == Side::Before)
    }

    /// The page's statement. Tests ask Postgres how it would run it. A page before another is read backwards, and looks
    /// whether the other is still there.
    pub fn statement(&self) -> QueryBuilder<Postgres> {
        let Self { listing, sort, .. } = self;
        let falling = self.descending != self.is_backwards();
        let (order, beyond, behind) = if falling { ("desc", "<", ">=") } else { ("asc", ">", "<=") };
        let mut sql = QueryBuilder::new("select ");
        sql.push(listing.columns).push(", (").push(sort.column).push(")::text as sort_key");
        if let Some(edge) = self.edge.as_ref().filter(|_| self.is_backwards()) {
            // In order, so that it comes out of the index as well.
            sql.push(", coalesce((select true from ");
            self.push_rows(&mut sql);
            self.push_side(&mut sql, behind, edge);
            sql.push(" order by ").push(sort.column).push(", id limit 1), false) as ahead");
        }
        sql.push(" from ");
        self.push_rows(&mut sql);
        if let Some(edge) = &self.edge {
            self.push_side(&mut sql, beyond, edge);
        }
        sql.push(" order by ").push(sort.column).push(" ").push(order).push(", id ").push(order);
        sql.push(" limit ").push_bind(i64::from(self.limit) + 1);
        sql
    }

    /// Table and conditions.
    fn push_rows(&self, sql: &mut QueryBuilder<Postgres>) {
        let from = self.listing.from;
        let (table, conditions) = from.split_once("$1").unwrap_or((from, ""));
        sql.push(table).push_bind(self.org).push(conditions);
        for (filter, value) in &self.filters {
            let mut pieces = filter.predicate.split("{}").peekable();
            sql.push(" and (");
            while let Some(piece) = pieces.next() {
                sql.push(piece).push(" ");
                if pieces.peek().is_some() || !filter.predicate.contains("{}") {
                    value.bind(sql);
                }
            }
            sql.push(")");
        }
        if let Some((column, words)) = &self.only {
            sql.push(" and ").push(column).push(" = any(").push_bind(words.clone()).push(")");
        }
    }

    fn push_side(&self, sql: &mut QueryBuilder<Postgres>, side: &str, Edge { key, id, .. }: &Edge) {
        sql.push(" and (").push(self.sort.column).push(", id) ").push(side).push(" (");
        sql.push_bind(key.clone()).push("::text::").push(self.sort.cast).push(", ").push_bind(*id).push(")");
    }
}

impl Listing {
    pub fn knows(&self, name: &str) -> bool {
        COMMON.contains(&name) || self.filters.iter().any(|filter| !filter.is_path() && filter.name == name)
    }

    /// A refusal that names what this list knows, and what its answer does `besides`.
    pub fn unknown(&self, name: &str, besides: &[&str]) -> Error {
        let filters = self.filters.iter().filter(|filter| !filter.is_path()).map(|filter| filter.name);
        let known: Vec<&str> = COMMON.iter().chain(besides).copied().chain(filters).collect();
        Error::malformed(
            "unknown_parameter",
            format!("{name:?} is no parameter of this list; there are {}", known.join(", ")),
        )
    }
}

const COMMON: [&str; 3] = ["limit", "sort", "cursor"];

fn names(sorts: &[Sort]) -> String {
    sorts.iter().map(|sort| sort.name).collect::<Vec<_>>().join(", ")
}

fn unusable(name: &str, why: &str) -> Error {
    Error::malformed("bad_parameter", format!("{name} {why}"))
}

impl Filter {
    /// Whether its value is the path's.
    pub fn is_path(&self) -> bool {
        matches!(self.kind, Kind::Within | Kind::WithinId(_))
    }

    fn read(&self, text: &str) -> Result<Value> {
        let (value, expected) = match self.kind {
            Kind::Id(parse) | Kind::WithinId(parse) => (parse(text).map(Value::Uuid), "is an id".to_owned()),
            Kind::Int => (text.parse().ok().map(Value::Int), "is a whole number".to_owned()),
            Kind::Bool => (text.parse().ok().map(Value::Bool), "is true or false".to_owned()),
            Kind::Time => (
                OffsetDateTime::parse(text, &Rfc3339).ok().map(Value::Time),
                "is a time like 2026-11-23T10:00:00Z".to_owned(),
            ),
            Kind::OneOf(words) => (
                words.contains(&text).then(|| Value::Text(text.to_owned())),
                format!("is one of {}", words.join(", ")),
            ),
            Kind::Text | Kind::Within => {
                (plain(text).map(|text| Value::Text(text.to_owned())), PLAIN.to_owned())
            }
            Kind::Words => return sought(text).map(|text| Value::Text(text.to_owned())),
            Kind::Name(stored) => (plain(text).map(|text| Value::Text(stored(text))), PLAIN.to_owned()),
        };
        value.ok_or_else(|| unusable(self.name, &expected))
    }
}

/// The words of `?q=`, on a list or on a search.
///
/// # Errors
/// 400 where they are no text of 1 to 200 characters.
pub fn sought(q: &str) -> Result<&str> {
    let fits = (1..=200).contains(&q.chars().count()) && !q.contains('\0');
    fits.then_some(q).ok_or_else(|| unusable("q", "is a text of 1 to 200 characters"))
}

const PLAIN: &str = "is a text of up to 200 bytes";

fn plain(text: &str) -> Option<&str> {
    (text.len() <= 200 && !text.contains('\0')).then_some(text)
}

/// Signs cursors; derived from the platform's master key.
#[derive(Clone)]
pub struct CursorKey(pub [u8; 32]);

/// What a cursor is bound to: org, list, sort and filters. Anything else it does not open for.
struct Seal(Hmac<sha2::Sha256>);

const MAC: usize = 16;

impl Seal {
    fn of(key: &CursorKey, org: Uuid, listing: &Listing, query: &[(String, String)]) -> Self {
        // HMAC pads a key to its block.
        let mut block = [0; 64];
        block[..32].copy_from_slice(&key.0);
        let mut mac = <Hmac<sha2::Sha256>>::new(&block.into());
        mac.update(org.as_bytes());
        mac.update(listing.from.as_bytes());
        let mut bound: Vec<_> =
            query.iter().filter(|(name, _)| name != "cursor" && name != "limit").collect();
        bound.sort();
        for (name, text) in bound {
            for part in [name, text] {
                mac.update(&part.len().to_be_bytes());
                mac.update(part.as_bytes());
            }
        }
        Self(mac)
    }

    fn close(&self, side: Side, key: &str, id: Uuid) -> String {
        let mut letter = vec![u8::from(side == Side::Before)];
        letter.extend_from_slice(id.as_bytes());
        letter.extend_from_slice(key.as_bytes());
        let tag = self.0.clone().chain_update(&letter).finalize().into_bytes();
        letter.extend_from_slice(&tag[..MAC]);
        URL_SAFE_NO_PAD.encode(letter)
    }

    fn open(&self, cursor: &str) -> Result<Edge> {
        let forged = || {
            Error::malformed(
                "bad_cursor",
                "this cursor is not of this list with this sort and these filters; start again without one",
            )
        };
        let letter = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| forged())?;
        let (letter, tag) = letter.split_at_checked(letter.len().saturating_sub(MAC)).ok_or_else(forged)?;
        self.0.clone().chain_update(letter).verify_truncated_left(tag).map_err(|_| forged())?;
        let (side, letter) = letter.split_first().ok_or_else(forged)?;
        let (id, key) = letter.split_first_chunk().ok_or_else(forged)?;
        Ok(Edge {
            side: if *side == 0 { Side::After } else { Side::Before },
            key: String::from_utf8(key.to_vec()).map_err(|_| forged())?,
            id: Uuid::from_bytes(*id),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: Listing = Listing {
        columns: "id",
        from: "things where org_id = $1",
        sorts: &[Sort { name: "created_at", column: "created_at", cast: "timestamptz" }],
        filters: &[Filter { name: "open", predicate: "open =", kind: Kind::Bool, about: "" }],
    };

    fn ask(org: Uuid, query: &[(&str, &str)]) -> Result<Asked> {
        let query: Vec<_> =
            query.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        Asked::parse(&LISTING, org, &CursorKey([7; 32]), &query)
    }

    #[test]
    fn a_cursor_opens_only_for_the_list_it_was_made_for() {
        let (org, id) = (Uuid::from_u128(1), Uuid::from_u128(9));
        let cursor = ask(org, &[("open", "true")]).unwrap().seal.close(Side::After, "2026-01-01", id);

        let same = ask(org, &[("cursor", &cursor), ("open", "true"), ("limit", "3")]).unwrap();
        assert_eq!(same.edge, Some(Edge { side: Side::After, key: "2026-01-01".to_owned(), id }));

        assert!(ask(org, &[("cursor", &cursor)]).is_err(), "other filters");
        assert!(
            ask(org, &[("cursor", &cursor), ("open", "true"), ("sort", "created_at")]).is_err(),
            "other sort"
        );
        assert!(ask(Uuid::from_u128(2), &[("cursor", &cursor), ("open", "true")]).is_err(), "other org");
        let edited = format!("B{}", &cursor[1..]);
        assert!(ask(org, &[("cursor", &edited), ("open", "true")]).is_err(), "edited");
        for nonsense in ["", "x", "AAAA", "😀"] {
            assert!(ask(org, &[("cursor", nonsense)]).is_err(), "{nonsense:?}");
        }
    }

    #[test]
    fn an_unknown_parameter_is_answered_with_the_known_ones() {
        let Err(Error::Malformed { code, detail }) = ask(Uuid::from_u128(1), &[("opne", "true")]) else {
            panic!("accepted")
        };
        assert_eq!(code, "unknown_parameter");
        assert_eq!(detail, r#""opne" is no parameter of this list; there are limit, sort, cursor, open"#);
    }
}
