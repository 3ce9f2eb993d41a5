//! Where the time of one question upstream went, noted as it goes: whom it was put to, over what, how
//! long that took and how it ended. Read only when a client waited for long.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The tries of one question.
#[derive(Debug, Default)]
pub struct Journey(Mutex<Course>);

#[derive(Debug, Default)]
struct Course {
    legs: Vec<Leg>,
    /// When it began to be held because an upstream takes no more packets, and for how long it was.
    held_since: Option<Instant>,
    held: Duration,
}

/// One try at one upstream.
#[derive(Debug)]
struct Leg {
    upstream: SocketAddr,
    over: Over,
    began: Instant,
    /// How long it took until there was a connection.
    connected: Option<Duration>,
    end: Option<(Duration, String)>,
}

/// What carries a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// A datagram.
    Udp,
    /// A TCP connection.
    Tcp,
    /// A TLS connection.
    Tls,
}

/// Where one try is noted.
#[derive(Debug, Clone, Copy)]
pub struct Note<'a> {
    /// The question's.
    pub journey: &'a Journey,
    /// What [`Journey::begin`] said.
    pub leg: usize,
}

/// Tries that are told apart; a question has at most six for each upstream, and one line of a log
/// has room for no more.
const LEGS_MAX: usize = 12;

impl Journey {
    /// Notes the beginning of a try; returns its number.
    pub fn begin(&self, upstream: SocketAddr, over: Over) -> usize {
        let mut course = self.course();
        let leg = course.legs.len();
        if leg < LEGS_MAX {
            let began = Instant::now();
            course.legs.push(Leg { upstream, over, began, connected: None, end: None });
        }
        leg
    }

    /// Notes how a try ended.
    pub fn end(&self, leg: usize, how: &dyn fmt::Display) {
        if let Some(leg) = self.course().legs.get_mut(leg) {
            leg.end = Some((leg.began.elapsed(), how.to_string()));
        }
    }

    /// Notes that the question waits until an upstream takes packets again, or goes on.
    pub fn hold(&self, is_held: bool) {
        let mut course = self.course();
        match (is_held, course.held_since) {
            (true, None) => course.held_since = Some(Instant::now()),
            (false, Some(since)) => {
                course.held += since.elapsed();
                course.held_since = None;
            }
            _ => {}
        }
    }

    /// How long it was held.
    pub fn held(&self) -> Duration {
        let course = self.course();
        course.held + course.held_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// How long the try that waited longest for a connection waited for it.
    pub fn connecting(&self) -> Duration {
        self.course().legs.iter().map(Leg::connecting).max().unwrap_or_default()
    }

    fn course(&self) -> MutexGuard<'_, Course> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `10.96.0.10:53 udp no answer after 800 ms, 10.96.0.11:53 udp NOERROR after 12 ms`
impl fmt::Display for Journey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let course = self.course();
        if course.legs.is_empty() {
            return f.write_str("none");
        }
        for (index, leg) in course.legs.iter().enumerate() {
            f.write_str(if index > 0 { ", " } else { "" })?;
            leg.fmt(f)?;
        }
        Ok(())
    }
}

impl Leg {
    fn connecting(&self) -> Duration {
        let took = || self.end.as_ref().map_or_else(|| self.began.elapsed(), |(took, _)| *took);
        match self.over {
            Over::Udp => Duration::ZERO,
            Over::Tcp | Over::Tls => self.connected.unwrap_or_else(took),
        }
    }
}

impl fmt::Display for Leg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.upstream, self.over.label())?;
        match (self.over, self.connected) {
            (Over::Udp, _) => {}
            (_, Some(after)) => write!(f, " connected after {} ms", after.as_millis())?,
            (_, None) => f.write_str(" not connected")?,
        }
        match &self.end {
            Some((took, how)) => write!(f, " {how} after {} ms", took.as_millis()),
            None => write!(f, " no answer after {} ms", self.began.elapsed().as_millis()),
        }
    }
}

impl Over {
    const fn label(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

impl Note<'_> {
    /// Notes that the try has its connection.
    pub fn connected(&self) {
        if let Some(leg) = self.journey.course().legs.get_mut(self.leg) {
            leg.connected = Some(leg.began.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(last: u8) -> SocketAddr {
        ([10, 0, 0, last], 53).into()
    }

    #[tokio::test(start_paused = true)]
    async fn tries_are_told_in_their_order() {
        let journey = Journey::default();
        assert_eq!(journey.to_string(), "none");
        let first = journey.begin(upstream(1), Over::Udp);
        tokio::time::sleep(Duration::from_millis(800)).await;
        let second = journey.begin(upstream(2), Over::Tcp);
        tokio::time::sleep(Duration::from_millis(30)).await;
        Note { journey: &journey, leg: second }.connected();
        tokio::time::sleep(Duration::from_millis(12)).await;
        journey.end(second, &"NOERROR");
        assert_eq!(
            journey.to_string(),
            "10.0.0.1:53 udp no answer after 842 ms, \
             10.0.0.2:53 tcp connected after 30 ms NOERROR after 42 ms"
        );
        assert_eq!(journey.connecting(), Duration::from_millis(30));
        journey.end(first, &"SERVFAIL");
        assert!(journey.to_string().starts_with("10.0.0.1:53 udp SERVFAIL after 842 ms"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_never_came_took_all_the_time() {
        let journey = Journey::default();
        journey.begin(upstream(1), Over::Tls);
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(journey.connecting(), Duration::from_millis(500));
        assert_eq!(journey.to_string(), "10.0.0.1:53 tls not connected no answer after 500 ms");
    }

    #[tokio::test(start_paused = true)]
    async fn being_held_adds_up() {
        let journey = Journey::default();
        for _ in 0..2 {
            journey.hold(true);
            journey.hold(true);
            tokio::time::sleep(Duration::from_millis(50)).await;
            journey.hold(false);
            journey.hold(false);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(journey.held(), Duration::from_millis(100));
    }

    #[test]
    fn tries_are_bounded() {
        let journey = Journey::default();
        for _ in 0..1_000 {
            let leg = journey.begin(upstream(1), Over::Udp);
            journey.end(leg, &"x");
        }
        assert_eq!(journey.course().legs.len(), LEGS_MAX);
    }
}
