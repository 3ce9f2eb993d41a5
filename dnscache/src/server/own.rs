//! The addresses of this machine: whoever asks from one of them is not one pod but the node, with all
//! that runs on its network.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use nix::ifaddrs::getifaddrs;

use crate::clients::Clients;

/// Pause between looks: addresses come and go with interfaces, such as that of the link-local address
/// this program itself serves on.
const PAUSE: Duration = Duration::from_secs(10);

/// Every address of every interface; none if the kernel does not tell, so that the node is treated as
/// a pod and not the other way round.
pub fn own_addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = getifaddrs() else { return Vec::new() };
    let addresses = interfaces.filter_map(|interface| interface.address);
    addresses
        .filter_map(|address| {
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
        })
        .collect()
}

/// Keeps `clients` told until it is dropped.
pub async fn follow_own_addresses(clients: Arc<Clients>) {
    loop {
        tokio::time::sleep(PAUSE).await;
        if let Ok(own) = tokio::task::spawn_blocking(own_addresses).await
            && !own.is_empty()
        {
            clients.note_own(own);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn the_loopback_is_ours() {
        assert!(own_addresses().contains(&Ipv4Addr::LOCALHOST.into()));
    }
}
