//! An address that cannot be listened on: which one, why, and what to do about it.

use std::fmt;
use std::io;
use std::net::SocketAddr;

/// An address that cannot be listened on.
#[derive(Debug)]
pub struct BindError {
    /// What was to be served there: `UDP`, `TCP`, or the directives that name a page's address.
    pub service: String,
    /// The address.
    pub address: SocketAddr,
    /// What the system says.
    pub cause: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, address, cause } = self;
        write!(f, "cannot listen on {address} for {service}: {cause}")?;
        match self.advice() {
            Some(advice) => write!(f, "; {advice}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for BindError {}

impl BindError {
    /// Makes the error of a cause, for `map_err`.
    pub fn of(service: &str, address: SocketAddr) -> impl FnOnce(io::Error) -> Self + use<> {
        let service = service.to_owned();
        move |cause| Self { service, address, cause }
    }

    /// What the operator can do about it.
    fn advice(&self) -> Option<String> {
        let (ip, port) = (self.address.ip(), self.address.port());
        Some(match self.cause.raw_os_error()? {
            libc::EACCES | libc::EPERM => format!(
                "port {port} needs root or the capability CAP_NET_BIND_SERVICE; without it use a \
                 port of 1024 or more"
            ),
            libc::EADDRINUSE => format!(
                "another program, or this one under another user, has it; `ss -lunpt 'sport = \
                 :{port}'` names it"
            ),
            libc::EADDRNOTAVAIL => {
                format!("no interface of this machine has the address {ip}; add it or bind another")
            }
            libc::EAFNOSUPPORT => "this machine has that address family switched off".to_owned(),
            libc::EINVAL if self.address.is_ipv6() => {
                "a link-local address needs its interface, as in fe80::1%eth0".to_owned()
            }
            libc::EMFILE | libc::ENFILE => {
                "raise the limit on open files (`ulimit -n`) or use fewer sockets".to_owned()
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_which_why_and_what_to_do() {
        let address = "127.0.0.1:53".parse().expect("an address");
        let cause = io::Error::from_raw_os_error(libc::EADDRINUSE);
        let message = BindError::of("TCP", address)(cause).to_string();
        assert!(
            message.starts_with("cannot listen on 127.0.0.1:53 for TCP: Address already in use")
        );
        assert!(message.ends_with("`ss -lunpt 'sport = :53'` names it"), "{message}");
    }

    #[test]
    fn refusals_say_what_to_do() {
        let check = |code, address: &str, expected: &str| {
            let cause = io::Error::from_raw_os_error(code);
            let address = address.parse().expect("an address");
            let message = BindError::of("UDP", address)(cause).to_string();
            assert!(message.contains(expected), "{message}");
        };
        check(libc::EACCES, "127.0.0.1:53", "CAP_NET_BIND_SERVICE");
        check(libc::EAFNOSUPPORT, "[::1]:53", "switched off");
        check(libc::EINVAL, "[fe80::1]:53", "fe80::1%eth0");
        check(libc::EMFILE, "127.0.0.1:53", "ulimit");
        check(libc::EIO, "127.0.0.1:53", "os error 5");
    }
}
