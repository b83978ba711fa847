//! Clients that have not yet shown who they are.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// Handshakes under way: so many in all, and so many of one address.
///
/// All that come are held up where the first limit is reached, so the second is there for one host
/// not to reach it alone.
#[derive(Debug)]
pub(super) struct Handshakes {
    free: Arc<Semaphore>,
    of_address: usize,
    under_way: Mutex<HashMap<IpAddr, usize>>,
}

/// One handshake, which is over when this is dropped.
#[derive(Debug)]
pub(super) struct Handshake {
    all: Arc<Handshakes>,
    address: IpAddr,
    _place: OwnedSemaphorePermit,
}

impl Handshakes {
    pub(super) fn new(most: usize, of_address: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS))),
            of_address: of_address.max(1),
            under_way: Mutex::default(),
        }
    }

    /// Waits until another may begin.
    pub(super) async fn place(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        Arc::clone(&self.free).acquire_owned().await
    }

    /// Begins one; `None` when its address has as many as it may.
    pub(super) fn begin(
        self: &Arc<Self>,
        place: OwnedSemaphorePermit,
        from: IpAddr,
    ) -> Option<Handshake> {
        let address = block(from);
        let mut under_way = self.lock();
        let count = under_way.entry(address).or_default();
        if *count >= self.of_address {
            return None;
        }
        *count += 1;
        drop(under_way);
        Some(Handshake {
            all: Arc::clone(self),
            address,
            _place: place,
        })
    }

    /// How many are under way.
    pub(super) fn len(&self) -> usize {
        self.lock().values().sum()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        let mut under_way = self.all.lock();
        if let Some(count) = under_way.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                under_way.remove(&self.address);
            }
        }
    }
}

/// What counts as one address: in IPv6 a network of 64 bits, as one host has all of it.
fn block(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handshakes(most: usize, of_address: usize) -> Arc<Handshakes> {
        Arc::new(Handshakes::new(most, of_address))
    }

    async fn begin(handshakes: &Arc<Handshakes>, from: &str) -> Option<Handshake> {
        let place = handshakes.place().await.unwrap();
        handshakes.begin(place, from.parse().unwrap())
    }

    #[tokio::test]
    async fn one_address_has_its_share_and_gets_it_back() {
        let handshakes = handshakes(16, 2);
        let first = begin(&handshakes, "192.0.2.1").await;
        let second = begin(&handshakes, "::ffff:192.0.2.1").await;
        assert!(first.is_some() && second.is_some());
        assert!(begin(&handshakes, "192.0.2.1").await.is_none());
        assert!(begin(&handshakes, "192.0.2.2").await.is_some());
        assert_eq!(handshakes.len(), 2);
        drop(first);
        assert!(begin(&handshakes, "192.0.2.1").await.is_some());
        drop(second);
        assert_eq!(handshakes.len(), 0);
        assert!(handshakes.lock().is_empty());
    }

    #[tokio::test]
    async fn a_host_has_all_of_its_network_of_ipv6() {
        let handshakes = handshakes(16, 1);
        let _first = begin(&handshakes, "2001:db8::1").await.unwrap();
        assert!(begin(&handshakes, "2001:db8::ffff:0:0:1").await.is_none());
        assert!(begin(&handshakes, "2001:db8:0:1::1").await.is_some());
    }

    #[tokio::test]
    async fn beyond_the_most_the_next_waits() {
        let handshakes = handshakes(1, 8);
        let first = begin(&handshakes, "192.0.2.1").await.unwrap();
        assert_eq!(handshakes.free.available_permits(), 0);
        drop(first);
        assert_eq!(handshakes.free.available_permits(), 1);
    }
}
