//! Who asks for what, how often, and how long it took, from when it should have been asked.

use crate::{
    client::{Client, Request},
    house::{House, Org},
};
use std::{
    collections::BTreeMap,
    iter,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Requests a second of the quiet one.
pub const PACE: u32 = 100;
/// Each with a connection: more than can be under way at that pace, so that a slow answer delays no later request.
const QUIET_THREADS: u32 = 20;
const LOUD_THREADS: u32 = 40;

pub enum Neighbour {
    /// Sends so many, whatever is answered.
    Flood { per_second: u32 },
    /// Changes one product, again and again, from many connections at once, while somebody holds its row.
    Locked,
    /// Counts all its products, likewise.
    Counting,
    /// Counts the same on so many connections of its own to Postgres, past everything that holds neighbours back: what the
    /// machine itself makes of such a load.
    Past { connections: usize },
}

/// Reads one product, a page of them, and writes one, in this order.
pub struct Quiet {
    address: SocketAddr,
    requests: [Request; 4],
}

/// When it was answered, from when it should have been asked; when it was asked likewise; and with which status.
struct Answer {
    took: Duration,
    late: Duration,
    status: u16,
}

pub struct Round(Vec<Answer>);

/// In all rounds.
#[derive(Default)]
pub struct Seen {
    rounds: Vec<Round>,
    neighbours: BTreeMap<u16, usize>,
}

impl Quiet {
    pub fn new(house: &House) -> Self {
        let org = &house.quiet;
        let one = format!("/api/v1/products/{}", org.product);
        let read = |path: &str| Request::new("GET", path, Some(&org.token), "", "");
        let write = Request::new("PATCH", &one, Some(&org.token), "if-match: *\r\n", r#"{"stock": 7}"#);
        Self { address: house.address, requests: [read(&one), read("/api/v1/products"), read(&one), write] }
    }

    pub fn asks_for(&self, time: Duration) -> Round {
        let (start, step) = (Instant::now() + Duration::from_millis(20), Duration::from_secs(1) / PACE);
        let many = PACE * u32::try_from(time.as_secs()).unwrap();
        let answers = thread::scope(|scope| {
            let threads: Vec<_> = (0..QUIET_THREADS)
                .map(|first| {
                    scope.spawn(move || {
                        let mut client = Client::new(self.address);
                        let mine = (first..many).step_by(QUIET_THREADS as usize);
                        mine.map(|at| self.ask(&mut client, at, start + step * at)).collect::<Vec<_>>()
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        Round(answers)
    }

    fn ask(&self, client: &mut Client, at: u32, due: Instant) -> Answer {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let late = due.elapsed();
        let answer = client.send(&self.requests[at as usize % self.requests.len()]);
        Answer { took: due.elapsed(), late, status: answer.map_or(0, |(status, _)| status) }
    }
}

/// The neighbours, until stopped.
pub struct Noise {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<u16>>>,
    holder: Option<JoinHandle<()>>,
}

/// For which somebody waits who was refused, where they are not a flood.
const PAUSE: Duration = Duration::from_millis(100);

impl Noise {
    pub fn start(house: &Arc<House>, neighbours: &[Neighbour]) -> Self {
        let mut noise = Self { stop: Arc::default(), threads: Vec::new(), holder: None };
        let (loud, slow) = (&house.loud, &house.slow);
        let one = |org: &Org| format!("/api/v1/products/{}", org.product);
        for neighbour in neighbours {
            match neighbour {
                Neighbour::Flood { per_second } => {
                    let read = Request::new("GET", &one(loud), Some(&loud.token), "", "");
                    noise.threads(house, &read, Some(Duration::from_secs(LOUD_THREADS.into()) / *per_second));
                }
                Neighbour::Locked => {
                    let token = Some(&*slow.token);
                    let write =
                        Request::new("PATCH", &one(slow), token, "if-match: *\r\n", r#"{"stock": 7}"#);
                    noise.threads(house, &write, None);
                    let (house, stop) = (Arc::clone(house), Arc::clone(&noise.stop));
                    noise.holder = Some(thread::spawn(move || house.hold_product(&stop)));
                }
                Neighbour::Counting => {
                    let token = Some(&*slow.token);
                    let list = Request::new("GET", "/api/v1/products", token, "prefer: count=exact\r\n", "");
                    noise.threads(house, &list, None);
                }
                Neighbour::Past { connections } => {
                    for _ in 0..*connections {
                        let (house, stop) = (Arc::clone(house), Arc::clone(&noise.stop));
                        noise.threads.push(thread::spawn(move || house.count_products(&stop)));
                    }
                }
            }
        }
        noise
    }

    /// With `every`, each thread asks so often; without, as soon as it is answered.
    fn threads(&mut self, house: &House, request: &Request, every: Option<Duration>) {
        for first in 0..LOUD_THREADS {
            let (stop, request, address) = (Arc::clone(&self.stop), request.clone(), house.address);
            self.threads.push(thread::spawn(move || {
                let mut client = Client::new(address);
                let mut due = Instant::now() + every.unwrap_or_default() * first / LOUD_THREADS;
                let ask = || {
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    due += every.unwrap_or_default();
                    if stop.load(Ordering::Relaxed) {
                        return None;
                    }
                    let status = client.send(&request).map_or(0, |(status, _)| status);
                    if every.is_none() && status != 200 {
                        thread::sleep(PAUSE);
                    }
                    Some(status)
                };
                iter::from_fn(ask).collect()
            }));
        }
    }

    pub fn stop(self, seen: &mut Seen) {
        self.stop.store(true, Ordering::Relaxed);
        for status in self.threads.into_iter().flat_map(|thread| thread.join().unwrap()) {
            *seen.neighbours.entry(status).or_default() += 1;
        }
        if let Some(holder) = self.holder {
            holder.join().unwrap();
        }
    }
}

impl Round {
    fn percentile(&self, of: f64) -> f64 {
        percentile(self.0.iter().map(|answer| answer.took), of)
    }
}

impl Seen {
    pub fn add(&mut self, round: Round) {
        self.rounds.push(round);
    }

    fn answers(&self) -> impl Iterator<Item = &Answer> {
        self.rounds.iter().flat_map(|round| &round.0)
    }

    pub fn percentile(&self, of: f64) -> f64 {
        percentile(self.answers().map(|answer| answer.took), of)
    }

    /// How late the p99 of requests was sent: what the generator itself adds.
    pub fn lateness(&self) -> f64 {
        percentile(self.answers().map(|answer| answer.late), 99.0)
    }

    /// The least and the greatest p99 of a round.
    pub fn spread(&self) -> (f64, f64) {
        let each = self.rounds.iter().map(|round| round.percentile(99.0));
        each.fold((f64::MAX, 0.0), |(least, most), p99| (least.min(p99), most.max(p99)))
    }

    pub fn asked(&self) -> usize {
        self.answers().count()
    }

    pub fn refused(&self) -> usize {
        self.answers().filter(|answer| answer.status != 200).count()
    }

    pub fn neighbours(&self) -> String {
        let each = self.neighbours.iter().map(|(status, many)| format!("{many} x {status}"));
        each.collect::<Vec<_>>().join(", ")
    }
}

/// In milliseconds.
fn percentile(of: impl Iterator<Item = Duration>, percent: f64) -> f64 {
    let mut all: Vec<f64> = of.map(|time| time.as_secs_f64() * 1_000.0).collect();
    all.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most the length")]
    #[expect(clippy::cast_precision_loss, reason = "there are fewer than 2^52")]
    let at = (all.len() as f64 * percent / 100.0) as usize;
    all.get(at).or(all.last()).copied().unwrap_or_default()
}
