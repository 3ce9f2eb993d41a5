//! `max_concurrent`: how many questions of one route are on their way, and whose they are.
//!
//! Without a share for each client one of them takes every place with names that nobody answers, and
//! all others are refused. So nobody holds more places than are left free: one flood gets half of
//! them, two a third each, as with the places of all routes together ([`crate::clients`]).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The places of one route.
#[derive(Debug)]
pub struct Entrance {
    /// 0: no limit, and nothing is counted.
    max: u32,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: u32,
    /// Places by client; those that hold none are not in it, so there are at most `max`.
    by_client: HashMap<IpAddr, u32>,
}

/// A question's place, held until it is dropped.
#[derive(Debug)]
pub struct Place {
    entrance: Arc<Entrance>,
    client: Option<IpAddr>,
}

/// Why a question gets no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// Every place is taken.
    Everybody,
    /// The client holds as many as it may.
    Client,
}

impl Entrance {
    /// With so many places; 0: any number.
    pub fn new(max: u32) -> Arc<Self> {
        Arc::new(Self { max, taken: Mutex::default() })
    }

    /// A place for a question of `client`; `None`: of nobody, or of somebody without limits.
    ///
    /// # Errors
    /// There is none.
    pub fn enter(self: &Arc<Self>, client: Option<IpAddr>) -> Result<Place, Full> {
        let client = client.filter(|_| self.max > 0);
        if self.max > 0 {
            let mut taken = self.taken();
            let free = self.max.saturating_sub(taken.all);
            if free == 0 {
                return Err(Full::Everybody);
            }
            if let Some(client) = client {
                let held = taken.by_client.get(&client).copied().unwrap_or(0);
                if held >= free {
                    return Err(Full::Client);
                }
                taken.by_client.insert(client, held + 1);
            }
            taken.all += 1;
        }
        Ok(Place { entrance: Arc::clone(self), client })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Nothing panics while it is held.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.entrance.max == 0 {
            return;
        }
        let mut taken = self.entrance.taken();
        taken.all -= 1;
        let Some(client) = self.client else { return };
        if let Some(held) = taken.by_client.get_mut(&client) {
            *held -= 1;
            if *held == 0 {
                taken.by_client.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(last: u8) -> Option<IpAddr> {
        Some([10, 0, 0, last].into())
    }

    fn flood(entrance: &Arc<Entrance>, client: Option<IpAddr>) -> Vec<Place> {
        (0..1_000).map_while(|_| entrance.enter(client).ok()).collect()
    }

    #[test]
    fn a_flood_leaves_room_for_others() {
        let entrance = Entrance::new(60);
        let first = flood(&entrance, pod(1));
        let second = flood(&entrance, pod(2));
        assert_eq!((first.len(), second.len()), (30, 15));
        assert_eq!(entrance.enter(pod(1)).err(), Some(Full::Client));
        assert!(entrance.enter(pod(3)).is_ok());
        drop((first, second));
        assert_eq!(flood(&entrance, None).len(), 60);
        let taken = entrance.taken();
        assert_eq!((taken.all, taken.by_client.len()), (0, 0));
    }

    #[test]
    fn every_place_can_be_taken_and_no_more() {
        let entrance = Entrance::new(2);
        let taken: Vec<_> = (1..=2).map(|last| entrance.enter(pod(last))).collect();
        assert!(taken.iter().all(Result::is_ok));
        assert_eq!(entrance.enter(pod(3)).err(), Some(Full::Everybody));
        assert_eq!(flood(&Entrance::new(0), pod(1)).len(), 1_000);
    }
}
