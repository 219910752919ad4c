//! A Redis of the tests' own, whose script is told the time instead of asking for it.

use super::{
    super::{Subject, TierPlan, fixture::World},
    births::Births,
    call::{self, Asked, Told},
    lease::Ask,
};
use crate::{ids::OrgId, local::Redis};
use redis::{Connection, Script};
use std::{fs, path::PathBuf};

pub struct Rig {
    pub connection: Connection,
    script: Script,
    dir: PathBuf,
    redis: Option<Redis>,
}

impl Rig {
    pub fn start(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("insula-{name}-{}", std::process::id()));
        let redis = Redis::start_blocking(&dir, None).unwrap();
        let connection = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
        let asked = "redis.call('TIME')";
        let text = include_str!("lease.lua");
        assert!(text.contains(asked));
        let script = Script::new(&text.replace(asked, "{ 0, ARGV[#ARGV] }"));
        Self { connection, script, dir, redis: Some(redis) }
    }

    /// What the script says at `micros`, where what is left is leased in so many parts, and the first Redis was born then.
    pub fn tell(
        &mut self,
        micros: u64,
        org: OrgId,
        (parts, first): (u32, u64),
        cells: &[Asked],
    ) -> Vec<Told> {
        let mut call = self.script.prepare_invoke();
        call::fill(&mut call, &Births::One, org, (parts, first), cells);
        let answer: Vec<u64> = call.arg(micros).invoke(&mut self.connection).unwrap();
        assert_eq!(answer[0], micros);
        call::read(&answer, cells.len()).unwrap()
    }

    /// Needs `cost` of each rule and nothing ahead: whether each would have it, and what is used of each afterwards.
    pub fn need(&mut self, world: &World, who: Subject, plan: &TierPlan, cost: u32) -> Vec<(bool, u32)> {
        let view = plan.view(who);
        let need = Ask { need: cost, queued: cost, ..Ask::default() };
        let cells: Vec<Asked> =
            view.rules.iter().map(|rule| Asked::new(world.org, Some(who), &plan.slug, rule, need)).collect();
        let told = self.tell(world.clock.micros(), world.org, (1, u64::MAX / 2), &cells);
        let used = |(told, asked): (&Told, &Asked)| {
            let used = asked.rule.bucket().unwrap().used(told.answer.owed);
            (told.answer.wait == 0, used)
        };
        told.iter().zip(&cells).map(used).collect()
    }

    /// Nothing is left.
    pub fn flush(&mut self) {
        redis::cmd("FLUSHALL").exec(&mut self.connection).unwrap();
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        drop(self.redis.take());
        fs::remove_dir_all(&self.dir).ok();
    }
}
