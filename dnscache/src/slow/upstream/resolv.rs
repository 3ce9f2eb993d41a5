//! The upstreams a route's TOs stand for, resolv.conf files read and followed, and the endpoints
//! of a Service that take their place while they are known.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::path::{Path, PathBuf};

use crate::config::Upstream;
use crate::config::resolv_conf::{self, Nameserver};

/// Upstreams at most, as in CoreDNS; further nameservers of a file are not used.
pub const TARGETS_MAX: usize = 15;

/// An upstream to ask: where, and whether over TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Address and port.
    pub address: SocketAddr,
    /// DNS over TLS.
    pub tls: bool,
    /// The name its certificate must have, if the TO says so.
    pub server_name: Option<String>,
}

/// Endpoints at most; whoever names them has chosen from more.
pub const ENDPOINTS_MAX: usize = 64;

impl Target {
    fn plain(address: SocketAddr) -> Self {
        Self { address, tls: false, server_name: None }
    }
}

/// The TOs of a route with what their files said last.
#[derive(Debug)]
pub struct Targets {
    parts: Vec<Part>,
    /// What is asked in their place; empty: they are.
    endpoints: Vec<SocketAddr>,
}

#[derive(Debug)]
enum Part {
    Fixed(Target),
    File { path: PathBuf, nameservers: Vec<SocketAddr>, complained: bool },
}

impl Targets {
    /// Reads every file once; an error names the file that cannot be read or has no nameserver.
    pub fn read(to: &[Upstream]) -> anyhow::Result<Self> {
        let part = |upstream: &Upstream| {
            Ok(match upstream {
                Upstream::Address { address, tls, server_name } => Part::Fixed(Target {
                    address: *address,
                    tls: *tls,
                    server_name: server_name.clone(),
                }),
                Upstream::ResolvConf(path) => Part::File {
                    path: path.clone(),
                    nameservers: nameservers(path)?,
                    complained: false,
                },
            })
        };
        let parts = to.iter().map(part).collect::<anyhow::Result<_>>()?;
        Ok(Self { parts, endpoints: Vec::new() })
    }

    /// The upstreams in order, each once.
    pub fn list(&self) -> Vec<Target> {
        if !self.endpoints.is_empty() {
            return self.endpoints.iter().copied().map(Target::plain).collect();
        }
        let mut list: Vec<Target> = Vec::new();
        let every = self.parts.iter().flat_map(|part| match part {
            Part::Fixed(target) => vec![target.clone()],
            Part::File { nameservers, .. } => {
                nameservers.iter().copied().map(Target::plain).collect()
            }
        });
        for target in every {
            if list.len() < TARGETS_MAX && !list.contains(&target) {
                list.push(target);
            }
        }
        list
    }

    /// Puts endpoints in the place of the TOs, or the TOs back if there are none; says whether the
    /// upstreams changed.
    pub fn replace_endpoints(&mut self, endpoints: &[SocketAddr]) -> bool {
        let before = self.list();
        self.endpoints = endpoints.iter().copied().take(ENDPOINTS_MAX).collect();
        self.list() != before
    }

    /// Whether there is a file to follow.
    pub fn has_files(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::File { .. }))
    }

    /// Reads the files again and says whether the upstreams changed. A file that cannot be read
    /// or names nobody leaves them as they were; the log says so once until it is well again.
    /// Content is compared, not time stamps: the file is small, and a mount that swaps a symbolic
    /// link or a write within one tick of the file system's clock is noticed all the same.
    pub fn read_again(&mut self) -> bool {
        let before = self.list();
        for part in &mut self.parts {
            if let Part::File { path, nameservers: known, complained } = part {
                match nameservers(path) {
                    Ok(found) => {
                        *complained = false;
                        *known = found;
                    }
                    Err(error) if !*complained => {
                        *complained = true;
                        tracing::warn!("upstreams stay as they were: {error:#}");
                    }
                    Err(_) => {}
                }
            }
        }
        self.list() != before
    }
}

fn nameservers(path: &Path) -> anyhow::Result<Vec<SocketAddr>> {
    let read = resolv_conf::read(path)
        .map_err(|error| anyhow::anyhow!("{}: cannot be read: {error}", path.display()))?;
    let usable: Vec<SocketAddr> = read.nameservers.iter().filter_map(socket_address).collect();
    anyhow::ensure!(!usable.is_empty(), "{}: names no nameserver", path.display());
    Ok(usable)
}

/// Where a nameserver listens; `None` if its link is not on this machine.
fn socket_address(server: &Nameserver) -> Option<SocketAddr> {
    match (server.address, &server.scope) {
        (IpAddr::V6(address), Some(scope)) => {
            let index = link_index(scope)?;
            Some(SocketAddrV6::new(address, DNS_PORT, 0, index).into())
        }
        (address, _) => Some(SocketAddr::new(address, DNS_PORT)),
    }
}

/// The number of a link, written as a number or as its name.
fn link_index(scope: &str) -> Option<u32> {
    let is_name = !scope.is_empty() && !scope.contains(['/', '.']);
    scope.parse().ok().or_else(|| {
        let path = is_name.then(|| Path::new("/sys/class/net").join(scope).join("ifindex"))?;
        std::fs::read_to_string(path).ok()?.trim().parse().ok()
    })
}

/// The port of every nameserver in a resolv.conf.
const DNS_PORT: u16 = 53;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn check(targets: &Targets, expected: &[&str]) {
        let found: Vec<_> = targets.list().iter().map(|target| target.address).collect();
        let expected: Vec<_> = expected.iter().map(|text| address(text)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn files_stand_where_they_were_written_and_nobody_is_listed_twice() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("resolv.conf");
        std::fs::write(&path, "nameserver 192.0.2.2\nnameserver 192.0.2.1\n").expect("a file");
        let fixed =
            |text| Upstream::Address { address: address(text), tls: false, server_name: None };
        let to = [fixed("192.0.2.1:53"), Upstream::ResolvConf(path), fixed("192.0.2.9:53")];
        check(
            &Targets::read(&to).expect("targets"),
            &["192.0.2.1:53", "192.0.2.2:53", "192.0.2.9:53"],
        );
    }

    #[test]
    fn a_file_that_names_nobody_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("resolv.conf");
        let read = || Targets::read(&[Upstream::ResolvConf(path.clone())]);
        assert!(
            format!("{:#}", read().expect_err("no file")).contains("resolv.conf: cannot be read")
        );
        std::fs::write(&path, "search example.org\n").expect("a file");
        assert!(
            format!("{:#}", read().expect_err("no nameserver"))
                .contains("resolv.conf: names no nameserver")
        );
    }

    #[test]
    fn changes_are_followed_and_a_broken_file_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("resolv.conf");
        std::fs::write(&path, "nameserver 192.0.2.1\n").expect("a file");
        let mut targets = Targets::read(&[Upstream::ResolvConf(path.clone())]).expect("targets");
        assert!(!targets.read_again());
        std::fs::write(&path, "# nobody\n").expect("a file");
        assert!(!targets.read_again());
        std::fs::remove_file(&path).expect("removed");
        assert!(!targets.read_again());
        check(&targets, &["192.0.2.1:53"]);
        let other = folder.path().join("other");
        std::fs::write(&other, "nameserver 192.0.2.7\n").expect("a file");
        std::os::unix::fs::symlink(&other, &path).expect("a link");
        assert!(targets.read_again());
        check(&targets, &["192.0.2.7:53"]);
    }

    #[test]
    fn endpoints_stand_in_for_every_upstream_until_there_are_none() {
        let to =
            Upstream::Address { address: address("192.0.2.1:53"), tls: false, server_name: None };
        let mut targets = Targets::read(&[to]).expect("no file to read");
        let endpoints = [address("192.0.2.8:53"), address("192.0.2.9:53")];
        assert!(targets.replace_endpoints(&endpoints));
        check(&targets, &["192.0.2.8:53", "192.0.2.9:53"]);
        assert!(!targets.replace_endpoints(&endpoints));
        assert!(targets.replace_endpoints(&[]));
        check(&targets, &["192.0.2.1:53"]);
        let many: Vec<_> = (1..=200).map(|port| SocketAddr::from(([192, 0, 2, 7], port))).collect();
        assert!(targets.replace_endpoints(&many));
        assert_eq!(targets.list().len(), ENDPOINTS_MAX);
    }
}
