//! What the server asks Postgres, as sqlx tells it.

use std::sync::{Arc, Mutex};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    subscriber::DefaultGuard,
};
use tracing_subscriber::{Layer, Registry, layer::Context, layer::SubscriberExt as _};

/// Listens to the statements that are run on this thread: an app that was started by a test runs on the test's.
pub struct Queries {
    heard: Arc<Mutex<Vec<String>>>,
    _guard: DefaultGuard,
}

impl Queries {
    pub fn listen() -> Self {
        let heard = Arc::<Mutex<Vec<String>>>::default();
        let guard = tracing::subscriber::set_default(Registry::default().with(Ear(heard.clone())));
        tracing::callsite::rebuild_interest_cache();
        Self { heard, _guard: guard }
    }

    /// Those about an org's rows since this was last asked, less what is asked of whoever comes in for the first time.
    pub fn of_rows(&self) -> Vec<String> {
        let heard = std::mem::take(&mut *self.heard.lock().unwrap());
        let about_rows =
            |statement: &String| statement.contains("org_id = $1") && !statement.contains("from members");
        heard.into_iter().filter(about_rows).collect()
    }

    /// How many transactions of orgs were begun since this was last asked.
    pub fn transactions(&self) -> usize {
        let heard = std::mem::take(&mut *self.heard.lock().unwrap());
        heard.iter().filter(|statement| statement.contains("set local app.org_id")).count()
    }
}

struct Ear(Arc<Mutex<Vec<String>>>);

impl<S: Subscriber> Layer<S> for Ear {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "sqlx::query" {
            let mut statement = Statement::default();
            event.record(&mut statement);
            self.0.lock().unwrap().push(statement.0);
        }
    }
}

/// Its beginning, and the whole of it where that is longer.
#[derive(Default)]
struct Statement(String);

impl Visit for Statement {
    fn record_str(&mut self, field: &Field, text: &str) {
        if ["summary", "db.statement"].contains(&field.name()) {
            self.0.push_str(text);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}
