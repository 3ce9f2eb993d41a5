//! A stage for conversations: the real program, a scripted upstream, real time.

use std::collections::{HashMap, VecDeque};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use super::client::{PATIENCE, TcpClient, UdpClient};
use super::conversation::{Ask, Conversation, QuestionPattern, ReplyPattern, Saying};
use super::message::Message;
use super::own_loopback;
use super::program::{Program, UPSTREAM_PORT};
use super::stage::{Sent, Stage, judge_flag, judge_question, judge_reply};
use super::upstream::{Asked, Upstream};

/// How long a question may take to reach an upstream: longer than a first upstream's timeout.
const QUESTION_PATIENCE: Duration = Duration::from_millis(3500);
/// How long a step looks for a question that should not come.
const QUIET: Duration = Duration::from_millis(150);

/// The program with its clients and upstreams.
pub struct ProgramStage {
    program: Program,
    started: Instant,
    servers: Vec<Server>,
    clients: HashMap<String, Client>,
    next_id: u16,
    last_asked_at: Instant,
}

struct Server {
    _upstream: Upstream,
    arrivals: Receiver<Asked>,
    questions: VecDeque<Asked>,
    probes: VecDeque<Asked>,
    current: Option<Asked>,
    connection: usize,
}

struct Client {
    udp: UdpClient,
    tcp: Option<TcpClient>,
    sent: Vec<Sent>,
    asked_at: Instant,
}

impl ProgramStage {
    /// Starts program and upstreams for one conversation.
    pub fn new(conversation: &Conversation) -> Self {
        let ip = own_loopback();
        let servers = (0..3).map(|n| {
            let (upstream, arrivals) = Upstream::scripted(ip, UPSTREAM_PORT + n);
            Server {
                _upstream: upstream,
                arrivals,
                questions: VecDeque::new(),
                probes: VecDeque::new(),
                current: None,
                connection: 0,
            }
        });
        let servers = servers.collect();
        let program = Program::start(ip, &conversation.corefile);
        Self {
            program,
            started: Instant::now(),
            servers,
            clients: HashMap::new(),
            next_id: 100,
            last_asked_at: Instant::now(),
        }
    }

    /// What the program wrote, for a conversation that failed.
    pub fn log(&self) -> String {
        self.program.log()
    }

    fn client(&mut self, name: &str) -> &mut Client {
        let address = self.program.address;
        self.clients.entry(name.to_owned()).or_insert_with(|| Client {
            udp: UdpClient::new(address),
            tcp: None,
            sent: Vec::new(),
            asked_at: Instant::now(),
        })
    }

    fn collect(&mut self) {
        for server in &mut self.servers {
            while let Ok(asked) = server.arrivals.try_recv() {
                let queue =
                    if asked.is_probe() { &mut server.probes } else { &mut server.questions };
                queue.push_back(asked);
            }
        }
    }

    /// The next question for `server` (or for any), and which server got it.
    fn take_question(&mut self, pattern: &QuestionPattern) -> Option<(usize, Asked)> {
        let wait = pattern.within.map_or(QUESTION_PATIENCE, |within| within + QUIET);
        let end = Instant::now() + wait;
        loop {
            self.collect();
            for (at, server) in self.servers.iter_mut().enumerate() {
                if pattern.server.is_some_and(|number| number != at + 1) {
                    continue;
                }
                let queue = if pattern.probe { &mut server.probes } else { &mut server.questions };
                if let Some(asked) = queue.pop_front() {
                    return Some((at, asked));
                }
            }
            if Instant::now() > end {
                return None;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn current(&self, server: usize) -> Result<&Asked, String> {
        self.servers[server - 1].current.as_ref().ok_or("no question to answer".to_owned())
    }
}

impl Stage for ProgramStage {
    fn ask(&mut self, ask: &Ask) -> Result<(), String> {
        if ask.source.is_some() {
            return Err("the source can only be chosen on the engine".into());
        }
        self.next_id += 1;
        let query = Message { id: self.next_id, ..ask.query.clone() };
        let bytes = query.write();
        let address = self.program.address;
        self.last_asked_at = Instant::now();
        let client = self.client(&ask.client);
        client.asked_at = Instant::now();
        client.sent.push(Sent { query, tcp: ask.tcp });
        if ask.tcp {
            client.tcp.get_or_insert_with(|| TcpClient::new(address)).send(&bytes);
        } else {
            client.udp.send(&bytes);
        }
        Ok(())
    }

    fn raw(&mut self, client: &str, tcp: bool, bytes: &[u8]) -> Result<(), String> {
        let address = self.program.address;
        let client = self.client(client);
        client.asked_at = Instant::now();
        client.sent.clear();
        if tcp {
            client.tcp.get_or_insert_with(|| TcpClient::new(address)).send(bytes);
        } else {
            client.udp.send(bytes);
        }
        Ok(())
    }

    fn gets(&mut self, name: &str, pattern: &ReplyPattern) -> Result<(), String> {
        let slack = self.started.elapsed().as_secs() as u32 + 1;
        let client = self.client(name);
        let tcp = client.sent.last().is_some_and(|sent| sent.tcp);
        let bytes = match &mut client.tcp {
            Some(connection) if tcp => connection.receive(PATIENCE),
            _ => client.udp.receive(PATIENCE),
        };
        let bytes = bytes.ok_or("no reply".to_owned())?;
        let took = client.asked_at.elapsed();
        let id = u16::from_be_bytes([bytes[0], bytes[1]]);
        let sent = client.sent.iter().find(|sent| sent.query.id == id).cloned();
        let sent = sent.or_else(|| client.sent.last().cloned());
        if let (Some((name, qtype)), Some(sent)) = (&pattern.question, &sent) {
            let question = &sent.query.questions[0];
            if !question.name.same(name) || question.qtype != *qtype {
                return Err(format!("the reply is to {} and came too early", question.name));
            }
        }
        judge_reply(&bytes, sent.as_ref(), pattern, slack)?;
        judge_time(pattern.within, pattern.after, took)?;
        client.sent.retain(|sent| sent.query.id != id);
        Ok(())
    }

    fn gets_nothing(&mut self, name: &str, wait: Duration) -> Result<(), String> {
        let client = self.client(name);
        let tcp = client.sent.last().is_some_and(|sent| sent.tcp);
        let bytes = match &mut client.tcp {
            Some(connection) if tcp => connection.receive(wait),
            _ => client.udp.receive(wait),
        };
        bytes.map_or(Ok(()), |bytes| Err(format!("a reply came: {bytes:02x?}")))
    }

    fn asked(&mut self, pattern: &QuestionPattern) -> Result<(), String> {
        let Some((at, asked)) = self.take_question(pattern) else {
            return Err("upstream was not asked".into());
        };
        let Some(question) = asked.message.questions.first() else {
            return Err("upstream got a message without a question".into());
        };
        judge_question(pattern, &question.name, question.qtype, question.qclass)?;
        let opt = asked.message.opt.as_ref();
        judge_flag("DO", pattern.dnssec_ok, opt.is_some_and(|opt| opt.dnssec_ok))?;
        judge_flag("CD", pattern.checking_disabled, asked.message.flags & 0x10 != 0)?;
        judge_flag("RD", pattern.recursion, asked.message.flags & 0x100 != 0)?;
        judge_flag("TCP", pattern.tcp, asked.tcp)?;
        judge_flag("EDNS", pattern.edns, opt.is_some())?;
        let size = opt.map_or(0, |opt| opt.udp_size);
        judge_flag("EDNS size", pattern.udp_size.map(|_| true), Some(size) == pattern.udp_size)?;
        let options = opt.map_or(0, |opt| opt.options.len());
        if pattern.options.is_some_and(|count| count != options) {
            return Err(format!("{options} EDNS options in the question to upstream"));
        }
        judge_time(pattern.within, pattern.after, self.last_asked_at.elapsed())?;
        let server = &mut self.servers[at];
        judge_flag(
            "new connection",
            pattern.new_connection,
            asked.connection != server.connection,
        )?;
        server.connection = asked.connection;
        server.current = Some(asked);
        Ok(())
    }

    fn says(&mut self, server: usize, saying: &Saying) -> Result<(), String> {
        let asked = self.current(server)?;
        let bytes = saying.bytes(&asked.message);
        if saying.elsewhere {
            asked.send_from_elsewhere(&bytes);
        } else {
            asked.send(&bytes);
        }
        Ok(())
    }

    fn silent(&mut self, server: usize) -> Result<(), String> {
        self.current(server).map(|_| ())
    }

    fn closes(&mut self, server: usize, reset: bool) -> Result<(), String> {
        self.current(server)?.close(reset);
        Ok(())
    }

    fn no_question(&mut self) -> Result<(), String> {
        std::thread::sleep(QUIET);
        self.collect();
        for server in &self.servers {
            if let Some(asked) = server.questions.front() {
                return Err(format!("upstream was asked {:?}", asked.message.questions));
            }
        }
        Ok(())
    }

    fn passes(&mut self, duration: Duration) -> Result<(), String> {
        if duration > Duration::from_secs(6) {
            return Err("more than 6 s of real time: play it on the engine".into());
        }
        std::thread::sleep(duration);
        Ok(())
    }

    fn ends(&mut self) -> Result<(), String> {
        self.no_question()
    }
}

fn judge_time(
    within: Option<Duration>,
    after: Option<Duration>,
    took: Duration,
) -> Result<(), String> {
    if within.is_some_and(|within| took > within) {
        return Err(format!("it took {took:?}, more than {within:?}"));
    }
    if after.is_some_and(|after| took < after) {
        return Err(format!("it took {took:?}, less than {after:?}"));
    }
    Ok(())
}
