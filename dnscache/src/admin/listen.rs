//! On which addresses which pages are served, and how those addresses are bound.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use crate::bind::BindError;
use crate::config::Config;

/// The pages that belong on one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Selection {
    /// `prometheus` names the address, or a flag does.
    pub metrics: bool,
    /// `prometheus` names it: which names are asked is told only where the Corefile says so.
    pub hot: bool,
    /// `health` does.
    pub health: bool,
    /// `ready` does.
    pub ready: bool,
}

impl Selection {
    /// The directives that name the address, for messages.
    fn directives(self) -> String {
        let named = [(self.metrics, "prometheus"), (self.health, "health"), (self.ready, "ready")];
        let names: Vec<_> = named.into_iter().filter(|(on, _)| *on).map(|(_, name)| name).collect();
        names.join(", ")
    }

    fn union(self, other: Self) -> Self {
        Self {
            metrics: self.metrics || other.metrics,
            hot: self.hot || other.hot,
            health: self.health || other.health,
            ready: self.ready || other.ready,
        }
    }
}

/// Which pages go where; `metrics` are addresses that serve those without a directive. Directives that name one address share it. An address is also reached
/// through the unspecified one of its port (`[::]` stands for IPv4 too), so it serves the pages of
/// that as well: the kernel gives a connection to the most specific listener.
pub fn selections(config: &Config, metrics: &[SocketAddr]) -> BTreeMap<SocketAddr, Selection> {
    let mut named: BTreeMap<SocketAddr, Selection> = BTreeMap::new();
    for address in config.prometheus.iter().chain(metrics) {
        named.entry(*address).or_default().metrics = true;
    }
    for address in &config.prometheus {
        named.entry(*address).or_default().hot = true;
    }
    for address in config.health.iter().flat_map(|health| &health.listen) {
        named.entry(*address).or_default().health = true;
    }
    for address in &config.ready {
        named.entry(*address).or_default().ready = true;
    }
    let wide: Vec<_> = named
        .iter()
        .filter(|(address, _)| address.ip().is_unspecified())
        .map(|(address, selection)| (*address, *selection))
        .collect();
    for (address, selection) in &mut named {
        for (wide_address, wide_selection) in &wide {
            let covers = wide_address.port() == address.port()
                && (wide_address.is_ipv6() || address.is_ipv4());
            if covers {
                *selection = selection.union(*wide_selection);
            }
        }
    }
    named
}

/// Binds an address for the admin pages. SO_REUSEADDR and SO_REUSEPORT let a second instance of
/// this program start beside the first, which then takes over. Must be called in a tokio runtime.
pub fn bind(
    address: SocketAddr,
    selection: Selection,
) -> Result<tokio::net::TcpListener, BindError> {
    let opened = open(address).and_then(tokio::net::TcpListener::from_std);
    opened.map_err(BindError::of(&selection.directives(), address))
}

/// Connections the kernel holds for us; probes and scrapes are few.
const BACKLOG: i32 = 128;

/// Opens an address. `[::]` takes IPv4 as well, and is 0.0.0.0 on a machine without IPv6.
fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let is_everywhere = address.is_ipv6() && address.ip().is_unspecified();
    match open_socket(address, is_everywhere) {
        Err(error) if is_everywhere && error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
            open_socket(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()), false)
        }
        opened => opened,
    }
}

fn open_socket(address: SocketAddr, takes_ipv4: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!takes_ipv4)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Health, Origin};

    fn config(prometheus: &[&str], health: &[&str], ready: &[&str]) -> Config {
        let addresses = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().expect("an address")).collect()
        };
        Config {
            origin: Origin::BuiltIn,
            blocks: Vec::new(),
            sockets: None,
            reload: None,
            health: Some(Health { listen: addresses(health), lameduck: Duration::ZERO }),
            hot: None,
            clients: None,
            slow_log: None,
            ready: addresses(ready),
            prometheus: addresses(prometheus),
            fingerprint: 0,
            warnings: Vec::new(),
        }
    }

    fn check(config: &Config, expected: &[(&str, &str)]) {
        let found: Vec<(String, String)> =
            selections(config, &["127.0.0.1:9353".parse().expect("an address")])
                .into_iter()
                .map(|(address, selection)| (address.to_string(), selection.directives()))
                .collect();
        let expected: Vec<_> =
            expected.iter().map(|(a, d)| ((*a).to_owned(), (*d).to_owned())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn one_address_is_shared() {
        check(
            &config(
                &["127.0.0.1:9253"],
                &["127.0.0.1:9253"],
                &["127.0.0.1:9253", "127.0.0.1:8181"],
            ),
            &[
                ("127.0.0.1:8181", "ready"),
                ("127.0.0.1:9253", "prometheus, health, ready"),
                ("127.0.0.1:9353", "prometheus"),
            ],
        );
    }

    #[test]
    fn a_flag_brings_metrics_without_names() {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let flag = [address("127.0.0.1:9353"), address("127.0.0.1:9253")];
        let named = selections(&config(&["127.0.0.1:9253"], &[], &[]), &flag);
        let shown = |text: &str| (named[&address(text)].metrics, named[&address(text)].hot);
        assert_eq!(shown("127.0.0.1:9353"), (true, false));
        assert_eq!(shown("127.0.0.1:9253"), (true, true));
    }

    #[test]
    fn an_address_serves_what_all_addresses_serve() {
        check(
            &config(&["0.0.0.0:9253", "[::]:9253"], &["127.0.0.1:9253", "[::1]:8080"], &[]),
            &[
                ("0.0.0.0:9253", "prometheus"),
                ("127.0.0.1:9253", "prometheus, health"),
                ("127.0.0.1:9353", "prometheus"),
                ("[::]:9253", "prometheus"),
                ("[::1]:8080", "health"),
            ],
        );
    }

    #[tokio::test]
    async fn a_second_instance_binds_beside_the_first() {
        let selection = Selection { health: true, ..Selection::default() };
        let first = bind(([127, 0, 0, 1], 0).into(), selection).expect("a free port");
        let address = first.local_addr().expect("bound");
        bind(address, selection).expect("the same port once more");
    }

    #[tokio::test]
    async fn a_taken_port_is_explained() {
        let other = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = other.local_addr().expect("bound");
        let selection = Selection { metrics: true, ready: true, ..Selection::default() };
        let error = bind(address, selection).expect_err("taken").to_string();
        assert!(error.starts_with(&format!("cannot listen on {address} for prometheus, ready: ")));
        assert!(error.contains("another program"), "{error}");
    }

    #[tokio::test]
    async fn a_foreign_address_is_explained() {
        let address = ([192, 0, 2, 1], 0).into();
        let error = bind(address, Selection::default()).expect_err("not ours").to_string();
        assert!(error.contains("no interface of this machine has the address"), "{error}");
    }
}
