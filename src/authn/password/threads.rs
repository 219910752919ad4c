//! Threads of their own for hashing: each has memory for one hash, and gives way to whatever else the machine has to do.
//! A flood of sign-ins makes sign-ins slow and nothing else.

use super::{Memory, Place};
use crate::error::{Error, Result};
use anyhow::Context as _;
use parking_lot::Mutex;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};
use tokio::sync::oneshot;

type Work = Box<dyn FnOnce(&mut Memory) + Send>;

#[derive(Clone)]
pub struct Threads(Sender<Work>);

impl Threads {
    /// They end with the last clone.
    pub fn start(count: usize) -> anyhow::Result<Self> {
        let (sender, receiver) = channel();
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..count {
            let receiver = Arc::clone(&receiver);
            thread::Builder::new()
                .name("hasher".to_owned())
                .spawn(move || serve(&receiver))
                .context("starting a thread to hash on")?;
        }
        Ok(Self(sender))
    }

    /// The place goes with the work: a client that hangs up does not make room while its hash still runs.
    pub async fn run<T: Send + 'static>(
        &self,
        place: Place,
        work: impl FnOnce(&mut Memory) -> anyhow::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (done, told) = oneshot::channel();
        let work = Box::new(move |memory: &mut Memory| {
            // Who has hung up while waiting needs no answer.
            let outcome = (!done.is_closed()).then(|| work(memory));
            // Before the answer: whoever has it finds room.
            drop(place);
            outcome.map(|outcome| done.send(outcome).ok());
        });
        self.0.send(work).map_err(|_| Error::Internal(anyhow::anyhow!("nobody hashes any more")))?;
        told.await.context("hashing broke off")?.map_err(Error::Internal)
    }
}

fn serve(receiver: &Mutex<Receiver<Work>>) {
    give_way();
    let mut memory = Memory::new();
    loop {
        let next = receiver.lock().recv();
        let Ok(work) = next else { return };
        if catch_unwind(AssertUnwindSafe(|| work(&mut memory))).is_err() {
            tracing::error!("hashing a password panicked");
        }
    }
}

/// On Linux a thread has a niceness of its own.
fn give_way() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(10) {
        tracing::warn!(%error, "hashing can't be told to give way");
    }
}
