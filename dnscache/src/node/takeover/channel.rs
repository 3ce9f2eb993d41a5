//! A conversation with the other instance: packets over a Unix socket, descriptors beside them.
//!
//! Sockets have names in the abstract namespace, one for each DNS address. That namespace belongs
//! to the network namespace, as the addresses do: whoever could share the address can be reached
//! by its name, and nothing has to be mounted for it. Both sides ask the kernel who the other one
//! is and talk to processes of their own user only, who could share the port as well.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    sockopt,
};
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};

use super::message::{MESSAGE_MAX, Message};

/// One end of a conversation.
#[derive(Debug)]
pub struct Channel(UnixStream);

/// Where instances that start are waited for.
#[derive(Debug)]
pub struct Welcome(UnixListener);

/// Instances that may wait for the elder to look; there is one, or a few after crashes, and whoever
/// else comes is sent away at once.
const BACKLOG: i32 = 64;

impl Channel {
    /// Finds the instance that serves `address`. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// There is none, or it belongs to somebody else.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let socket = socket()?;
        rustix::net::connect(&socket, &name(address)?)?;
        Self::of(UnixStream::from_std(socket.into())?)
    }

    fn of(socket: UnixStream) -> io::Result<Self> {
        let other = sockopt::socket_peercred(&socket)?;
        if other.uid != rustix::process::geteuid() {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("it runs as user {}", other.uid.as_raw()),
            ));
        }
        Ok(Self(socket))
    }

    /// Says something, with a descriptor where the message has one.
    ///
    /// # Errors
    /// The other one is gone.
    pub async fn send(
        &self,
        message: &Message,
        descriptor: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let octets = message.encode();
        self.0
            .async_io(Interest::WRITABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                let descriptors = descriptor.as_slice();
                if !descriptors.is_empty() {
                    control.push(SendAncillaryMessage::ScmRights(descriptors));
                }
                rustix::net::sendmsg(
                    &self.0,
                    &[IoSlice::new(&octets)],
                    &mut control,
                    SendFlags::NOSIGNAL,
                )?;
                Ok(())
            })
            .await
    }

    /// Waits for what the other one says, and the descriptor that came with it; `None` when it is
    /// gone.
    ///
    /// # Errors
    /// What came is no message of ours, or the socket failed.
    pub async fn receive(&self) -> io::Result<Option<(Message, Option<OwnedFd>)>> {
        let mut octets = vec![0; MESSAGE_MAX];
        let (len, descriptor) = self
            .0
            .async_io(Interest::READABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut control = RecvAncillaryBuffer::new(&mut space);
                let received = rustix::net::recvmsg(
                    &self.0,
                    &mut [IoSliceMut::new(&mut octets)],
                    &mut control,
                    RecvFlags::CMSG_CLOEXEC,
                )?;
                let descriptor = control.drain().find_map(|message| match message {
                    RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
                    _ => None,
                });
                // What does not fit is no message of ours.
                let is_whole = !received.flags.contains(ReturnFlags::TRUNC);
                Ok((if is_whole { received.bytes } else { 1 }, descriptor))
            })
            .await?;
        if len == 0 {
            return Ok(None);
        }
        let message = Message::decode(&octets[..len]).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "it speaks another version")
        })?;
        Ok(Some((message, descriptor)))
    }
}

impl Welcome {
    /// Takes the name of an address. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Somebody has it.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let socket = socket()?;
        rustix::net::bind(&socket, &name(address)?)?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(Self(UnixListener::from_std(socket.into())?))
    }

    /// Waits for the next instance that starts.
    ///
    /// # Errors
    /// It belongs to somebody else, is gone already, or there are no descriptors left.
    pub async fn next(&self) -> io::Result<Channel> {
        Channel::of(self.0.accept().await?.0)
    }
}

fn socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

fn name(address: SocketAddr) -> io::Result<SocketAddrUnix> {
    let name = format!("dnscache/take-over/{address}");
    Ok(SocketAddrUnix::new_abstract_name(name.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _, Write as _};
    use std::os::fd::AsFd as _;

    use super::*;

    /// A name nobody else has: a port that was free a moment ago.
    fn address() -> SocketAddr {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket.local_addr().expect("bound")
    }

    #[tokio::test]
    async fn messages_and_descriptors_arrive_in_order() {
        let address = address();
        let welcome = Welcome::open(address).expect("a free name");
        let ours = Channel::connect(address).expect("somebody listens");
        let theirs = welcome.next().await.expect("somebody came");
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"whatever").expect("written");
        ours.send(&Message::Hello, None).await.expect("sent");
        ours.send(&Message::Snapshot, Some(file.as_fd())).await.expect("sent");
        let (first, none) = theirs.receive().await.expect("received").expect("a message");
        assert_eq!((first, none.is_none()), (Message::Hello, true));
        let (second, descriptor) = theirs.receive().await.expect("received").expect("a message");
        assert_eq!(second, Message::Snapshot);
        let mut copy = std::fs::File::from(descriptor.expect("a descriptor"));
        copy.rewind().expect("a file");
        let mut text = String::new();
        copy.read_to_string(&mut text).expect("read");
        assert_eq!(text, "whatever");
        drop(ours);
        assert!(theirs.receive().await.expect("the end").is_none());
    }

    #[tokio::test]
    async fn a_name_has_one_owner_at_a_time() {
        let address = address();
        assert!(Channel::connect(address).is_err(), "nobody listens yet");
        let welcome = Welcome::open(address).expect("a free name");
        let taken = Welcome::open(address).expect_err("taken");
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        drop(welcome);
        Welcome::open(address).expect("free again");
    }

    #[tokio::test]
    async fn what_is_no_message_is_an_error() {
        let address = address();
        let welcome = Welcome::open(address).expect("a free name");
        let socket = socket().expect("a socket");
        rustix::net::connect(&socket, &name(address).expect("a name")).expect("connected");
        let theirs = welcome.next().await.expect("somebody came");
        rustix::net::send(&socket, b"GET / HTTP/1.1", SendFlags::empty()).expect("sent");
        let error = theirs.receive().await.expect_err("not ours");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
