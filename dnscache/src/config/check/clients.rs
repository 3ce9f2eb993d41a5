//! `clients`: what one client may ask of upstreams.

use super::super::corefile::{Directive, ServerBlock};
use super::super::{Clients, ConfigError, Position, Rate};
use super::acl::network;
use super::arguments::{Arguments, error_at, number, unknown};
use crate::clients::{CLIENTS_MAX, SHARES_MAX};

/// The `clients` of the process: whatever blocks have one, all say the same.
#[derive(Default)]
pub(super) struct OfProcess(Option<(Position, Option<Clients>)>);

impl OfProcess {
    /// Reads the directive of one server block, if it is there.
    pub(super) fn read(&mut self, server: &ServerBlock) -> Result<(), ConfigError> {
        let Some(line) = server.directives.iter().find(|line| line.name == "clients") else {
            return Ok(());
        };
        let limits = clients(line)?;
        match &self.0 {
            None => self.0 = Some((line.position.clone(), limits)),
            Some((_, first)) if *first == limits => {}
            Some((first, _)) => {
                let expected = format!("the same as at {first}: a process has one `clients`");
                return Err(error_at(&line.position, &line.name, &expected));
            }
        }
        Ok(())
    }

    /// What they say; `None`: off.
    pub(super) fn limits(self) -> Option<Clients> {
        self.0.map_or(Some(Clients::DEFAULT), |(_, limits)| limits)
    }
}

/// `clients [off] { in_flight N, rate N [burst N]|off, own TIMES|off, except NETWORK..., top N }`.
fn clients(line: &Directive) -> Result<Option<Clients>, ConfigError> {
    let mut args = Arguments::of(line);
    if let Some(token) = args.next() {
        if token.text != "off" {
            return Err(token.error("`off`, or options in braces"));
        }
        args.finish()?;
        return Ok(None);
    }
    let mut limits = Clients::DEFAULT;
    for option in &line.body {
        read_option(&mut limits, option)?;
    }
    Ok(Some(limits))
}

fn read_option(limits: &mut Clients, option: &Directive) -> Result<(), ConfigError> {
    let mut args = Arguments::of(option);
    match option.name.as_str() {
        "in_flight" => {
            let what = "questions in flight at once";
            limits.in_flight = number(args.need(what)?, 1..=SHARES_MAX as u32, what)?;
        }
        "rate" => limits.rate = rate(&mut args)?,
        "own" => limits.own_times = own_times(&mut args)?,
        "except" => {
            for token in args.need_rest(NETWORK_EXPECTED)? {
                let network = network(&token.text).ok_or_else(|| token.error(NETWORK_EXPECTED))?;
                limits.except.push(network);
            }
        }
        "top" => {
            let what = "clients to tell about";
            limits.top = number(args.need(what)?, 1..=CLIENTS_MAX as u32, what)? as usize;
        }
        _ => return Err(unknown(option, "options of clients", &OPTIONS, &[])),
    }
    args.finish()
}

/// Without `burst` it is what two seconds allow.
fn rate(args: &mut Arguments<'_>) -> Result<Option<Rate>, ConfigError> {
    let what = "new questions per second (or `off`)";
    let token = args.need(what)?;
    if token.text == "off" {
        return Ok(None);
    }
    let per_second = number(token, 1..=RATE_MAX, what)?;
    let burst = match args.next() {
        None => per_second * 2,
        Some(token) if token.text == "burst" => {
            let what = "new questions at once";
            number(args.need(what)?, 1..=2 * RATE_MAX, what)?
        }
        Some(token) => return Err(token.error("`burst QUESTIONS` or nothing")),
    };
    Ok(Some(Rate { per_second, burst }))
}

fn own_times(args: &mut Arguments<'_>) -> Result<Option<u32>, ConfigError> {
    let what = "how many times as much the node's own addresses may have (or `off`)";
    let token = args.need(what)?;
    match token.text.as_str() {
        "off" => Ok(None),
        _ => number(token, 1..=TIMES_MAX, what).map(Some),
    }
}

const OPTIONS: [&str; 5] = ["in_flight", "rate", "own", "except", "top"];
const NETWORK_EXPECTED: &str = "a network without limits, such as `10.0.0.0/8`, or an address";
/// More is no limit.
const RATE_MAX: u32 = 1_000_000;
/// More is no limit either.
const TIMES_MAX: u32 = 1_000;

#[cfg(test)]
mod tests {
    use super::super::tests::{config, error, refusal};
    use super::*;

    fn read(lines: &str) -> Option<Clients> {
        config(&format!(". {{\n{lines}\n}}")).clients
    }

    #[test]
    fn defaults_are_on() {
        assert_eq!(read("errors"), Some(Clients::DEFAULT));
        assert_eq!(read("clients"), Some(Clients::DEFAULT));
        assert_eq!(read("clients {\n}"), Some(Clients::DEFAULT));
        assert_eq!(read("clients off"), None);
    }

    #[test]
    fn options_are_read() {
        let lines = "clients {\n in_flight 100\n rate 50 burst 70\n own 4\n except 10.1.2.3/8 ::1\n top 5\n}";
        let expected = Clients {
            in_flight: 100,
            rate: Some(Rate { per_second: 50, burst: 70 }),
            own_times: Some(4),
            except: vec![([10, 0, 0, 0].into(), 8), ("::1".parse().expect("an address"), 128)],
            top: 5,
        };
        assert_eq!(read(lines), Some(expected));
        let rate = |lines| read(lines).and_then(|limits| limits.rate);
        assert_eq!(rate("clients {\n rate 7\n}"), Some(Rate { per_second: 7, burst: 14 }));
        assert_eq!(rate("clients {\n rate off\n}"), None);
        let own = |lines| read(lines).and_then(|limits| limits.own_times);
        assert_eq!(own("clients {\n own 2\n own off\n}"), None);
    }

    #[test]
    fn a_process_has_one() {
        let both = |first: &str, second: &str| format!("a {{\n{first}\n}}\nb {{\n{second}\n}}");
        assert_eq!(config(&both("clients off", "clients off")).clients, None);
        assert_eq!(
            refusal(&both("clients", "clients off")),
            "Corefile:5:1: found `clients`, expected the same as at Corefile:2:1: a process has one `clients`"
        );
    }

    #[test]
    fn nonsense_is_refused_where_it_stands() {
        for (lines, expected) in [
            ("clients on", "Corefile:2:9: found `on`, expected `off`, or options in braces"),
            (
                "clients off {\n top 1\n}",
                "Corefile:3:2: found `top`, expected no braces after `clients`",
            ),
            (
                "clients {\n in_flight 0\n}",
                "Corefile:3:12: found `0`, expected questions in flight at once, a whole number (1 to 8192)",
            ),
            (
                "clients {\n rate 5 bust 6\n}",
                "Corefile:3:9: found `bust`, expected `burst QUESTIONS` or nothing",
            ),
            (
                "clients {\n except pods\n}",
                "Corefile:3:9: found `pods`, expected a network without limits, such as `10.0.0.0/8`, or an address",
            ),
            (
                "clients {\n rates 5\n}",
                "Corefile:3:2: found `rates`, expected one of in_flight, rate, own, except, top (options of clients); did you mean `rate`?",
            ),
        ] {
            assert_eq!(error(lines), expected);
        }
    }
}
