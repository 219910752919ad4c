//! What Postgres means to do for a list request, and what may be said of it.

use insula::{extract::Listed, page::Asked};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};
use std::fmt;

pub struct Plan {
    statement: String,
    /// The list's own.
    table: &'static str,
    nodes: Vec<Value>,
}

impl Plan {
    /// The plan for any values, and for any org: found by the org's id, and by no reading of whole tables.
    pub async fn of<T: Listed>(app: &mut PgConnection, asked: &Asked) -> Self {
        let statement = asked.statement().into_string();
        app.execute(AssertSqlSafe(format!("prepare asked as {statement}"))).await.unwrap();
        let explain: String = sqlx::query_scalar(
            "select format('explain (format json) execute asked(%s)',
                           array_to_string(array_fill('null'::text, array[cardinality(parameter_types)]), ', '))
             from pg_prepared_statements where name = 'asked'",
        )
        .fetch_one(&mut *app)
        .await
        .unwrap();
        let plan: Value = sqlx::query_scalar(AssertSqlSafe(explain)).fetch_one(&mut *app).await.unwrap();
        app.execute("deallocate asked").await.unwrap();
        let plan = Self { statement, table: column(T::LISTING.from), nodes: flat(&plan[0]["Plan"]) };
        assert!(!plan.has("Seq Scan"), "{plan:?} reads a whole table: which index should serve it?");
        plan.looks_up("org_id");
        plan
    }

    pub fn has(&self, kind: &str) -> bool {
        self.nodes.iter().any(|node| node["Node Type"] == kind)
    }

    /// Only rows that tie in the index's order may still be put in the order of their ids.
    #[track_caller]
    pub fn is_walked_in_order(&self) {
        assert!(!self.has("Sort"), "{self:?} sorts what an index should hold in order");
    }

    /// Rows of the list's table are found by this column, among others.
    #[track_caller]
    pub fn looks_up(&self, column: &str) {
        let own = self.nodes.iter().filter(|node| node["Relation Name"] == self.table);
        let mut conditions =
            own.filter_map(|node| node["Index Cond"].as_str().or(node["Recheck Cond"].as_str()));
        // Whole words: `id` is a part of `org_id`.
        let named = |condition: &str| {
            condition.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == column)
        };
        assert!(
            conditions.any(named),
            "{self:?} looks at each row's {column}: is there an index on (org_id, {column}, ..), \
             and are the operators leakproof?"
        );
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{:#}\n", self.statement, self.nodes[0])
    }
}

fn flat(node: &Value) -> Vec<Value> {
    let below = node["Plans"].as_array().into_iter().flatten().flat_map(flat);
    [node.clone()].into_iter().chain(below).collect()
}

/// The column that a predicate or a sort is about, or the table that a list is from.
pub fn column(expression: &'static str) -> &'static str {
    expression.split(' ').next().unwrap()
}
