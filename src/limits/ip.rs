//! The limit on addresses, for doors that open before anybody is known. Memory is bounded whatever addresses come.
//!
//! Each shard holds at most its share of the entries. When it is full a newcomer takes the place of the one that owes
//! least among 16: one that owes nothing, mostly. So a flood of fresh addresses pushes out fresh addresses, each of
//! which owes a single unit, and an exhausted one keeps its place for as long as one in 16 owes less. The price: who
//! commands more networks than there are entries, and spreads thin, is limited only by how many networks that is.

use super::{
    bucket::{Bucket, Refusal},
    decision::whole_seconds,
    policy::{Fault, Policy},
    shelf::Shelf,
};
use crate::clock::Clock;
use parking_lot::Mutex;
use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
};

const SHARDS: usize = 16;
/// About 100 bytes each: 13 MB at worst.
const MOST_ENTRIES: usize = 1 << 17;
const SAMPLE: usize = 16;
/// Old entries that each newcomer makes the shard look at: it empties as fast as it fills, without a timer.
const SWEEP_STEPS: usize = 2;

/// Limits each network: an IPv4 address, or an IPv6 /64, which is what one customer gets. Never on credit, never shared
/// between processes.
#[derive(Debug)]
pub struct IpLimiter {
    clock: Clock,
    bucket: Bucket,
    burst: u32,
    hasher: RandomState,
    shards: Box<[Mutex<Shelf<Network, Tat, RandomState>>]>,
    share: usize,
}

/// When nothing is owed any more, in nanoseconds since 1970.
type Tat = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Network {
    V4(u32),
    V6(u64),
}

impl Network {
    /// An IPv4 address in IPv6 clothes is still that IPv4 address.
    fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip.to_bits()),
            IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.segments();
                Self::V6([a, b, c, d].into_iter().fold(0, |bits, segment| bits << 16 | u64::from(segment)))
            }
        }
    }
}

impl IpLimiter {
    /// Only the numbers of `policy` matter: 60 a minute with a burst of 30, unless configured.
    pub fn new(clock: Clock, policy: &Policy) -> Result<Self, Vec<Fault>> {
        Self::with_room(clock, policy, MOST_ENTRIES)
    }

    fn with_room(clock: Clock, policy: &Policy, entries: usize) -> Result<Self, Vec<Fault>> {
        let faults = policy.validate();
        if !faults.is_empty() {
            return Err(faults);
        }
        let hasher = RandomState::new();
        let shards = (0..SHARDS).map(|_| Mutex::new(Shelf::with_hasher(hasher.clone()))).collect();
        let bucket = Bucket::new(policy.interval(), policy.burst);
        Ok(Self { clock, bucket, burst: policy.burst, hasher, shards, share: entries / SHARDS })
    }

    /// Charges `cost` units, at most a burst, or says after how many seconds they fit.
    pub fn check(&self, ip: IpAddr, cost: u32) -> Result<(), u32> {
        self.judge(ip, cost, true)
    }

    /// What [`check`](Self::check) would say; charges nothing. For doors that charge failures only.
    pub fn peek(&self, ip: IpAddr, cost: u32) -> Result<(), u32> {
        self.judge(ip, cost, false)
    }

    /// How many networks are remembered.
    pub fn remembered(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    fn judge(&self, ip: IpAddr, cost: u32, charge: bool) -> Result<(), u32> {
        let network = Network::of(ip);
        let place = (self.hasher.hash_one(network) >> 32 & 0xf) as usize;
        let mut shard = self.shards[place].lock();
        let now = self.clock.micros().saturating_mul(1_000);
        let mut known = shard.get_mut(&network);
        if let Some(tat) = &mut known {
            // More than an empty bucket is owed only after the clock was set back.
            **tat = (**tat).min(now.saturating_add(self.bucket.depth));
        }
        let owed = known.as_ref().map_or(0, |tat| tat.saturating_sub(now));
        let after = self.bucket.take(owed, cost.min(self.burst)).map_err(|refusal| match refusal {
            Refusal::Until(wait) => whole_seconds(wait),
            Refusal::Never => u32::MAX,
        })?;
        match known {
            _ if !charge || after == owed => {}
            Some(tat) => *tat = now.saturating_add(after),
            None => {
                shard.sweep(SWEEP_STEPS, |_, tat| *tat > now);
                if shard.len() >= self.share {
                    shard.drop_lightest(SAMPLE, |tat| *tat);
                }
                *shard.get_or_default(network) = now.saturating_add(after);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            Scope,
            fixture::{MINUTE, policy},
        },
        *,
    };
    use std::{
        net::{Ipv4Addr, Ipv6Addr},
        time::Duration,
    };

    const ROOM: usize = 1_600;

    fn limiter(clock: &Clock) -> IpLimiter {
        let policy = Policy { burst: 30, ..policy("ip", Scope::Ip, 60, MINUTE) };
        IpLimiter::with_room(clock.clone(), &policy, ROOM).unwrap()
    }

    fn passing(limiter: &IpLimiter, ip: &str) -> usize {
        (0..100).filter(|_| limiter.check(ip.parse().unwrap(), 1).is_ok()).count()
    }

    #[test]
    fn sixty_a_minute_of_which_thirty_at_once() {
        let clock = Clock::frozen();
        let limiter = limiter(&clock);
        assert_eq!(passing(&limiter, "192.0.2.1"), 30);
        assert_eq!(limiter.check("192.0.2.1".parse().unwrap(), 5), Err(5));
        clock.advance(Duration::from_secs(20));
        assert_eq!(limiter.peek("192.0.2.1".parse().unwrap(), 20), Ok(()));
        assert_eq!(passing(&limiter, "192.0.2.1"), 20);
        assert_eq!(passing(&limiter, "192.0.2.2"), 30);
    }

    #[test]
    fn a_mapped_address_is_the_address_it_maps() {
        let limiter = limiter(&Clock::frozen());
        assert_eq!(passing(&limiter, "::ffff:192.0.2.1"), 30);
        assert_eq!(passing(&limiter, "192.0.2.1"), 0);
    }

    #[test]
    fn a_slash_64_is_one_network_and_its_neighbour_another() {
        let limiter = limiter(&Clock::frozen());
        assert_eq!(passing(&limiter, "2001:db8:0:1::1"), 30);
        assert_eq!(passing(&limiter, "2001:db8:0:1:ffff:ffff:ffff:ffff"), 0);
        assert_eq!(passing(&limiter, "2001:db8:0:2::1"), 30);
    }

    #[test]
    fn peeking_charges_nothing_and_remembers_nobody() {
        let limiter = limiter(&Clock::frozen());
        assert!((0..100).all(|_| limiter.peek("192.0.2.1".parse().unwrap(), 1).is_ok()));
        assert_eq!(limiter.remembered(), 0);
    }

    #[test]
    fn a_flood_of_invented_networks_fills_no_memory_and_forgives_nobody() {
        let clock = Clock::frozen();
        let limiter = limiter(&clock);
        let exhausted: Vec<_> = (0..50).map(|host| format!("198.51.100.{host}")).collect();
        for ip in &exhausted {
            assert_eq!(passing(&limiter, ip), 30);
        }
        for network in 0..100_000_u32 {
            let ip = Ipv6Addr::from_bits(0x2001_0db8_u128 << 96 | u128::from(network) << 64);
            assert!(limiter.check(ip.into(), 1).is_ok());
            clock.advance(Duration::from_micros(10));
        }
        assert!(limiter.remembered() <= ROOM);
        // One second has passed: one unit is back, for each.
        assert!(exhausted.iter().all(|ip| passing(&limiter, ip) == 1));
    }

    #[test]
    fn who_owes_nothing_makes_room_for_newcomers() {
        let clock = Clock::frozen();
        let limiter = limiter(&clock);
        for host in 0..20_000_u32 {
            assert!(limiter.check(Ipv4Addr::from_bits(host).into(), 1).is_ok());
            clock.advance(Duration::from_millis(100));
        }
        assert!(limiter.remembered() < 100, "{}", limiter.remembered());
    }

    #[test]
    fn a_clock_set_back_locks_nobody_out() {
        let clock = Clock::frozen();
        let earlier = Clock::frozen();
        clock.advance(Duration::from_hours(24));
        let mut limiter = limiter(&clock);
        assert_eq!(passing(&limiter, "192.0.2.1"), 30);
        limiter.clock = earlier.clone();
        assert_eq!(limiter.check("192.0.2.1".parse().unwrap(), 1), Err(1));
        earlier.advance(Duration::from_secs(30));
        assert_eq!(passing(&limiter, "192.0.2.1"), 30);
    }
}
