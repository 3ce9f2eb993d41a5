//! Places for connections: so many in all, so many for one client address, so that one pod can
//! take its own share only. Serves DNS over TCP and the admin pages.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;

use crate::counts::Rejected;

/// A bounded number of places.
#[derive(Debug)]
pub struct Places {
    places_max: usize,
    places_per_client_max: usize,
    taken: Mutex<Taken>,
}

/// Places taken, in all and by client; clients without any are not in it.
#[derive(Debug, Default)]
struct Taken {
    total: usize,
    clients: HashMap<IpAddr, usize, RandomState>,
}

impl Places {
    /// So many places in all, and so many for one client address.
    pub fn new(places_max: usize, places_per_client_max: usize) -> Self {
        Self { places_max, places_per_client_max, taken: Mutex::default() }
    }

    /// How many there are in all.
    pub fn places_max(&self) -> usize {
        self.places_max
    }

    /// How many are taken now.
    pub fn taken(&self) -> usize {
        self.lock().total
    }

    /// Takes a place for a client; it is given back when it is dropped.
    ///
    /// # Errors
    /// Which bound is reached.
    pub fn take(self: &Arc<Self>, client: IpAddr) -> Result<Place, Rejected> {
        let mut taken = self.lock();
        if taken.total >= self.places_max {
            return Err(Rejected::Total);
        }
        let of_client = taken.clients.get(&client).copied().unwrap_or(0);
        if of_client >= self.places_per_client_max {
            return Err(Rejected::PerClient);
        }
        taken.total += 1;
        taken.clients.insert(client, of_client + 1);
        drop(taken);
        Ok(Place { places: Arc::clone(self), client })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        // Nothing panics while it is held.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's place.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    client: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.total -= 1;
        if let Some(of_client) = taken.clients.get_mut(&self.client) {
            *of_client -= 1;
            if *of_client == 0 {
                taken.clients.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn client(host: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, host).into()
    }

    #[test]
    fn one_client_gets_its_share_and_all_get_the_total() {
        let places = Arc::new(Places::new(3, 2));
        let first = places.take(client(1)).expect("room");
        let _second = places.take(client(1)).expect("room");
        assert_eq!(places.take(client(1)).err(), Some(Rejected::PerClient));
        let _third = places.take(client(2)).expect("room");
        assert_eq!(places.take(client(3)).err(), Some(Rejected::Total));
        drop(first);
        assert!(places.take(client(1)).is_ok());
    }

    #[test]
    fn closed_connections_leave_nothing_behind() {
        let places = Arc::new(Places::new(3, 2));
        drop(places.take(client(1)));
        assert_eq!(places.taken(), 0);
        assert!(places.lock().clients.is_empty());
    }
}
