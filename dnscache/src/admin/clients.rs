//! What `GET /clients` tells: who asks what the cache does not know, and what was turned away. JSON,
//! in the shapes below. Clients are told here and not as labels of metrics, of which there would be a
//! series for every pod that ever was.

use serde::{Deserialize, Serialize};

use crate::clients::{ClientReading, Limited, Reading};

/// Clients and numbers at one moment.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ClientsReading {
    /// Clients known, those beyond the page's limit included.
    pub known: u64,
    /// Shares of the bound on questions in flight that all clients hold; a question of a usual size
    /// takes one.
    pub in_flight: u64,
    /// Shares there are.
    pub in_flight_max: u64,
    /// Questions turned away because their client asked for too many new names.
    pub limited_rate: u64,
    /// Questions turned away because their client had too much in flight.
    pub limited_in_flight: u64,
    /// Questions turned away because all clients together had too much in flight.
    pub limited_crowded: u64,
    /// The most active clients, the busiest first.
    pub clients: Vec<OneClientReading>,
}

/// A client, since it is known: one that asks little leaves when others need the place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OneClientReading {
    /// Its address.
    pub address: String,
    /// Whether that is an address of this machine, which stands for all that runs on its network.
    pub is_own: bool,
    /// Questions per second that the cache could not answer, over the last minute or so.
    pub per_second: f64,
    /// Such questions.
    pub questions: u64,
    /// Shares in flight.
    pub in_flight: u64,
    /// Questions turned away because it asked for too many new names.
    pub limited_rate: u64,
    /// Questions turned away because it had too much in flight, or others needed the room.
    pub limited_in_flight: u64,
}

impl From<&Reading> for ClientsReading {
    fn from(reading: &Reading) -> Self {
        let limited = |limited: Limited| reading.limited[limited as usize].1;
        Self {
            known: reading.known as u64,
            in_flight: reading.shares as u64,
            in_flight_max: reading.shares_max as u64,
            limited_rate: limited(Limited::Rate),
            limited_in_flight: limited(Limited::InFlight),
            limited_crowded: limited(Limited::Crowded),
            clients: reading.clients.iter().map(OneClientReading::from).collect(),
        }
    }
}

impl From<&ClientReading> for OneClientReading {
    fn from(client: &ClientReading) -> Self {
        let limited = |limited: Limited| client.limited[limited as usize];
        Self {
            address: client.address.to_string(),
            is_own: client.is_own,
            per_second: client.per_second,
            questions: client.questions,
            in_flight: client.in_flight as u64,
            limited_rate: limited(Limited::Rate),
            limited_in_flight: limited(Limited::InFlight) + limited(Limited::Crowded),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_keep_apart() {
        let client = ClientReading {
            address: [10, 0, 0, 1].into(),
            per_second: 1.5,
            questions: 9,
            in_flight: 2,
            limited: [1, 2, 4],
            is_own: false,
        };
        let reading = Reading {
            known: 3,
            clients: vec![client],
            shares: 2,
            shares_max: 8,
            limited: [("rate", 10), ("in_flight", 20), ("crowded", 40)],
        };
        let told = ClientsReading::from(&reading);
        let limited = (told.limited_rate, told.limited_in_flight, told.limited_crowded);
        assert_eq!(limited, (10, 20, 40));
        let one = &told.clients[0];
        assert_eq!((one.limited_rate, one.limited_in_flight), (1, 6));
        let text = serde_json::to_string(&told).expect("JSON");
        assert_eq!(serde_json::from_str::<ClientsReading>(&text).expect("the same JSON"), told);
    }
}
