//! How many connections there may be: in all, unidentified, per address, per identity.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::counters::Refused;
use super::limits::AcceptLimits;
use crate::tls::identity::Identity;

/// Counts of one door. INVARIANT: each count is the number of live slots that hold it.
pub struct Caps {
    total: usize,
    handshakes: usize,
    per_address: usize,
    per_identity: usize,
    now: Mutex<Now>,
}

#[derive(Default)]
struct Now {
    total: usize,
    handshakes: usize,
    addresses: HashMap<IpAddr, usize>,
    identities: HashMap<Identity, usize>,
}

impl Caps {
    pub fn new(limits: &AcceptLimits) -> Arc<Self> {
        Arc::new(Self {
            total: limits.connections,
            handshakes: limits.handshakes,
            per_address: limits.per_address,
            per_identity: limits.per_identity,
            now: Mutex::default(),
        })
    }

    /// A place for a connection that has not yet said who it is.
    pub fn admit(self: &Arc<Self>, address: IpAddr) -> Result<Slot, Refused> {
        let address = site(address);
        let mut now = self.now();
        if now.total >= self.total {
            return Err(Refused::Total);
        }
        if now.handshakes >= self.handshakes {
            return Err(Refused::Handshakes);
        }
        if !take(&mut now.addresses, &address, self.per_address) {
            return Err(Refused::Address);
        }
        now.total += 1;
        now.handshakes += 1;
        Ok(Slot { caps: Arc::clone(self), address, handshaking: true, identity: None })
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One address of IPv4; of IPv6 the network of 64 bits, because one host has as many addresses as it likes.
fn site(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

fn take<K: Hash + Eq + Clone>(counts: &mut HashMap<K, usize>, key: &K, most: usize) -> bool {
    let count = counts.entry(key.clone()).or_default();
    if *count >= most {
        return false;
    }
    *count += 1;
    true
}

fn give_back<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// One connection's place; given back when dropped.
pub struct Slot {
    caps: Arc<Caps>,
    address: IpAddr,
    handshaking: bool,
    identity: Option<Identity>,
}

impl Slot {
    /// The handshake is over; `identity` is whose certificate it was, if the door asks for one.
    pub fn identify(&mut self, identity: Option<&Identity>) -> Result<(), Refused> {
        let mut now = self.caps.now();
        if self.handshaking {
            self.handshaking = false;
            now.handshakes = now.handshakes.saturating_sub(1);
        }
        let Some(identity) = identity else { return Ok(()) };
        if !take(&mut now.identities, identity, self.caps.per_identity) {
            return Err(Refused::Identity);
        }
        self.identity = Some(identity.clone());
        Ok(())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut now = self.caps.now();
        now.total = now.total.saturating_sub(1);
        if self.handshaking {
            now.handshakes = now.handshakes.saturating_sub(1);
        }
        give_back(&mut now.addresses, &self.address);
        if let Some(identity) = &self.identity {
            give_back(&mut now.identities, identity);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caps(connections: usize, handshakes: usize, per_address: usize, per_identity: usize) -> Arc<Caps> {
        let limits =
            AcceptLimits { connections, handshakes, per_address, per_identity, ..AcceptLimits::default() };
        Caps::new(&limits)
    }

    fn at(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn each_cap_refuses_with_its_own_word_and_places_come_back() {
        let caps = caps(3, 2, 2, 1);
        let mut one = caps.admit(at(1)).ok().unwrap();
        let two = caps.admit(at(1)).ok().unwrap();
        assert_eq!(caps.admit(at(2)).err(), Some(Refused::Handshakes));
        one.identify(Some(&Identity::Hub)).unwrap();
        assert_eq!(caps.admit(at(1)).err(), Some(Refused::Address));
        let mut three = caps.admit(at(2)).ok().unwrap();
        assert_eq!(three.identify(Some(&Identity::Hub)), Err(Refused::Identity));
        assert_eq!(caps.admit(at(3)).err(), Some(Refused::Total));
        drop((one, two));
        assert_eq!(three.identify(Some(&Identity::Hub)), Ok(()));
        drop(three);
        let now = caps.now();
        assert_eq!((now.total, now.handshakes), (0, 0));
        assert!(now.addresses.is_empty() && now.identities.is_empty(), "no memory of who left");
    }

    #[test]
    fn one_host_cannot_multiply_itself_by_ipv6_addresses() {
        let caps = caps(9, 9, 1, 9);
        let _one = caps.admit("2001:db8::1".parse().unwrap()).ok().unwrap();
        assert_eq!(caps.admit("2001:db8::2".parse().unwrap()).err(), Some(Refused::Address));
        let _other = caps.admit("2001:db8:0:1::1".parse().unwrap()).ok().unwrap();
        let _v4 = caps.admit(at(1)).ok().unwrap();
        assert_eq!(caps.admit("::ffff:192.0.2.1".parse().unwrap()).err(), Some(Refused::Address));
    }
}
