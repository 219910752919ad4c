//! Answers that are still true: kept in the process, for a second at most, and bounded by what they weigh.
//!
//! An answer is found under the number of writes to its org that this process had made before it was read, so that a write
//! is seen by the next read here, also by one that raced it. Writes of other processes are seen when the answer is too old.
//! Nothing is sent for that, and so nothing can be lost.

use crate::ids::OrgId;
use axum::{body::Bytes, http::HeaderMap};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// What an answer depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    pub org: OrgId,
    /// To the org, by this process, before the answer is read.
    pub writes: u64,
    /// What of it the caller may see, a bit for each thing that not everybody may.
    pub sight: u64,
    /// Whether the length of a list is asked for.
    pub count: bool,
    /// Path and query, to the letter.
    pub target: Box<str>,
}

/// An answer to whoever asks the same.
#[derive(Debug)]
pub struct Answer {
    /// Before it was read.
    pub asked: Instant,
    pub headers: HeaderMap,
    pub body: Bytes,
}

#[derive(Debug)]
pub struct Cache {
    /// None: nothing is kept.
    answers: Option<moka::sync::Cache<Question, Arc<Answer>>>,
    longest: Duration,
}

/// Of an answer with its question, beside their texts: about what they take in memory.
const OVERHEAD: usize = 600;

impl Cache {
    /// Keeps answers for `longest`, and as many as weigh `bytes`; none where either is nothing.
    pub fn new(bytes: u64, longest: Duration) -> Self {
        let keeps = bytes > 0 && !longest.is_zero();
        let answers = keeps.then(|| {
            moka::sync::Cache::builder()
                .max_capacity(bytes)
                .weigher(|question: &Question, answer: &Arc<Answer>| {
                    let weight = OVERHEAD + question.target.len() + answer.body.len();
                    u32::try_from(weight).unwrap_or(u32::MAX)
                })
                .time_to_live(longest)
                .build()
        });
        Self { answers, longest }
    }

    /// The answer to a question, if there is one that is young enough.
    pub fn find(&self, question: &Question) -> Option<Arc<Answer>> {
        self.answers.as_ref()?.get(question).filter(|answer| answer.asked.elapsed() < self.longest)
    }

    pub fn keep(&self, question: Question, answer: Arc<Answer>) {
        if let Some(answers) = &self.answers {
            answers.insert(question, answer);
        }
    }

    /// In bytes, about.
    pub fn weight(&self) -> u64 {
        self.answers.as_ref().map_or(0, moka::sync::Cache::weighted_size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(writes: u64, sight: u64) -> Question {
        let org = OrgId::from_uuid(uuid::Uuid::from_u128(7));
        Question { org, writes, sight, count: false, target: "/api/v1/products".into() }
    }

    fn answer(asked: Instant, body: Vec<u8>) -> Arc<Answer> {
        Arc::new(Answer { asked, headers: HeaderMap::new(), body: body.into() })
    }

    #[test]
    fn an_answer_is_found_by_its_whole_question_and_until_it_is_too_old() {
        let cache = Cache::new(1 << 20, Duration::from_secs(1));
        let now = Instant::now();
        cache.keep(question(1, 0), answer(now, vec![1]));
        assert_eq!(cache.find(&question(1, 0)).unwrap().body, vec![1]);
        for other in [
            question(2, 0),
            question(1, 1),
            Question { count: true, ..question(1, 0) },
            Question { target: "/api/v1/products?limit=1".into(), ..question(1, 0) },
            Question { org: OrgId::new(), ..question(1, 0) },
        ] {
            assert!(cache.find(&other).is_none(), "{other:?}");
        }
        let Some(long_ago) = now.checked_sub(Duration::from_secs(1)) else { return };
        cache.keep(question(3, 0), answer(long_ago, vec![]));
        assert!(cache.find(&question(3, 0)).is_none(), "its age counts from before it was read");
    }

    #[test]
    fn what_is_kept_weighs_no_more_than_it_may() {
        let cache = Cache::new(100_000, Duration::from_mins(1));
        for writes in 0..100 {
            cache.keep(question(writes, 0), answer(Instant::now(), vec![0; 10_000]));
        }
        cache.answers.as_ref().unwrap().run_pending_tasks();
        assert!((10_000..=100_000).contains(&cache.weight()), "{}", cache.weight());
    }

    #[test]
    fn nothing_is_kept_where_there_is_no_room_or_no_time() {
        for cache in [Cache::new(0, Duration::from_secs(1)), Cache::new(1 << 20, Duration::ZERO)] {
            cache.keep(question(1, 0), answer(Instant::now(), vec![]));
            assert!(cache.find(&question(1, 0)).is_none());
        }
    }
}
