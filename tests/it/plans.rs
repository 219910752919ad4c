//! Every page of every list is served by an index, whatever it is sorted and filtered by.

use super::support::Database;
use insula::{
    api::{api_keys::ApiKey, categories::Category, orders::Order, products::Product},
    extract::Listed,
    ids::{CategoryId, OrgId},
    page::{Asked, CursorKey, Filter, Kind, Listing},
};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

const ROWS: u32 = 20_000;

#[tokio::test]
async fn no_page_of_a_list_reads_the_whole_org() {
    let database = Database::new().await;
    let org = database.large_org(ROWS).await;
    database.large_org(ROWS / 4).await;
    let mut room = Room { db: database.connect("insula_app").await, org, complaints: Vec::new() };
    room.inspect::<Product>().await;
    room.inspect::<Category>().await;
    room.inspect::<Order>().await;
    room.inspect::<ApiKey>().await;
    assert!(room.complaints.is_empty(), "{}", room.complaints.join("\n"));

    // And so it would be seen: without their indexes these orders are sorted.
    let mut admin = database.connect("postgres").await;
    admin.execute("drop index products_price, orders_created_at").await.unwrap();
    room.inspect::<Product>().await;
    room.inspect::<Order>().await;
    for missed in ["?sort=-price:", "?sort=price&cursor", "?sort=created_at:"] {
        assert!(
            room.complaints.iter().any(|complaint| complaint.contains(missed)),
            "{missed} let pass: {:?}",
            room.complaints
        );
    }
}

/// Where plans are asked for: a connection of the app role, in the eyes of one org.
struct Room {
    db: PgConnection,
    org: OrgId,
    complaints: Vec<String>,
}

impl Room {
    /// Every sort, up and down, with no filter and with each, on the first page and after it.
    async fn inspect<T: Listed>(&mut self) {
        let listing = T::LISTING;
        for sort in listing.sorts {
            for direction in ["", "-"] {
                for filter in std::iter::once(None).chain(listing.filters.iter().map(Some)) {
                    let mut query = vec![("sort".to_owned(), format!("{direction}{}", sort.name))];
                    query.extend(filter.map(|filter| (filter.name.to_owned(), sample(filter))));
                    self.look::<T>(&query, sort.column, filter).await;
                    // A cursor is bound to its filters, and not every filter has a second page here.
                    if filter.is_none() {
                        query.push(("cursor".to_owned(), self.cursor::<T>(&query).await));
                        self.look::<T>(&query, sort.column, None).await;
                    }
                }
            }
        }
    }

    async fn look<T: Listed>(&mut self, query: &[(String, String)], column: &str, filter: Option<&Filter>) {
        let asked = asked(T::LISTING, self.org, query);
        let plan = Plan(self.explain(asked.statement().sql().as_str()).await);
        let mut complain = |what: &str| {
            let asked: Vec<_> = query.iter().map(|(name, value)| format!("{name}={value:.20}")).collect();
            self.complaints.push(format!(
                "{} ?{}: {what}\n{}",
                T::LISTING.from,
                asked.join("&"),
                plan.told()
            ));
        };
        if plan.has("Seq Scan") {
            complain("reads the whole table");
        }
        // Sorting is fair only of what an index on the filter has picked. (An "incremental" sort has the order
        // of an index, and sorts ties.)
        let picked = filter.is_some_and(|filter| plan.condition_names(filter.predicate));
        if !picked && plan.has("Sort") {
            complain("reads and sorts the whole org");
        }
        if query.iter().any(|(name, _)| name == "cursor") && !plan.condition_names(column) {
            complain("reads all pages before this one");
        }
    }

    /// As it runs for any org: planned before the values are known.
    async fn explain(&mut self, statement: &str) -> Value {
        let mut tx = self.db.begin().await.unwrap();
        let setting = format!(
            "set local app.org_id = '{}'; set local plan_cache_mode = force_generic_plan",
            self.org.uuid()
        );
        tx.execute(sqlx::raw_sql(AssertSqlSafe(setting))).await.unwrap();
        tx.execute(sqlx::raw_sql(AssertSqlSafe(format!("prepare page as {statement}")))).await.unwrap();
        let values: String = sqlx::query_scalar(
            "select array_to_string(array_fill('null'::text, array[cardinality(parameter_types)]), ',')
             from pg_prepared_statements where name = 'page'",
        )
        .fetch_one(&mut *tx)
        .await
        .unwrap();
        let explain = AssertSqlSafe(format!("explain (format json) execute page ({values})"));
        let plan: Value = sqlx::query_scalar(explain).fetch_one(&mut *tx).await.unwrap();
        tx.execute("deallocate page").await.unwrap();
        plan
    }

    /// Where the second page begins, found by reading the first.
    async fn cursor<T: Listed>(&mut self, query: &[(String, String)]) -> String {
        let asked = asked(T::LISTING, self.org, query);
        let mut tx = self.db.begin().await.unwrap();
        let setting = format!("set local app.org_id = '{}'", self.org.uuid());
        tx.execute(AssertSqlSafe(setting)).await.unwrap();
        asked.fetch::<T::Row, T>(&mut tx).await.unwrap().next_cursor.unwrap()
    }
}

fn asked(listing: &'static Listing, org: OrgId, query: &[(String, String)]) -> Asked {
    Asked::parse(listing, org.uuid(), &CursorKey([7; 32]), query).unwrap()
}

/// Something to filter by.
fn sample(filter: &Filter) -> String {
    match filter.kind {
        Kind::Id(parse) => {
            let category = CategoryId::new().to_string();
            assert!(parse(&category).is_some(), "give {:?} an id of its kind", filter.name);
            category
        }
        Kind::Int => "4000".to_owned(),
        Kind::Bool => "true".to_owned(),
        Kind::Time => "2026-11-23T10:00:00Z".to_owned(),
        Kind::OneOf(words) => words[0].to_owned(),
        Kind::Text => "a".to_owned(),
    }
}

/// What `explain (format json)` says.
struct Plan(Value);

impl Plan {
    fn nodes(&self) -> Vec<&Value> {
        let mut nodes = vec![&self.0[0]["Plan"]];
        let mut at = 0;
        while let Some(node) = nodes.get(at).copied() {
            nodes.extend(node["Plans"].as_array().into_iter().flatten());
            at += 1;
        }
        nodes
    }

    /// For who must see why.
    fn told(&self) -> String {
        let tell = |node: &&Value| {
            let known = ["Node Type", "Index Name", "Index Cond", "Filter", "Sort Key"].map(|key| &node[key]);
            let known: Vec<_> =
                known.iter().filter(|value| !value.is_null()).map(ToString::to_string).collect();
            format!("    {}\n", known.join(" "))
        };
        self.nodes().iter().map(tell).collect()
    }

    fn has(&self, kind: &str) -> bool {
        self.nodes().iter().any(|node| node["Node Type"] == kind)
    }

    /// Whether an index is entered by the column that this piece of SQL begins with.
    fn condition_names(&self, sql: &str) -> bool {
        let column = sql.split(' ').next().unwrap();
        self.nodes().iter().any(|node| {
            let condition = node["Index Cond"].as_str().unwrap_or_default();
            condition
                .split(|letter: char| !letter.is_alphanumeric() && letter != '_')
                .any(|word| word == column)
        })
    }
}
