//! One server under load: its cache filled and proven full, its capacity, CPU and latency.

use std::time::Duration;

use anyhow::Context;

use super::generator::{BURST_MAX, Generator, Idle, Outcome};
use super::link::Link;
use super::names::{Question, Template};
use super::servers::Server;
use super::tcp::Tcp;
use super::udp::Udp;
use super::upstream::Upstream;
use super::workload::{Once, Workload};

/// Clients of a server: enough that one writes while the others' bursts wait at the server.
pub const CLIENTS: usize = 4;
/// Times a question of a fill is asked before its server is given up.
const FILL_TRIES: usize = 10;
/// Questions outstanding in a fill: what the default receive buffer of a socket has room for.
const FILL_WINDOW: usize = 192;
const FOREVER: Duration = Duration::from_secs(3600);

/// How clients reach a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// How a server is loaded.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub transport: Transport,
    pub clients: usize,
    /// Questions outstanding.
    pub window: usize,
    pub idle: Idle,
}

impl Load {
    /// New clients of `server`.
    pub fn generator(&self, server: &Server) -> anyhow::Result<Generator> {
        let links = (0..self.clients).map(|_| -> anyhow::Result<Box<dyn Link>> {
            Ok(match self.transport {
                Transport::Udp => Box::new(Udp::connect(server.address)?),
                Transport::Tcp => Box::new(Tcp::connect(server.address)?),
            })
        });
        Ok(Generator::new(links.collect::<anyhow::Result<_>>()?, self.idle))
    }

    fn burst_len(&self) -> usize {
        (self.window / self.clients).clamp(1, BURST_MAX)
    }
}

/// Capacity of a server and what a question costs it.
#[derive(Debug, Clone)]
pub struct Capacity {
    pub outcome: Outcome,
    pub cpu_us: f64,
}

/// Loads `server` with all it can take, after a tenth of the time that does not count.
pub fn capacity(
    server: &Server,
    load: &Load,
    workload: &mut dyn Workload,
    time: Duration,
    tick: &mut dyn FnMut(Duration),
) -> anyhow::Result<Capacity> {
    let mut generator = load.generator(server)?;
    let warm = generator.saturate(workload, load.burst_len(), time / 10, &mut |_| {})?;
    let cpu = server.cpu();
    let mut outcome = generator.saturate(workload, load.burst_len(), time, tick)?;
    let answered = outcome.answered.max(1) as f64;
    let cpu_us = (server.cpu() - cpu).as_secs_f64() * 1e6 / answered;
    outcome.lost += warm.lost;
    outcome.wrong += warm.wrong;
    Ok(Capacity { outcome, cpu_us })
}

/// Has `server` learn the answers to `questions`, and shows that it knows them: a pass over all of
/// them that asks nothing upstream. Returns how many questions the last pass asked upstream, which
/// is not zero for a server that cannot hold them.
pub fn fill(
    server: &Server,
    upstream: &Upstream,
    templates: &[Template],
    questions: &[Question],
) -> anyhow::Result<u64> {
    let load = Load {
        transport: Transport::Udp,
        clients: CLIENTS,
        window: FILL_WINDOW,
        idle: Idle::Sleep,
    };
    let mut asked_upstream = 0;
    for _ in 0..PASSES {
        let before = upstream.questions()?;
        pass(server, &load, templates, questions)?;
        asked_upstream = upstream.questions()? - before;
        if asked_upstream == 0 {
            break;
        }
    }
    Ok(asked_upstream)
}

/// The first fills, the second proves it; more where answers were still on their way.
const PASSES: usize = 4;

fn pass(
    server: &Server,
    load: &Load,
    templates: &[Template],
    questions: &[Question],
) -> anyhow::Result<()> {
    let mut once = Once::new(templates.to_vec(), questions.to_vec());
    let mut last = None;
    for _ in 0..FILL_TRIES {
        let mut generator = load.generator(server)?;
        last = Some(generator.saturate(&mut once, load.burst_len(), FOREVER, &mut |_| {})?);
        if once.open.is_empty() {
            return Ok(());
        }
        once = once.again();
    }
    let last = last.context("no try at all")?;
    anyhow::bail!(
        "{}: {} of {} names cannot be filled in ({} lost and {} wrong in the last try)",
        server.kind.name(),
        once.open.len(),
        questions.len(),
        last.lost,
        last.wrong
    )
}
