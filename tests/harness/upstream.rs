//! An upstream that does what a test says: UDP and TCP on one loopback port.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::message::Message;
use super::zone::{Zone, type_name};

/// A running upstream; it ends when this is dropped.
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<State>,
}

/// One question that reached the upstream, and the way back.
pub struct Asked {
    pub message: Message,
    pub tcp: bool,
    /// The asker's address and port.
    pub from: SocketAddr,
    /// Which TCP connection of this upstream it came on, from 1; 0 for UDP.
    pub connection: usize,
    way_back: WayBack,
}

enum WayBack {
    Udp(Arc<UdpSocket>),
    Tcp(Arc<Mutex<Option<TcpStream>>>),
}

struct State {
    handler: Box<dyn Fn(Asked) + Send + Sync>,
    stopped: AtomicBool,
    silent: AtomicBool,
    connections: AtomicUsize,
    streams: Mutex<Vec<TcpStream>>,
    counts: Mutex<HashMap<String, usize>>,
}

impl Upstream {
    /// Listens on `address` and gives every question to `handler`, health probes included.
    pub fn start(address: SocketAddr, handler: impl Fn(Asked) + Send + Sync + 'static) -> Self {
        Self::try_start(address, handler).unwrap_or_else(|e| panic!("{address}: {e}"))
    }

    /// As [`Self::start`]; the error is that of binding.
    pub fn try_start(
        address: SocketAddr,
        handler: impl Fn(Asked) + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let socket = Arc::new(UdpSocket::bind(address)?);
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let state = Arc::new(State {
            handler: Box::new(handler),
            stopped: AtomicBool::new(false),
            silent: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            streams: Mutex::new(Vec::new()),
            counts: Mutex::new(HashMap::new()),
        });
        let (udp, tcp) = (state.clone(), state.clone());
        thread::spawn(move || serve_udp(&socket, &udp));
        thread::spawn(move || serve_tcp(&listener, &tcp));
        Ok(Self { address, state })
    }

    /// Answers from a zone, whatever is asked.
    pub fn with_zone(ip: Ipv4Addr, port: u16, zone: &str) -> Self {
        let zone = Zone::from_text(zone);
        Self::start((ip, port).into(), move |asked| {
            asked.reply(&zone.reply(&asked.message));
        })
    }

    /// Hands every question over to whoever holds the receiver.
    pub fn scripted(ip: Ipv4Addr, port: u16) -> (Self, Receiver<Asked>) {
        let (sender, receiver) = channel();
        let sender = Mutex::new(sender);
        let upstream = Self::start((ip, port).into(), move |asked| {
            let _ = sender.lock().expect("no panic while sending").send(asked);
        });
        (upstream, receiver)
    }

    /// Swallows every question (true) or answers again (false).
    pub fn set_silent(&self, silent: bool) {
        self.state.silent.store(silent, Ordering::SeqCst);
    }

    /// Ends as a killed process does: ports closed, connections reset.
    pub fn kill(self) {
        let streams = std::mem::take(&mut *self.state.streams.lock().expect("no panic"));
        drop(self);
        for stream in streams {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// How often `NAME TYPE` was asked, whatever the case and transport.
    pub fn count(&self, question: &str) -> usize {
        self.counts().get(&question.to_ascii_lowercase()).copied().unwrap_or(0)
    }

    /// Questions asked, probes of health and loops left out.
    pub fn total(&self) -> usize {
        let counts = self.counts();
        let asked = counts.iter().filter(|(question, _)| !is_probe_text(question));
        asked.map(|(_, count)| count).sum()
    }

    /// TCP connections accepted.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, HashMap<String, usize>> {
        self.state.counts.lock().expect("no panic while counting")
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts connections.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_millis(100));
    }
}

impl Asked {
    /// Sends a reply.
    pub fn reply(&self, message: &Message) {
        self.send(&message.write());
    }

    /// Sends any octets as one message.
    pub fn send(&self, bytes: &[u8]) {
        match &self.way_back {
            WayBack::Udp(socket) => {
                let _ = socket.send_to(bytes, self.from);
            }
            WayBack::Tcp(_) => {
                self.write_raw(&[&(bytes.len() as u16).to_be_bytes(), bytes].concat());
            }
        }
    }

    /// Writes octets to the TCP connection without a length in front.
    pub fn write_raw(&self, bytes: &[u8]) {
        let WayBack::Tcp(stream) = &self.way_back else { return };
        if let Some(stream) = stream.lock().expect("no panic while writing").as_mut() {
            let _ = stream.write_all(bytes);
        }
    }

    /// Sends any octets from a port that was not asked.
    pub fn send_from_elsewhere(&self, bytes: &[u8]) {
        let ip = match &self.way_back {
            WayBack::Udp(socket) => socket.local_addr().expect("a bound socket").ip(),
            WayBack::Tcp(_) => return,
        };
        let stranger = UdpSocket::bind((ip, 0)).expect("a free port");
        let _ = stranger.send_to(bytes, self.from);
    }

    /// Closes the TCP connection; with `reset`, unsent data is thrown away and RST is sent.
    pub fn close(&self, reset: bool) {
        let WayBack::Tcp(stream) = &self.way_back else { return };
        let Some(stream) = stream.lock().expect("no panic while writing").take() else { return };
        if reset {
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            let _ = stream.shutdown(Shutdown::Read);
        } else {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Whether this is a probe rather than somebody's question.
    pub fn is_probe(&self) -> bool {
        is_probe_text(&question_text(&self.message))
    }
}

/// Health probes ask `. NS`; the loop probe asks HINFO.
fn is_probe_text(question: &str) -> bool {
    question == ". ns" || question.ends_with(" hinfo")
}

fn question_text(message: &Message) -> String {
    message.questions.first().map_or(String::new(), |question| {
        format!("{} {}", question.name, type_name(question.qtype)).to_ascii_lowercase()
    })
}

fn serve_udp(socket: &Arc<UdpSocket>, state: &State) {
    let mut buffer = [0; 65_535];
    while !state.stopped.load(Ordering::SeqCst) {
        let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
        let way_back = WayBack::Udp(socket.clone());
        state.handle(&buffer[..len], from, 0, way_back);
    }
}

fn serve_tcp(listener: &TcpListener, state: &Arc<State>) {
    while let Ok((stream, from)) = listener.accept() {
        if state.stopped.load(Ordering::SeqCst) {
            return;
        }
        let connection = state.connections.fetch_add(1, Ordering::SeqCst) + 1;
        let state = state.clone();
        if let Ok(stream) = stream.try_clone() {
            state.streams.lock().expect("no panic while noting").push(stream);
        }
        thread::spawn(move || serve_connection(stream, from, connection, &state));
    }
}

fn serve_connection(mut stream: TcpStream, from: SocketAddr, connection: usize, state: &State) {
    let Ok(writer) = stream.try_clone() else { return };
    let writer = Arc::new(Mutex::new(Some(writer)));
    let mut prefix = [0; 2];
    while stream.read_exact(&mut prefix).is_ok() {
        let mut packet = vec![0; usize::from(u16::from_be_bytes(prefix))];
        if stream.read_exact(&mut packet).is_err() {
            return;
        }
        state.handle(&packet, from, connection, WayBack::Tcp(writer.clone()));
    }
}

impl State {
    fn handle(&self, packet: &[u8], from: SocketAddr, connection: usize, way_back: WayBack) {
        let Ok(message) = Message::read(packet) else { return };
        let question = question_text(&message);
        *self.counts.lock().expect("no panic while counting").entry(question).or_insert(0) += 1;
        if self.silent.load(Ordering::SeqCst) {
            return;
        }
        let tcp = matches!(way_back, WayBack::Tcp(_));
        (self.handler)(Asked { message, tcp, from, connection, way_back });
    }
}
