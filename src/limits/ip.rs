//! The limit on addresses and their networks, for doors that open before anybody is known. Memory is bounded whatever
//! addresses come.
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
/// Of each kind. About 115 bytes each: 30 MB at worst.
const MOST_ENTRIES: usize = 1 << 17;
const SAMPLE: usize = 16;
/// Old entries that each newcomer makes the shard look at: it empties as fast as it fills, without a timer.
const SWEEP_STEPS: usize = 2;

/// Limits each address, and the network it is in as a whole. Of IPv6 an address is a /64, which is what one customer
/// gets (within it one host has as many addresses as it likes), and a network a /48; of IPv4 a network is a /24. Never
/// on credit, never shared between processes.
#[derive(Debug)]
pub struct IpLimiter {
    clock: Clock,
    addresses: Ledger,
    networks: Ledger,
}

/// When nothing is owed any more, in nanoseconds since 1970.
type Tat = u64;

/// The leading bits of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Prefix {
    V4(u32),
    V6(u64),
}

impl Prefix {
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

    fn network(self) -> Self {
        match self {
            Self::V4(bits) => Self::V4(bits >> 8),
            Self::V6(bits) => Self::V6(bits >> 16),
        }
    }
}

impl IpLimiter {
    /// Only the numbers of the policies matter.
    pub fn new(clock: Clock, of_addresses: &Policy, of_networks: &Policy) -> Result<Self, Vec<Fault>> {
        Self::with_room(clock, of_addresses, of_networks, MOST_ENTRIES)
    }

    fn with_room(
        clock: Clock,
        of_addresses: &Policy,
        of_networks: &Policy,
        entries: usize,
    ) -> Result<Self, Vec<Fault>> {
        let (addresses, networks) = (Ledger::new(of_addresses, entries)?, Ledger::new(of_networks, entries)?);
        Ok(Self { clock, addresses, networks })
    }

    /// Charges `cost` units, at most a burst, to the address and to its network, or to neither: says after how many
    /// seconds both have them.
    pub fn check(&self, ip: IpAddr, cost: u32) -> Result<(), u32> {
        self.judge(ip, cost, true)
    }

    /// What [`check`](Self::check) would say; charges nothing. For doors that charge failures only.
    pub fn peek(&self, ip: IpAddr, cost: u32) -> Result<(), u32> {
        self.judge(ip, cost, false)
    }

    /// How many addresses and networks are remembered.
    pub fn remembered(&self) -> usize {
        self.addresses.len() + self.networks.len()
    }

    fn judge(&self, ip: IpAddr, cost: u32, charge: bool) -> Result<(), u32> {
        let address = Prefix::of(ip);
        let network = address.network();
        // Always in this order, so that no two wait for each other.
        let mut address_shard = self.addresses.shard(address).lock();
        let mut network_shard = self.networks.shard(network).lock();
        let now = self.clock.micros().saturating_mul(1_000);
        let of_address = self.addresses.weigh(&mut address_shard, address, now, cost);
        let of_network = self.networks.weigh(&mut network_shard, network, now, cost);
        match (of_address, of_network) {
            (Ok(of_address), Ok(of_network)) => {
                if charge && cost > 0 {
                    self.addresses.write(&mut address_shard, address, now, of_address);
                    self.networks.write(&mut network_shard, network, now, of_network);
                }
                Ok(())
            }
            (Err(one), Err(other)) => Err(one.max(other)),
            (Err(wait), Ok(_)) | (Ok(_), Err(wait)) => Err(wait),
        }
    }
}

type Shard = Shelf<Prefix, Tat, RandomState>;

/// What each prefix of one length owes.
#[derive(Debug)]
struct Ledger {
    bucket: Bucket,
    burst: u32,
    hasher: RandomState,
    shards: Box<[Mutex<Shard>]>,
    share: usize,
}

impl Ledger {
    fn new(policy: &Policy, entries: usize) -> Result<Self, Vec<Fault>> {
        let faults = policy.validate();
        if !faults.is_empty() {
            return Err(faults);
        }
        let hasher = RandomState::new();
        let shards = (0..SHARDS).map(|_| Mutex::new(Shelf::with_hasher(hasher.clone()))).collect();
        let bucket = Bucket::new(policy.interval(), policy.burst);
        Ok(Self { bucket, burst: policy.burst, hasher, shards, share: entries / SHARDS })
    }

    fn shard(&self, prefix: Prefix) -> &Mutex<Shard> {
        &self.shards[(self.hasher.hash_one(prefix) >> 32 & 0xf) as usize]
    }

    fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// What is owed after `cost` more units, or after how many seconds they fit.
    fn weigh(&self, shard: &mut Shard, prefix: Prefix, now: u64, cost: u32) -> Result<u64, u32> {
        let mut owed = 0;
        if let Some(tat) = shard.get_mut(&prefix) {
            // More than an empty bucket is owed only after the clock was set back.
            *tat = (*tat).min(now.saturating_add(self.bucket.depth));
            owed = tat.saturating_sub(now);
        }
        self.bucket.take(owed, cost.min(self.burst)).map_err(|refusal| match refusal {
            Refusal::Until(wait) => whole_seconds(wait),
            Refusal::Never => u32::MAX,
        })
    }

    /// Writes down what is owed from here on.
    fn write(&self, shard: &mut Shard, prefix: Prefix, now: u64, owed: u64) {
        if let Some(tat) = shard.get_mut(&prefix) {
            *tat = now.saturating_add(owed);
            return;
        }
        shard.sweep(SWEEP_STEPS, |_, tat| *tat > now);
        if shard.len() >= self.share {
            shard.drop_lightest(SAMPLE, |tat| *tat);
        }
        *shard.get_or_default(prefix) = now.saturating_add(owed);
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

    /// Whole networks are of no account.
    fn limiter(clock: &Clock) -> IpLimiter {
        limiter_of(clock, 1_000_000)
    }

    /// 60 a minute and 30 at once for each address, this many for a network.
    fn limiter_of(clock: &Clock, at_once: u32) -> IpLimiter {
        let of_addresses = Policy { burst: 30, ..policy("ip", Scope::Ip, 60, MINUTE) };
        let of_networks = Policy { burst: at_once, ..policy("network", Scope::Ip, 2 * at_once, MINUTE) };
        IpLimiter::with_room(clock.clone(), &of_addresses, &of_networks, ROOM).unwrap()
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
    fn the_addresses_of_a_network_have_a_limit_in_common() {
        for addresses in [
            ["192.0.2.1", "192.0.2.2", "192.0.2.254", "192.0.2.4", "192.0.3.1"],
            ["2001:db8:0:1::1", "2001:db8:0:2::1", "2001:db8:0:ffff::1", "2001:db8::1", "2001:db8:1::1"],
        ] {
            let clock = Clock::frozen();
            let limiter = limiter_of(&clock, 70);
            let passed = addresses.map(|ip| passing(&limiter, ip));
            assert_eq!(passed, [30, 30, 10, 0, 30], "{addresses:?}");
            // 140 a minute: a unit in 429 milliseconds.
            assert_eq!(limiter.check(addresses[3].parse().unwrap(), 7), Err(3));
            clock.advance(Duration::from_secs(3));
            assert_eq!(limiter.check(addresses[3].parse().unwrap(), 7), Ok(()));
        }
    }

    #[test]
    fn what_a_network_refuses_costs_the_address_nothing_and_the_other_way_round() {
        let clock = Clock::frozen();
        let limiter = limiter_of(&clock, 30);
        assert_eq!(passing(&limiter, "192.0.2.1"), 30);
        assert_eq!(passing(&limiter, "192.0.2.2"), 0);
        clock.advance(Duration::from_secs(30));
        assert_eq!(passing(&limiter, "192.0.2.2"), 30, "the hundred refusals cost it none");

        let limiter = limiter_of(&clock, 60);
        assert_eq!(passing(&limiter, "192.0.2.1"), 30, "and seventy refusals");
        assert_eq!(passing(&limiter, "192.0.2.2"), 30, "which cost the network nothing");
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
        assert!(limiter.addresses.len() <= ROOM && limiter.networks.len() <= ROOM);
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
        assert!(limiter.remembered() < 200, "{}", limiter.remembered());
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
