//! Who does which kind of job: rooms name theirs, and the worker has them all.

use super::run::{Broken, Run, Succeeded};
use futures::future::BoxFuture;
use std::{collections::BTreeMap, sync::Arc};

type Handler = Arc<dyn Fn(Run) -> BoxFuture<'static, Result<Succeeded, Broken>> + Send + Sync>;

/// The kinds of jobs that this process can do.
#[derive(Clone, Default)]
pub struct Handlers(BTreeMap<&'static str, Handler>);

impl Handlers {
    /// With `kind` done by `handler`, which is called anew for each attempt and may be dropped at any await.
    #[must_use]
    pub fn on<F>(mut self, kind: &'static str, handler: impl Fn(Run) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Succeeded, Broken>> + Send + 'static,
    {
        self.0.insert(kind, Arc::new(move |run| Box::pin(handler(run))));
        self
    }

    /// Only these are claimed: another release may know the others.
    pub fn kinds(&self) -> Vec<String> {
        self.0.keys().map(|&kind| kind.to_owned()).collect()
    }

    pub(crate) fn get(&self, kind: &str) -> Option<Handler> {
        self.0.get(kind).cloned()
    }
}
