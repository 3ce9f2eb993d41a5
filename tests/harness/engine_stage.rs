//! A stage for conversations: the engine alone, with a clock that only the file moves.

use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use dnscache::engine::wire::answer::{Class, classify};
use dnscache::engine::{
    Ask as Asking, Engine, Failure, ListenerId, Now, Outcome, Query, Scratch, Transport, Verdict,
};

use super::conversation::{Ask, Conversation, QuestionPattern, ReplyPattern, Saying};
use super::engine::assemble;
use super::message::{DomainName, Message, Opt, Question, flag};
use super::program::fill_in;
use super::stage::{Sent, Stage, judge_flag, judge_question, judge_reply};
use super::zone::type_name;

/// Where the engine's clock starts: late enough that lifetimes can be taken from it.
const START_MILLIS: u64 = 86_400_000;

/// The engine, its clock, its clients and the questions it wants asked.
pub struct EngineStage {
    engine: Engine,
    now: Now,
    scratch: Scratch,
    waiting: VecDeque<Waiting>,
    current: Option<Waiting>,
    inboxes: HashMap<String, Inbox>,
    next_id: u16,
}

/// Replies a client has not looked at yet, each with the query it answers.
type Inbox = VecDeque<(Vec<u8>, Option<Sent>)>;

/// A question for upstream and the client that waits for it.
struct Waiting {
    ask: Asking,
    client: Option<WaitingClient>,
    /// The client's own question, if it waits for another one first.
    own: Option<Asking>,
}

struct WaitingClient {
    name: String,
    packet: Vec<u8>,
    sent: Option<Sent>,
    source: SocketAddr,
    tcp: bool,
}

impl EngineStage {
    /// An engine with the conversation's configuration and an empty cache.
    pub fn new(conversation: &Conversation) -> Result<Self, String> {
        Ok(Self {
            engine: engine_of(&conversation.corefile)?,
            now: Now::from_millis(START_MILLIS),
            scratch: Scratch::default(),
            waiting: VecDeque::new(),
            current: None,
            inboxes: HashMap::new(),
            next_id: 100,
        })
    }

    fn hand_in(&mut self, client: WaitingClient) {
        let query = client.query();
        let mut out = vec![0; 65_535];
        let verdict = self.engine.answer(&query, self.now, &mut self.scratch, &mut out);
        self.carry_out(client, verdict, out);
    }

    fn carry_out(&mut self, client: WaitingClient, verdict: Verdict, mut out: Vec<u8>) {
        match verdict {
            Verdict::Reply(reply) => {
                out.truncate(reply.len);
                self.inboxes.entry(client.name).or_default().push_back((out, client.sent));
                let renewal = reply.renew.map(|ask| Waiting { ask, client: None, own: None });
                self.waiting.extend(renewal);
            }
            Verdict::Ask(ask) => {
                let first = ask.company.as_ref().and_then(|company| company.first.first().cloned());
                let (ask, own) = match first {
                    Some(first) => (first, Some(ask)),
                    None => (ask, None),
                };
                self.waiting.push_back(Waiting { ask, client: Some(client), own });
            }
            Verdict::Drop(_) => {}
        }
    }

    fn finish(&mut self, outcome: &Outcome) {
        let Some(Waiting { ask, client: Some(client), own }) = self.current.take() else { return };
        let query = client.query();
        let mut out = vec![0; 65_535];
        let scratch = &mut self.scratch;
        if let Some(own) = own {
            let earlier = (&own, outcome);
            let verdict = self.engine.answer_again(&query, earlier, self.now, scratch, &mut out);
            return self.carry_out(client, verdict, out);
        }
        let reply = self.engine.reply(&query, &ask, outcome, self.now, scratch, &mut out);
        out.truncate(reply.len);
        self.inboxes.entry(client.name.clone()).or_default().push_back((out, client.sent.clone()));
        self.waiting.extend(reply.renew.map(|ask| Waiting { ask, client: None, own: None }));
    }

    fn current_ask(&self) -> Result<&Asking, String> {
        self.current.as_ref().map(|waiting| &waiting.ask).ok_or("no question to answer".into())
    }
}

impl WaitingClient {
    fn query(&self) -> Query<'_> {
        Query {
            packet: &self.packet,
            source: self.source,
            listener: ListenerId(0),
            transport: if self.tcp { Transport::Tcp } else { Transport::Udp },
        }
    }
}

impl Stage for EngineStage {
    fn ask(&mut self, ask: &Ask) -> Result<(), String> {
        self.next_id += 1;
        let query = Message { id: self.next_id, ..ask.query.clone() };
        let client = WaitingClient {
            name: ask.client.clone(),
            packet: query.write(),
            sent: Some(Sent { query, tcp: ask.tcp }),
            source: ask.source.unwrap_or_else(client_address),
            tcp: ask.tcp,
        };
        self.hand_in(client);
        Ok(())
    }

    fn raw(&mut self, client: &str, tcp: bool, bytes: &[u8]) -> Result<(), String> {
        let client = WaitingClient {
            name: client.to_owned(),
            packet: bytes.to_vec(),
            sent: None,
            source: client_address(),
            tcp,
        };
        self.hand_in(client);
        Ok(())
    }

    fn gets(&mut self, client: &str, pattern: &ReplyPattern) -> Result<(), String> {
        if pattern.within.is_some() || pattern.after.is_some() {
            return Err("time does not pass here: play it on the program".into());
        }
        let (bytes, sent) =
            self.inboxes.get_mut(client).and_then(VecDeque::pop_front).ok_or("no reply")?;
        judge_reply(&bytes, sent.as_ref(), pattern, 0)
    }

    fn gets_nothing(&mut self, client: &str, _wait: Duration) -> Result<(), String> {
        match self.inboxes.get(client).and_then(|inbox| inbox.front()) {
            None => Ok(()),
            Some((bytes, _)) => Err(format!("a reply came: {bytes:02x?}")),
        }
    }

    fn asked(&mut self, pattern: &QuestionPattern) -> Result<(), String> {
        let waiting = self.waiting.pop_front().ok_or("upstream was not asked")?;
        let key = &waiting.ask.key;
        judge_question(pattern, &DomainName(key.name().to_vec()), key.qtype(), key.qclass())?;
        judge_flag("DO", pattern.dnssec_ok, key.dnssec_ok())?;
        judge_flag("CD", pattern.checking_disabled, key.checking_disabled())?;
        judge_flag("renewal", pattern.renewal, waiting.ask.renewal)?;
        self.current = Some(waiting);
        Ok(())
    }

    fn says(&mut self, _server: usize, saying: &Saying) -> Result<(), String> {
        let ask = self.current_ask()?.clone();
        let message = saying.bytes(&upstream_query(&ask));
        let outcome = match classify(&ask.key, &message) {
            Class::Answer(_) => self.engine.learn(&ask, &message, self.now),
            Class::Truncated => return Ok(()),
            Class::Failure(rcode) => {
                self.engine.learn_failure(&ask, Failure::Answered(rcode), self.now)
            }
            Class::Broken => self.engine.learn_failure(&ask, Failure::Broken, self.now),
        };
        self.finish(&outcome);
        Ok(())
    }

    fn silent(&mut self, _server: usize) -> Result<(), String> {
        let ask = self.current_ask()?.clone();
        let outcome = self.engine.learn_failure(&ask, Failure::Silent, self.now);
        self.finish(&outcome);
        Ok(())
    }

    fn closes(&mut self, _server: usize, _reset: bool) -> Result<(), String> {
        Err("there are no connections here: play it on the program".into())
    }

    fn no_question(&mut self) -> Result<(), String> {
        self.waiting.front().map_or(Ok(()), |waiting| {
            let key = &waiting.ask.key;
            let name = DomainName(key.name().to_vec());
            Err(format!("upstream is asked {name} {}", type_name(key.qtype())))
        })
    }

    fn passes(&mut self, duration: Duration) -> Result<(), String> {
        self.now = self.now.plus_millis(duration.as_millis() as u64);
        Ok(())
    }

    fn ends(&mut self) -> Result<(), String> {
        self.no_question()?;
        match self.inboxes.iter().find(|(_, inbox)| !inbox.is_empty()) {
            Some((client, _)) => Err(format!("{client} got a reply that no step speaks of")),
            None => Ok(()),
        }
    }
}

/// The engine a conversation's Corefile makes, its placeholders filled in.
pub fn engine_of(corefile: &str) -> Result<Engine, String> {
    assemble(&fill_in(corefile, Ipv4Addr::new(192, 0, 2, 53), Path::new("/nonexistent")))
}

/// The query the slow plane would send for `ask`.
pub fn upstream_query(ask: &Asking) -> Message {
    let question = Question {
        name: DomainName(ask.key.name().to_vec()),
        qtype: ask.key.qtype(),
        qclass: ask.key.qclass(),
    };
    let checking_disabled = if ask.key.checking_disabled() { flag::CD } else { 0 };
    Message {
        id: 7,
        flags: flag::RD | checking_disabled,
        questions: vec![question],
        opt: Some(Opt { udp_size: 1232, dnssec_ok: ask.key.dnssec_ok(), ..Opt::default() }),
        ..Message::default()
    }
}

/// Where a client asks from unless the file says otherwise.
pub fn client_address() -> SocketAddr {
    (Ipv4Addr::new(192, 0, 2, 10), 40_000).into()
}
