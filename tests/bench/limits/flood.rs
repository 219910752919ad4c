//! Memory under ten million keys of which none comes twice.

use crate::{memory::Resident, plan, policy};
use insula::{
    clock::Clock,
    ids::{OrgId, UserId},
    limits::{IpLimiter, Limiter, Policy, Scope, Subject},
};
use std::{
    net::Ipv6Addr,
    sync::Arc,
    time::{Duration, Instant},
};

const KEYS: u32 = 10_000_000;
/// As the worker sweeps.
const SWEEP: Duration = Duration::from_millis(150);
/// New ids a second: far more than one process can authenticate.
const PACE: u32 = 100_000;

/// Addresses anybody can invent, as fast as the machine decides, each in a network of its own. As many are remembered
/// as there are places, and no more.
pub fn addresses() {
    let before = Resident::now();
    let of_addresses = Policy { burst: 30, ..policy("ip", Scope::Ip, 60) };
    let of_networks = Policy { burst: 300, ..policy("network", Scope::Ip, 600) };
    let limiter = IpLimiter::new(Clock::system(), &of_addresses, &of_networks).unwrap();
    let start = Instant::now();
    for network in 0..KEYS {
        let ip = Ipv6Addr::from_bits(0x2000 << 112 | u128::from(network) << 80);
        assert!(limiter.check(ip.into(), 1).is_ok());
    }
    println!(
        "{KEYS} addresses of as many networks in {:.1} s: {} remembered, resident {before} before, {} after",
        start.elapsed().as_secs_f64(),
        limiter.remembered(),
        Resident::now()
    );
}

/// Ids of orgs and users come out of authentication: nobody invents them, and all that ever call are as many as there
/// are. Here they are all new, each in an org of its own, and the worker sweeps; what is remembered is who owes something,
/// and who stopped owing within the last lap of the sweeps. Time is moved by hand: ten million take 100 seconds of it.
pub fn ids() {
    let before = Resident::now();
    let clock = Clock::frozen();
    let plan = plan(&clock, vec![policy("user", Scope::User, 60), policy("org", Scope::Org, 600)]);
    let limiter = Limiter::new(clock.clone());
    let between = Duration::from_secs(1) / PACE;
    let (mut since, mut remembered, mut resident) = (Duration::ZERO, 0, before);
    for _ in 0..KEYS {
        assert!(limiter.decide(OrgId::new(), Subject::User(UserId::new()), &plan, 1).admitted);
        clock.advance(between);
        since += between;
        if since >= SWEEP {
            since = Duration::ZERO;
            remembered = remembered.max(limiter.remembered());
            limiter.sweep(|_, _| Some(Arc::clone(&plan)));
            resident = resident.max(Resident::now());
        }
    }
    println!(
        "{KEYS} users of as many orgs at {PACE} a second, swept: {remembered} remembered at most, \
         resident {before} before, {resident} at most"
    );
}
