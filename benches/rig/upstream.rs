//! The server that is asked on a miss: a child process with a synthetic zone, UDP and TCP on one
//! port, batched so that it does not limit what is measured.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use nix::sys::socket::{MsgFlags, SockaddrIn};

use super::batch::{Incoming, Outgoing};
use super::child;
use super::names::TYPE_AAAA;
use super::servers::free_port;
use super::zone;

/// The upstream, ended and reaped with this value.
pub struct Upstream {
    child: Child,
    pub address: SocketAddr,
}

impl Upstream {
    /// Starts it on a free port, on the cores of this thread, and waits for its first answer.
    pub fn start() -> anyhow::Result<Self> {
        let ip = Ipv4Addr::LOCALHOST;
        let address = SocketAddr::from((ip, free_port(ip.into())?));
        let program = std::env::current_exe().context("cannot name this program")?;
        let mut command = Command::new(program);
        command.args(["upstream", "--address", &address.to_string()]);
        let child = command.spawn().context("cannot start the upstream")?;
        let upstream = Self { child, address };
        for _ in 0..100 {
            if upstream.questions().is_ok() {
                return Ok(upstream);
            }
            thread::sleep(Duration::from_millis(20));
        }
        anyhow::bail!("the upstream on {address} does not answer")
    }

    /// How many questions it was asked, those about this number aside.
    pub fn questions(&self) -> anyhow::Result<u64> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(self.address)?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        let mut query = vec![0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in zone::COUNTER.split('.') {
            query.push(u8::try_from(label.len())?);
            query.extend(label.as_bytes());
        }
        query.push(0);
        query.extend(TYPE_AAAA.to_be_bytes());
        query.extend([0, 1]);
        socket.send(&query)?;
        let mut reply = [0; 512];
        let len = socket.recv(&mut reply)?;
        let count = reply[..len].last_chunk::<8>().context("a short reply of the upstream")?;
        Ok(u64::from_be_bytes(*count))
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        // Both fail only if it ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the upstream until it is killed: `upstream --address A`.
pub fn run(words: &[String]) -> anyhow::Result<()> {
    let [flag, address] = words else { anyhow::bail!("usage: upstream --address ADDRESS") };
    anyhow::ensure!(flag == "--address", "unknown option {flag}");
    child::die_with_parent()?;
    let address: SocketAddr = address.parse().context("not an address")?;
    let listener = TcpListener::bind(address).with_context(|| format!("cannot bind {address}"))?;
    let questions = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&questions);
    thread::spawn(move || accept(&listener, &counted));
    serve_udp(&child::udp_socket(address)?, &questions)
}

fn serve_udp(socket: &UdpSocket, questions: &AtomicU64) -> anyhow::Result<()> {
    let mut incoming = Incoming::<SockaddrIn>::new();
    let mut outgoing = Outgoing::new();
    loop {
        let count = incoming.receive(socket, MsgFlags::MSG_WAITFORONE)?;
        for at in 0..count {
            let (packet, sender) = incoming.datagram(at);
            outgoing.queue(sender, |reply| answer(packet, questions, reply));
        }
        outgoing.send(socket);
    }
}

/// One thread per connection; a server under test holds a handful.
fn accept(listener: &TcpListener, questions: &Arc<AtomicU64>) {
    for stream in listener.incoming().flatten() {
        let questions = Arc::clone(questions);
        thread::spawn(move || serve_tcp(stream, &questions));
    }
}

/// Answers all whole frames of each read with one write, until the connection ends.
fn serve_tcp(mut stream: TcpStream, questions: &AtomicU64) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut bytes, mut filled) = (vec![0; FRAMES_MAX], 0);
    let mut replies = Vec::with_capacity(FRAMES_MAX);
    let mut reply = [0; 1232];
    loop {
        match stream.read(&mut bytes[filled..])? {
            0 => return Ok(()),
            count => filled += count,
        }
        let mut at = 0;
        while let Some(len) = bytes[at..filled].first_chunk::<2>() {
            let len = usize::from(u16::from_be_bytes(*len));
            let Some(frame) = bytes[at..filled].get(2..2 + len) else { break };
            if let Some(len) = answer(frame, questions, &mut reply) {
                replies.extend((len as u16).to_be_bytes());
                replies.extend(&reply[..len]);
            }
            at += 2 + len;
        }
        bytes.copy_within(at..filled, 0);
        filled -= at;
        stream.write_all(&replies)?;
        replies.clear();
    }
}

fn answer(packet: &[u8], questions: &AtomicU64, reply: &mut [u8]) -> Option<usize> {
    let len = zone::answer(packet, questions.load(Ordering::Relaxed), reply)?;
    let is_counter = packet.get(13..).is_some_and(|name| name.starts_with(b"questions"));
    questions.fetch_add(u64::from(!is_counter), Ordering::Relaxed);
    Some(len)
}

/// Octets read at once: above the longest frame, so that one always fits whole.
const FRAMES_MAX: usize = 1 << 17;
