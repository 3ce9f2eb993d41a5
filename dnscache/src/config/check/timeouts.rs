//! `timeouts`: how long TCP clients may take.
//!
//! It is written in a block and counts for the block's addresses, so blocks of one address have to
//! agree; where they do not, the last one to name a time sets it, as in CoreDNS.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::super::corefile::Directive;
use super::super::{Block, ConfigError, Position, Timeouts};
use super::Warnings;
use super::arguments::{Arguments, duration, error_at, unknown};

/// `timeouts { read DURATION write DURATION idle DURATION }`, at least one of them.
pub(super) fn timeouts(line: &Directive) -> Result<Timeouts, ConfigError> {
    Arguments::of(line).end()?;
    let mut timeouts = Timeouts::default();
    for option in &line.body {
        let time = match option.name.as_str() {
            "read" => &mut timeouts.read,
            "write" => &mut timeouts.write,
            "idle" => &mut timeouts.idle,
            _ => return Err(unknown(option, "options of timeouts", &OPTIONS, &["max_queries"])),
        };
        *time = Some(bounded(option)?);
    }
    match timeouts == Timeouts::default() {
        true => Err(error_at(
            &line.position,
            &line.name,
            "`read`, `write` or `idle` in braces after it",
        )),
        false => Ok(timeouts),
    }
}

/// A duration within CoreDNS's bounds; a bare number is seconds, as there.
fn bounded(option: &Directive) -> Result<Duration, ConfigError> {
    let mut args = Arguments::of(option);
    let token = args.need("a duration")?;
    let time = match token.text.parse::<u32>() {
        Ok(seconds) => Duration::from_secs(seconds.into()),
        Err(_) => duration(token, "how long a client may take")?,
    };
    args.finish()?;
    match (TIME_MIN..=TIME_MAX).contains(&time) {
        true => Ok(time),
        false => Err(token.error("a duration from `1s` to `24h`")),
    }
}

/// What counts for the clients of one address: of each time the last that is written.
pub fn of_address(blocks: &[Block], address: &SocketAddr) -> Timeouts {
    let sharing = blocks.iter().filter(|block| block.listen.contains(address));
    sharing.fold(Timeouts::default(), |before, block| Timeouts {
        read: block.timeouts.read.or(before.read),
        write: block.timeouts.write.or(before.write),
        idle: block.timeouts.idle.or(before.idle),
    })
}

/// Names the blocks whose times another block of the same address replaces.
pub(super) fn warn_of_differences(blocks: &[Block], warnings: &mut Warnings) {
    let mut earlier: HashMap<&SocketAddr, (Timeouts, &Position)> = HashMap::new();
    let written = blocks.iter().filter(|block| block.timeouts != Timeouts::default());
    for block in written {
        for address in &block.listen {
            let (before, position) =
                *earlier.entry(address).or_insert((block.timeouts, &block.position));
            if before != block.timeouts {
                let text = format!(
                    "`timeouts` for clients of {address} differ from those of the block at \
                     {position}; the last to name a time sets it"
                );
                warnings.add(&block.position, text);
            }
        }
    }
}

const OPTIONS: [&str; 3] = ["read", "write", "idle"];
/// CoreDNS's bounds.
const TIME_MIN: Duration = Duration::from_secs(1);
const TIME_MAX: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::super::tests::{block, config, error};
    use super::*;

    fn secs(timeouts: Timeouts) -> [Option<u64>; 3] {
        [timeouts.read, timeouts.write, timeouts.idle].map(|time| time.map(|time| time.as_secs()))
    }

    #[test]
    fn each_time_may_be_set() {
        assert_eq!(secs(block("errors").timeouts), [None; 3]);
        assert_eq!(secs(block("timeouts {\n idle 1m\n}").timeouts), [None, None, Some(60)]);
        let all = block("timeouts {\n read 1s\n write 24h\n idle 5\n}").timeouts;
        assert_eq!(secs(all), [Some(1), Some(86_400), Some(5)]);
    }

    #[test]
    fn times_are_bounded() {
        for text in ["0", "0s", "999ms", "24h1s", "86401"] {
            let message = error(&format!("timeouts {{\n idle {text}\n}}"));
            assert!(message.contains("Corefile:3:7: found"), "{message}");
            assert!(message.ends_with("expected a duration from `1s` to `24h`"), "{message}");
        }
        assert!(error("timeouts {\n read soon\n}").contains("such as `5s`"));
        assert!(error("timeouts {\n read\n}").contains("nothing after `read`"));
        assert!(error("timeouts {\n read 1s 2s\n}").contains("the end of `read`"));
        assert!(error("timeouts 5s").contains("the end of `timeouts`"));
        assert!(error("timeouts").contains("`read`, `write` or `idle`"));
        assert!(error("timeouts {\n max_queries 5\n}").contains("does not offer this one"));
    }

    #[test]
    fn the_last_block_of_an_address_counts_aloud() {
        let text = "a {\n bind ::1\n timeouts {\n read 1s\n idle 2s\n }\n}\n\
                    b {\n bind ::1 10.0.0.1\n timeouts {\n idle 5s\n }\n}\nc {\n bind ::1\n}\n";
        let config = config(text);
        let of = |text: &str| secs(of_address(&config.blocks, &text.parse().expect("an address")));
        assert_eq!(of("[::1]:53"), [Some(1), None, Some(5)]);
        assert_eq!(of("10.0.0.1:53"), [None, None, Some(5)]);
        assert_eq!(of("10.0.0.2:53"), [None; 3]);
        let warned: Vec<_> =
            config.warnings.iter().filter(|text| text.contains("timeouts")).collect();
        let [warning] = warned[..] else { panic!("{warned:?}") };
        assert!(warning.starts_with("Corefile:8:1: `timeouts` for clients of [::1]:53 differ"));
    }
}
