//! Casbin: the only judge of what a role may do, asked about one permission at a time.
//!
//! Casbin walks every rule it was given for every question, and an enforcer that is kept is most of what an org's
//! policy weighs in memory. So it is given the rules that can speak to the question, those of the one permission
//! (Casbin's own loading of a filtered policy), and is let go once it has answered; the answers are kept.

use super::Permission;
use anyhow::{Context as _, anyhow, ensure};
use casbin::{
    CoreApi as _, DefaultEffector, DefaultModel, EffectKind, Effector, EffectorStream, Enforcer, NullAdapter,
};
use parking_lot::Mutex;
use std::{
    future::Future,
    pin::pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, Waker},
};

pub const MODEL: &str = include_str!("../../policies/model.conf");

/// Words of a rule or a link, in the order of the model.
pub(super) type Rules = Vec<Vec<String>>;

pub(super) struct Judge {
    enforcer: Enforcer,
    matched: Arc<Mutex<Vec<usize>>>,
}

/// What Casbin said, and the rules that made it say so.
pub(super) struct Verdict {
    pub allowed: bool,
    /// Places of the rules that applied, up to the one that settled it.
    pub matched: Vec<usize>,
}

impl Judge {
    /// `rules` are `role, domain, resource, action, effect`, and `links` `role, inherited, domain`; none twice.
    pub fn new(rules: Rules, links: Rules) -> anyhow::Result<Self> {
        Self::of(model()?.clone(), rules, links)
    }

    /// Under a model that is still to be proven.
    pub fn of(model: DefaultModel, rules: Rules, links: Rules) -> anyhow::Result<Self> {
        let mut enforcer = at_once(Enforcer::new_raw(model, NullAdapter))??;
        let model = enforcer.get_mut_model();
        // Casbin drops the whole of what holds something twice, and says so only in passing.
        ensure!(model.add_policies("p", "p", rules), "a rule is there twice");
        ensure!(model.add_policies("g", "g", links), "a link is there twice");
        enforcer.build_role_links()?;
        let matched = Arc::default();
        enforcer.set_effector(Box::new(Witness(Arc::clone(&matched))));
        Ok(Self { enforcer, matched })
    }

    /// Whether `subject` has the permission. What can't be decided is refused.
    pub fn ask(&self, subject: &str, domain: &str, permission: Permission) -> Verdict {
        let Permission { resource, action } = permission;
        self.matched.lock().clear();
        let allowed = self
            .enforcer
            .enforce((subject, domain, resource.as_str(), action.as_str()))
            .unwrap_or_else(|error| {
                tracing::error!(%error, "casbin could not decide; refused");
                false
            });
        Verdict { allowed, matched: std::mem::take(&mut self.matched.lock()) }
    }
}

/// Parsed once.
fn model() -> anyhow::Result<&'static DefaultModel> {
    static PARSED: OnceLock<Result<DefaultModel, String>> = OnceLock::new();
    let parsed = PARSED.get_or_init(|| parse(MODEL).map_err(|error| format!("{error:#}")));
    parsed.as_ref().map_err(|error| anyhow!("{error}"))
}

pub(super) fn parse(text: &str) -> anyhow::Result<DefaultModel> {
    at_once(DefaultModel::from_str(text))?.context("policies/model.conf")
}

/// Casbin's constructors are async for the adapters that read something; ours has nothing to wait for.
fn at_once<T>(future: impl Future<Output = T>) -> anyhow::Result<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Ok(done),
        Poll::Pending => Err(anyhow!("casbin waits for something")),
    }
}

/// Casbin's own effects, and a note of which rules had one.
struct Witness(Arc<Mutex<Vec<usize>>>);

struct Watched {
    stream: Box<dyn EffectorStream>,
    at: usize,
    matched: Arc<Mutex<Vec<usize>>>,
}

impl Effector for Witness {
    fn new_stream(&self, expression: &str, rules: usize) -> Box<dyn EffectorStream> {
        let stream = DefaultEffector.new_stream(expression, rules);
        Box::new(Watched { stream, at: 0, matched: Arc::clone(&self.0) })
    }
}

impl EffectorStream for Watched {
    fn next(&self) -> bool {
        self.stream.next()
    }

    fn push_effect(&mut self, effect: EffectKind) -> bool {
        if effect != EffectKind::Indeterminate {
            self.matched.lock().push(self.at);
        }
        self.at += 1;
        self.stream.push_effect(effect)
    }
}
