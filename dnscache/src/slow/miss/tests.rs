//! Misses on a paused clock.

use tokio::sync::mpsc::UnboundedReceiver;

use super::*;
use crate::clients::{Clients, Wish};
use crate::engine::Query;
use crate::engine::{ListenerId, Scratch, Verdict};
use crate::handoff::{Door, door};
use crate::slow::rehearsal::{self, Says, Scripted, TTL_SECS, now};

const CLIENT_TIMER: Duration = Duration::from_millis(1_800);
const ROUND_TRIP: Duration = Duration::from_millis(20);

/// A running plane, and a mailbox that gets each reply with its client and moment.
struct Scene {
    plan: Arc<Plan>,
    upstream: Arc<Scripted>,
    door: Door,
    stop: CancellationToken,
    done: tokio::task::JoinHandle<()>,
    mailbox: UnboundedReceiver<(u8, Vec<u8>, Now)>,
    post: mpsc::UnboundedSender<(u8, Vec<u8>, Now)>,
    slow_log: Arc<SlowLog>,
}

fn scene(plan: &Arc<Plan>, says: Says, after: Duration, limits: Limits) -> Scene {
    scene_of(plan, says, after, limits, Arc::default())
}

fn scene_of(
    plan: &Arc<Plan>,
    says: Says,
    after: Duration,
    limits: Limits,
    clients: Arc<Clients>,
) -> Scene {
    let (door, errands) = door(4_096, clients);
    let slow_log = Arc::<SlowLog>::default();
    slow_log.set_threshold(Some(Duration::from_secs(1)));
    let (routes, upstream) = Scripted::routes(says, after);
    let (post, mailbox) = mpsc::unbounded_channel();
    let stop = CancellationToken::new();
    let misses = Misses::new(routes, limits, Arc::default(), Arc::clone(&slow_log), now);
    Scene {
        plan: Arc::clone(plan),
        upstream,
        door,
        stop: stop.clone(),
        done: tokio::spawn(misses.run(errands, stop)),
        mailbox,
        post,
        slow_log,
    }
}

impl Scene {
    /// What the engine says to a client's query; `Ok` is a reply.
    fn answer(&self, packet: &[u8], host: u8) -> Result<Vec<u8>, Ask> {
        let query = Query {
            packet,
            source: rehearsal::client(host),
            listener: ListenerId(0),
            transport: Transport::Udp,
        };
        let mut out = [0; 1_232];
        let engine = &self.plan.engine;
        match engine.answer(&query, now(), &mut Scratch::default(), &mut out) {
            Verdict::Reply(reply) => {
                if let Some(ask) = reply.renew {
                    self.pass(ask, None);
                }
                Ok(out[..reply.len].to_vec())
            }
            Verdict::Ask(ask) => Err(ask),
            Verdict::Drop(reason) => panic!("dropped: {reason:?}"),
        }
    }

    fn pass(&self, ask: Ask, client: Option<Waiting>) {
        let plan = Arc::clone(&self.plan);
        let errand = Errand { plan, ask, client };
        assert!(self.door.pass(errand).is_ok(), "the door has room");
    }

    /// A client that waits; its reply comes into the mailbox.
    fn waiting(&self, packet: &[u8], host: u8) -> Waiting {
        let post = self.post.clone();
        let wish = Wish { shares: 1, is_new: true };
        let ticket = self.door.clients().admit(rehearsal::client(host).ip(), wish, now());
        Waiting {
            ticket: ticket.expect("room"),
            taken: now(),
            rounds: 0,
            packet: packet.into(),
            source: rehearsal::client(host),
            listener: ListenerId(0),
            transport: Transport::Udp,
            received: now(),
            reply: Box::new(move |reply| {
                post.send((host, reply.to_vec(), now())).expect("a mailbox");
            }),
        }
    }

    /// A client asks for a name that is not known freshly.
    fn ask(&self, name: &str, host: u8) {
        let packet = rehearsal::query(host.into(), name);
        let ask = self.answer(&packet, host).expect_err("a miss");
        self.pass(ask, Some(self.waiting(&packet, host)));
    }

    async fn reply(&mut self) -> (u8, Vec<u8>, Now) {
        self.mailbox.recv().await.expect("a reply")
    }

    /// Has the plane learn a name, and waits until the answer has expired.
    async fn expire(&mut self, name: &str) {
        self.ask(name, 1);
        self.reply().await;
        tokio::time::sleep(Duration::from_secs(TTL_SECS.into())).await;
    }
}

fn rcode_of(reply: &[u8]) -> u8 {
    reply[3] & 0xf
}

/// TTL of the only record of a reply without OPT.
fn ttl_of(reply: &[u8]) -> u32 {
    let at = reply.len() - 10;
    u32::from_be_bytes(reply[at..at + 4].try_into().expect("four octets"))
}

fn answering() -> Scene {
    scene(&rehearsal::plan(CLIENT_TIMER), Says::Address, ROUND_TRIP, Limits::default())
}

fn saying(says: Says) -> Scene {
    scene(&rehearsal::plan(CLIENT_TIMER), says, ROUND_TRIP, Limits::default())
}

#[tokio::test(start_paused = true)]
async fn a_thousand_clients_cost_one_upstream_question() {
    let mut scene = answering();
    let packet = rehearsal::query(7, "cold.example.");
    for client in 0..1_000_u32 {
        let host = (client % 250) as u8;
        let ask = scene.answer(&packet, host).expect_err("a miss");
        scene.pass(ask, Some(scene.waiting(&packet, host)));
    }
    for _ in 0..1_000 {
        let (_, reply, _) = scene.reply().await;
        assert_eq!((rcode_of(&reply), &reply[..2]), (0, &[0, 7][..]));
    }
    assert_eq!(scene.upstream.asked(), 1);
    assert!(scene.mailbox.try_recv().is_err(), "each answer is sent once");
}

#[tokio::test(start_paused = true)]
async fn a_question_answered_between_miss_and_join_is_not_asked_again() {
    let mut scene = answering();
    let packet = rehearsal::query(2, "cold.example.");
    let late = scene.answer(&packet, 2).expect_err("a miss");
    scene.ask("cold.example.", 1);
    scene.reply().await;
    scene.pass(late, Some(scene.waiting(&packet, 2)));
    let (host, reply, _) = scene.reply().await;
    assert_eq!((host, rcode_of(&reply)), (2, 0));
    assert_eq!(scene.upstream.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn different_names_are_asked_each() {
    let mut scene = answering();
    scene.ask("a.example.", 1);
    scene.ask("b.example.", 1);
    scene.reply().await;
    scene.reply().await;
    assert_eq!(scene.upstream.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn silence_is_servfail_before_a_stub_resolver_gives_up() {
    let mut scene = saying(Says::Nothing);
    let began = now();
    scene.ask("never.example.", 1);
    let (_, reply, at) = scene.reply().await;
    assert_eq!(rcode_of(&reply), rcode::SERVFAIL);
    assert_eq!(at.since(began), DEADLINE_MILLIS);
}

#[tokio::test(start_paused = true)]
async fn time_spent_waiting_at_the_door_counts() {
    let mut scene = saying(Says::Nothing);
    let began = now();
    let packet = rehearsal::query(1, "never.example.");
    let ask = scene.answer(&packet, 1).expect_err("a miss");
    let waiting = scene.waiting(&packet, 1);
    tokio::time::sleep(Duration::from_secs(2)).await;
    scene.pass(ask, Some(waiting));
    assert_eq!(scene.reply().await.2.since(began), DEADLINE_MILLIS);
}

#[tokio::test(start_paused = true)]
async fn each_client_gets_the_expired_answer_by_its_own_arrival() {
    let mut learning = answering();
    learning.expire("name.example.").await;
    let mut scene = scene(&learning.plan, Says::Nothing, ROUND_TRIP, Limits::default());
    let began = now();
    scene.ask("name.example.", 1);
    tokio::time::sleep(Duration::from_millis(700)).await;
    scene.ask("name.example.", 2);
    let (host, reply, at) = scene.reply().await;
    assert_eq!((host, rcode_of(&reply), ttl_of(&reply)), (1, 0, 30));
    assert_eq!(at.since(began), 1_800);
    let (host, reply, at) = scene.reply().await;
    assert_eq!((host, rcode_of(&reply), ttl_of(&reply)), (2, 0, 30));
    assert_eq!(at.since(began), 2_500);
    assert_eq!(scene.upstream.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_question_goes_on_after_the_expired_answer_and_is_learned() {
    let mut learning = answering();
    learning.expire("name.example.").await;
    let after = Duration::from_secs(3);
    let mut scene = scene(&learning.plan, Says::Address, after, Limits::default());
    scene.ask("name.example.", 1);
    assert_eq!(ttl_of(&scene.reply().await.1), 30);
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    let packet = rehearsal::query(2, "name.example.");
    let reply = scene.answer(&packet, 2).expect("a fresh answer");
    assert_eq!(ttl_of(&reply), TTL_SECS);
    assert_eq!(scene.upstream.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_before_the_client_timer_ends_the_wait_with_the_expired_answer() {
    let mut learning = answering();
    learning.expire("name.example.").await;
    let mut scene = scene(&learning.plan, Says::Servfail, ROUND_TRIP, Limits::default());
    let began = now();
    scene.ask("name.example.", 1);
    let (_, reply, at) = scene.reply().await;
    assert_eq!((rcode_of(&reply), ttl_of(&reply)), (0, 30));
    assert!(at.since(began) < 100);
}

#[tokio::test(start_paused = true)]
async fn a_failed_renewal_keeps_what_is_known() {
    let mut learning = answering();
    learning.expire("name.example.").await;
    let scene = scene(&learning.plan, Says::Servfail, ROUND_TRIP, Limits::default());
    let packet = rehearsal::query(1, "name.example.");
    let ask = scene.answer(&packet, 1).expect_err("a miss");
    let renewal = Ask { renewal: true, ..ask };
    scene.pass(renewal, None);
    tokio::time::sleep(ROUND_TRIP * 2).await;
    let reply = scene.answer(&packet, 1).expect("the expired answer at once");
    assert_eq!(ttl_of(&reply), 30);
}

#[tokio::test(start_paused = true)]
async fn a_client_waits_for_the_renewal_under_way() {
    let mut learning = answering();
    learning.expire("name.example.").await;
    let mut scene = scene(&learning.plan, Says::Address, ROUND_TRIP, Limits::default());
    let packet = rehearsal::query(1, "name.example.");
    let ask = scene.answer(&packet, 1).expect_err("a miss");
    for _ in 0..2 {
        let renewal = Ask { renewal: true, ..ask.clone() };
        scene.pass(renewal, None);
    }
    scene.pass(ask, Some(scene.waiting(&packet, 1)));
    assert_eq!(ttl_of(&scene.reply().await.1), TTL_SECS);
    assert_eq!(scene.upstream.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_place_is_held_until_the_reply_and_not_longer() {
    let clients = Arc::new(Clients::default());
    let plan = rehearsal::plan(CLIENT_TIMER);
    let limits = Limits::default();
    let mut scene = scene_of(&plan, Says::Address, ROUND_TRIP, limits, Arc::clone(&clients));
    for name in ["a.example.", "b.example.", "b.example."] {
        scene.ask(name, 1);
    }
    assert_eq!(clients.read(now()).shares, 3);
    for _ in 0..3 {
        scene.reply().await;
    }
    tokio::task::yield_now().await;
    assert_eq!(clients.read(now()).shares, 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_over_its_bound_gets_what_is_known_and_changes_nothing() {
    let mut learning = answering();
    learning.expire("name.example.").await;
    let packet = rehearsal::query(1, "name.example.");
    let ask = learning.answer(&packet, 1).expect_err("a miss");
    let engine = &learning.plan.engine;
    assert!(matches!(engine.hold_back(&ask, now()), Outcome::Stale(_)));
    // Others wait for a fresh answer as before.
    assert!(learning.answer(&packet, 2).is_err());
    let unknown = learning.answer(&rehearsal::query(1, "new.example."), 1).expect_err("a miss");
    let outcome = engine.hold_back(&unknown, now());
    assert!(matches!(outcome, Outcome::Failed { rcode: rcode::SERVFAIL, .. }));
}

#[tokio::test(start_paused = true)]
async fn slow_questions_are_counted_by_where_their_time_went() {
    let mut scene = saying(Says::Nothing);
    scene.ask("never.example.", 1);
    scene.reply().await;
    let packet = rehearsal::query(1, "late.example.");
    let ask = scene.answer(&packet, 1).expect_err("a miss");
    let waiting = scene.waiting(&packet, 1);
    tokio::time::sleep(Duration::from_secs(3)).await;
    scene.pass(ask, Some(waiting));
    scene.reply().await;
    let slow: Vec<_> = scene.slow_log.read().into_iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(slow, [("door", 1), ("upstream", 1)]);
}

#[tokio::test(start_paused = true)]
async fn an_expired_answer_that_came_late_was_slow() {
    let mut learning = answering();
    learning.expire("name.example.").await;
    let mut scene = scene(&learning.plan, Says::Nothing, ROUND_TRIP, Limits::default());
    for host in [1, 2] {
        scene.ask("name.example.", host);
    }
    for _ in 0..2 {
        assert_eq!(ttl_of(&scene.reply().await.1), 30);
    }
    let slow = scene.slow_log.read();
    assert_eq!(slow.iter().map(|(_, count)| count).sum::<u64>(), 2);
    assert_eq!(slow.last(), Some(&("upstream", 2)));
}

#[tokio::test(start_paused = true)]
async fn quick_questions_are_not_slow() {
    let mut scene = answering();
    scene.ask("name.example.", 1);
    scene.reply().await;
    assert!(scene.slow_log.read().iter().all(|(_, count)| *count == 0));
}

#[tokio::test(start_paused = true)]
async fn a_panic_costs_one_question_and_its_clients_hear_so() {
    let mut scene = saying(Says::Panic);
    scene.ask("a.example.", 1);
    scene.ask("a.example.", 2);
    for _ in 0..2 {
        assert_eq!(rcode_of(&scene.reply().await.1), rcode::SERVFAIL);
    }
    scene.ask("a.example.", 3);
    assert_eq!(scene.reply().await.0, 3);
    assert_eq!(scene.upstream.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_route_taken_away_is_silence() {
    let mut scene = answering();
    let packet = rehearsal::query(1, "name.example.");
    let ask = scene.answer(&packet, 1).expect_err("a miss");
    let stray = Ask { route: crate::engine::RouteId(9), ..ask };
    scene.pass(stray, Some(scene.waiting(&packet, 1)));
    assert_eq!(rcode_of(&scene.reply().await.1), rcode::SERVFAIL);
    assert_eq!(scene.upstream.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn draining_finishes_what_is_in_flight() {
    let mut scene = answering();
    scene.ask("name.example.", 1);
    scene.stop.cancel();
    drop(scene.door);
    let (_, reply, _) = scene.mailbox.recv().await.expect("a reply");
    assert_eq!(rcode_of(&reply), 0);
    scene.done.await.expect("ends without a panic");
}

#[tokio::test(start_paused = true)]
async fn draining_ends_in_time_though_the_door_stays_open() {
    let scene = saying(Says::Nothing);
    let began = Instant::now();
    scene.ask("name.example.", 1);
    scene.stop.cancel();
    scene.done.await.expect("ends without a panic");
    assert_eq!(began.elapsed(), DRAIN);
}
