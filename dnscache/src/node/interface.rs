//! The interface the node's addresses are on.
//!
//! A link of type dummy that is made here, or any link of that name that is there already, gets
//! the addresses it lacks, each as a host of its own (/32, /128). Nothing is done twice, and other
//! addresses are left alone.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use nix::errno::Errno;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::{
    Error as NetlinkError, Handle, LinkDummy, LinkUnspec, MulticastGroup, new_multicast_connection,
};
use thiserror::Error;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// The interface of this node, as it should be.
pub struct Interface {
    name: String,
    addresses: Vec<IpAddr>,
    handle: Handle,
    /// Told when somebody has taken something away.
    disturbed: Arc<Notify>,
    tasks: [JoinHandle<()>; 2],
}

/// Why the interface is not as it should be. Each says what would help.
#[derive(Debug, Error)]
pub enum InterfaceError {
    /// The kernel cannot be talked to.
    #[error("interface {0}: the kernel cannot be asked about interfaces (netlink): {1}")]
    Netlink(String, String),
    /// Not allowed to.
    #[error(
        "interface {0}: not permitted to {1}: the capability CAP_NET_ADMIN is missing; add \
         NET_ADMIN to the container's securityContext.capabilities, or make the interface with its \
         addresses beforehand, or say -setupinterface=false"
    )]
    NotPermitted(String, String),
    /// The kernel has no links of type dummy.
    #[error(
        "interface {0}: this kernel has no links of type dummy; load its module on the node \
         (modprobe dummy), or make a link of this name beforehand, of any type, or say \
         -setupinterface=false"
    )]
    NoDummy(String),
    /// An address is on another link.
    #[error("interface {name}: {address} is already on interface {other}; {remedy}")]
    Elsewhere {
        /// Our interface.
        name: String,
        /// The address.
        address: IpAddr,
        /// Where it is.
        other: String,
        /// What would help.
        remedy: &'static str,
    },
    /// The node has no IPv6.
    #[error(
        "interface {0}: {1} cannot be added: IPv6 is switched off here (sysctl \
         net.ipv6.conf.*.disable_ipv6); switch it on, or take the address out of -localip"
    )]
    NoIpv6(String, IpAddr),
    /// Anything else.
    #[error("interface {0}: cannot {1}: {2}")]
    Refused(String, String, String),
}

/// The numbers of the links each address is on.
type Places = BTreeMap<IpAddr, Vec<u32>>;

/// What there was before [`Interface::ensure`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    link: Option<Link>,
    /// Our addresses that were on it.
    addresses: Vec<IpAddr>,
}

/// A link and what matters of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Link {
    index: u32,
    is_up: bool,
    is_dummy: bool,
}

impl Interface {
    /// Connects to the kernel and listens for changes; changes nothing.
    ///
    /// # Errors
    /// There is no netlink.
    pub fn open(name: &str, addresses: &[IpAddr]) -> Result<Self, InterfaceError> {
        let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
        let (connection, handle, mut messages) = new_multicast_connection(&groups)
            .map_err(|error| InterfaceError::Netlink(name.to_owned(), error.to_string()))?;
        let disturbed = Arc::new(Notify::new());
        let tell = Arc::clone(&disturbed);
        let (watched, ours) = (name.to_owned(), addresses.to_vec());
        let listen = async move {
            while let Some((message, _)) = messages.next().await {
                if is_disturbing(&message, &watched, &ours) {
                    tell.notify_one();
                }
            }
        };
        Ok(Self {
            name: name.to_owned(),
            addresses: addresses.to_vec(),
            handle,
            disturbed,
            tasks: [tokio::spawn(connection), tokio::spawn(listen)],
        })
    }

    /// Told when somebody has taken something away.
    pub fn disturbed(&self) -> Arc<Notify> {
        Arc::clone(&self.disturbed)
    }

    /// Makes what is missing; says what that was.
    ///
    /// # Errors
    /// What is in the way; what was made before stays.
    pub async fn ensure(&self) -> Result<Vec<String>, InterfaceError> {
        let link = self.find().await?;
        let places = self.places().await?;
        self.check_places(link.as_ref(), &places).await?;
        if let Some(link) = link {
            return self.complete(&link, &places).await;
        }
        self.make().await?;
        let link = self.find().await?;
        let link = link.ok_or_else(|| self.refused("make the link", "it is gone again"))?;
        match self.complete(&link, &places).await {
            Ok(made) => Ok(std::iter::once("link made".to_owned()).chain(made).collect()),
            Err(error) => {
                // Half an interface is worse than none.
                let _ = self.handle.link().del(link.index).execute().await;
                Err(error)
            }
        }
    }

    /// An address on another link is an error before anything is changed.
    async fn check_places(
        &self,
        link: Option<&Link>,
        places: &Places,
    ) -> Result<(), InterfaceError> {
        let index = link.map(|link| link.index);
        for address in &self.addresses {
            let on = places.get(address).map_or(&[][..], Vec::as_slice);
            if let Some(other) = on.first()
                && !on.iter().any(|on| Some(*on) == index)
            {
                return Err(self.elsewhere(*address, *other).await);
            }
        }
        Ok(())
    }

    /// Brings a link up and gives it the addresses it lacks.
    async fn complete(&self, link: &Link, places: &Places) -> Result<Vec<String>, InterfaceError> {
        let mut made = Vec::new();
        if !link.is_up {
            let up = LinkUnspec::new_with_index(link.index).up().build();
            let outcome = self.handle.link().set(up).execute().await;
            self.permitted("bring the link up", outcome)?;
            made.push("link brought up".to_owned());
        }
        for address in &self.addresses {
            if !places.get(address).is_some_and(|on| on.contains(&link.index)) {
                self.add(link.index, *address).await?;
                made.push(format!("{address} added"));
            }
        }
        Ok(made)
    }

    /// Takes our addresses away, and the link too if it is of the type we make. A link of another
    /// type was made by somebody else and stays.
    ///
    /// # Errors
    /// The first thing that could not be taken away; the rest is.
    pub async fn remove(&self) -> Result<(), InterfaceError> {
        let Some(link) = self.find().await? else { return Ok(()) };
        if link.is_dummy {
            let outcome = self.handle.link().del(link.index).execute().await;
            return self.permitted("remove the link", outcome);
        }
        let mut outcome = Ok(());
        for message in self.address_messages().await? {
            let is_ours = address_of(&message).is_some_and(|a| self.addresses.contains(&a));
            if is_ours && message.header.index == link.index {
                let removed = self.handle.address().del(message).execute().await;
                outcome = outcome.and(self.permitted("remove an address", removed));
            }
        }
        outcome
    }

    /// What is there now, for [`Self::undo`].
    ///
    /// # Errors
    /// The kernel does not say.
    pub async fn look(&self) -> Result<Found, InterfaceError> {
        let link = self.find().await?;
        let mut addresses = Vec::new();
        if let Some(link) = &link {
            let places = self.places().await?;
            let is_on =
                |address: &&IpAddr| places.get(*address).is_some_and(|on| on.contains(&link.index));
            addresses.extend(self.addresses.iter().filter(is_on));
        }
        Ok(Found { link, addresses })
    }

    /// Takes away what was made since it was `found` so; says what could not.
    pub async fn undo(&self, found: &Found) {
        if let Err(error) = self.try_undo(found).await {
            tracing::warn!("what this start has made stays behind: {error}");
        }
    }

    async fn try_undo(&self, found: &Found) -> Result<(), InterfaceError> {
        let Some(link) = self.find().await? else { return Ok(()) };
        if found.link.as_ref().is_none_or(|before| before.index != link.index) {
            return self.remove().await;
        }
        for message in self.address_messages().await? {
            let is_new = address_of(&message)
                .is_some_and(|a| self.addresses.contains(&a) && !found.addresses.contains(&a));
            if is_new && message.header.index == link.index {
                let removed = self.handle.address().del(message).execute().await;
                self.permitted("remove an address", removed)?;
            }
        }
        if found.link.as_ref().is_some_and(|before| !before.is_up) {
            let down = LinkUnspec::new_with_index(link.index).down().build();
            let outcome = self.handle.link().set(down).execute().await;
            self.permitted("take the link down", outcome)?;
        }
        Ok(())
    }

    async fn find(&self) -> Result<Option<Link>, InterfaceError> {
        let mut links = self.handle.link().get().match_name(&self.name).execute();
        match links.try_next().await {
            Ok(message) => Ok(message.map(|message| Link::read(&message))),
            Err(error) if errno(&error) == Some(Errno::ENODEV) => Ok(None),
            Err(error) => Err(self.refused("look for the link", &text(&error))),
        }
    }

    async fn make(&self) -> Result<(), InterfaceError> {
        let link = LinkDummy::new(&self.name).up().build();
        let outcome = self.handle.link().add(link).execute().await;
        match outcome.as_ref().err().and_then(errno) {
            // Another instance was faster.
            Some(Errno::EEXIST) => Ok(()),
            Some(Errno::EOPNOTSUPP) => Err(InterfaceError::NoDummy(self.name.clone())),
            _ => self.permitted("make it", outcome),
        }
    }

    async fn add(&self, index: u32, address: IpAddr) -> Result<(), InterfaceError> {
        let length = if address.is_ipv4() { 32 } else { 128 };
        let mut request = self.handle.address().add(index, address, length);
        // Nobody else can have it, and an IPv6 address that waits to be found unique cannot be
        // bound to.
        request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        let outcome = request.execute().await;
        match outcome.as_ref().err().and_then(errno) {
            Some(Errno::EEXIST) => Ok(()),
            Some(Errno::EACCES) if address.is_ipv6() => {
                Err(InterfaceError::NoIpv6(self.name.clone(), address))
            }
            _ => self.permitted(&format!("add {address}"), outcome),
        }
    }

    /// On which links each address of the node is.
    async fn places(&self) -> Result<Places, InterfaceError> {
        let mut places = Places::new();
        for message in self.address_messages().await? {
            if let Some(address) = address_of(&message) {
                places.entry(address).or_default().push(message.header.index);
            }
        }
        Ok(places)
    }

    async fn address_messages(&self) -> Result<Vec<AddressMessage>, InterfaceError> {
        let messages = self.handle.address().get().execute().try_collect::<Vec<_>>().await;
        messages.map_err(|error| self.refused("list addresses", &text(&error)))
    }

    async fn elsewhere(&self, address: IpAddr, index: u32) -> InterfaceError {
        let mut links = self.handle.link().get().match_index(index).execute();
        let link = links.try_next().await.ok().flatten();
        let other = link.as_ref().and_then(name_of).unwrap_or_else(|| format!("number {index}"));
        let remedy = remedy_for(&other);
        InterfaceError::Elsewhere { name: self.name.clone(), address, other, remedy }
    }

    fn permitted(
        &self,
        what: &str,
        outcome: Result<(), NetlinkError>,
    ) -> Result<(), InterfaceError> {
        outcome.map_err(|error| match errno(&error) {
            Some(Errno::EPERM) => InterfaceError::NotPermitted(self.name.clone(), what.to_owned()),
            _ => self.refused(what, &text(&error)),
        })
    }

    /// The kernel has not answered for so long.
    pub fn silent(&self, limit: Duration) -> InterfaceError {
        InterfaceError::Netlink(self.name.clone(), format!("no answer within {limit:?}"))
    }

    fn refused(&self, what: &str, why: &str) -> InterfaceError {
        InterfaceError::Refused(self.name.clone(), what.to_owned(), why.to_owned())
    }
}

impl Drop for Interface {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Link {
    fn read(message: &LinkMessage) -> Self {
        let is_dummy = message.attributes.iter().any(|attribute| {
            matches!(attribute, LinkAttribute::LinkInfo(infos)
                if infos.contains(&LinkInfo::Kind(InfoKind::Dummy)))
        });
        Self {
            index: message.header.index,
            is_up: message.header.flags.contains(LinkFlags::Up),
            is_dummy,
        }
    }
}

/// Whether a message says that something of ours is gone: the link, its being up, an address.
fn is_disturbing(
    message: &NetlinkMessage<RouteNetlinkMessage>,
    name: &str,
    addresses: &[IpAddr],
) -> bool {
    let message = match &message.payload {
        NetlinkPayload::InnerMessage(message) => message,
        // More than the socket holds: one of those that are lost may be about ours.
        NetlinkPayload::Overrun(_) => return true,
        _ => return false,
    };
    let is_ours = |link: &LinkMessage| name_of(link).is_some_and(|known| known == name);
    match message {
        RouteNetlinkMessage::DelLink(link) => is_ours(link),
        RouteNetlinkMessage::NewLink(link) => {
            is_ours(link) && !link.header.flags.contains(LinkFlags::Up)
        }
        RouteNetlinkMessage::DelAddress(address) => {
            address_of(address).is_some_and(|address| addresses.contains(&address))
        }
        _ => false,
    }
}

fn name_of(link: &LinkMessage) -> Option<String> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })
}

/// The address itself: IPv4 says it as the local one, IPv6 as the only one.
fn address_of(message: &AddressMessage) -> Option<IpAddr> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

fn remedy_for(other: &str) -> &'static str {
    if other == "kube-ipvs0" {
        "kube-proxy in IPVS mode keeps all ClusterIPs there: leave this one out of -localip and of \
         `bind`, and tell the kubelets the link-local address (--cluster-dns)"
    } else {
        "take it away there, or leave it out of -localip, or say -setupinterface=false"
    }
}

fn errno(error: &NetlinkError) -> Option<Errno> {
    match error {
        NetlinkError::NetlinkError(message) => Some(Errno::from_raw(message.raw_code().abs())),
        _ => None,
    }
}

fn text(error: &NetlinkError) -> String {
    match errno(error) {
        Some(number) => io::Error::from(number).to_string(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipvs_has_a_remedy_of_its_own() {
        assert!(remedy_for("kube-ipvs0").contains("--cluster-dns"));
        assert!(remedy_for("eth0").contains("-setupinterface=false"));
    }

    #[test]
    fn only_what_is_taken_away_disturbs() {
        let ours: Vec<IpAddr> = vec!["169.254.20.10".parse().expect("IP")];
        let address = |address: &str| {
            let mut message = AddressMessage::default();
            message.attributes.push(AddressAttribute::Local(address.parse().expect("IP")));
            message
        };
        let link = |name: &str, flags: LinkFlags| {
            let mut message = LinkMessage::default();
            message.header.flags = flags;
            message.attributes.push(LinkAttribute::IfName(name.to_owned()));
            message
        };
        let (up, down) = (LinkFlags::Up, LinkFlags::empty());
        for (message, expected) in [
            (RouteNetlinkMessage::DelAddress(address("169.254.20.10")), true),
            (RouteNetlinkMessage::DelAddress(address("169.254.20.11")), false),
            (RouteNetlinkMessage::NewAddress(address("169.254.20.10")), false),
            (RouteNetlinkMessage::DelLink(link("nodelocaldns", up)), true),
            (RouteNetlinkMessage::DelLink(link("veth1", up)), false),
            (RouteNetlinkMessage::NewLink(link("nodelocaldns", up)), false),
            (RouteNetlinkMessage::NewLink(link("nodelocaldns", down)), true),
        ] {
            let said = format!("{message:?}");
            let message = NetlinkMessage::from(message);
            assert_eq!(is_disturbing(&message, "nodelocaldns", &ours), expected, "{said}");
        }
        let mut lost = NetlinkMessage::from(RouteNetlinkMessage::NewLink(link("veth1", up)));
        lost.payload = NetlinkPayload::Overrun(Vec::new());
        assert!(is_disturbing(&lost, "nodelocaldns", &ours), "who knows what was lost");
    }
}
