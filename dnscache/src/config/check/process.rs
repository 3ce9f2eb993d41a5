//! Small directives: `multisocket` and `reload` for the process; `bufsize`, `chaos` and
//! `loadbalance` for a block.

use std::num::NonZeroUsize;
use std::time::Duration;

use crate::engine::wire::UDP_REPLY_MAX;

use super::super::corefile::Directive;
use super::super::{Chaos, Config, ConfigError, Reload};
use super::Warnings;
use super::arguments::{Arguments, duration, number, unknown};

/// `multisocket [COUNT]`.
pub(super) fn multisocket(line: &Directive, config: &mut Config) -> Result<(), ConfigError> {
    let mut args = Arguments::of(line);
    if let Some(token) = args.next() {
        let count = number(token, 1..=SOCKETS_MAX, "sockets per address")?;
        let sockets = NonZeroUsize::new(count as usize);
        if config.sockets.is_some() && config.sockets != sockets {
            return Err(token.error("the same number as in the other blocks"));
        }
        config.sockets = sockets;
    }
    args.finish()
}

/// `reload [INTERVAL] [JITTER]` or `reload off`. One process has one interval: the last counts.
pub(super) fn reload(
    line: &Directive,
    config: &mut Config,
    warnings: &mut Warnings,
) -> Result<(), ConfigError> {
    let mut args = Arguments::of(line);
    let mut reload = Reload { interval: Duration::from_secs(30), jitter: Duration::from_secs(15) };
    match args.next() {
        Some(token) if token.text == "off" => {
            config.reload = None;
            return args.finish();
        }
        Some(token) => {
            reload.interval = duration(token, "an interval (or `off`)")?;
            if reload.interval < INTERVAL_MIN {
                return Err(token.error("an interval of `2s` at least"));
            }
        }
        None => {}
    }
    if let Some(token) = args.next() {
        reload.jitter = duration(token, "a jitter")?;
        if reload.jitter < JITTER_MIN {
            return Err(token.error("a jitter of `1s` at least"));
        }
    }
    args.finish()?;
    // As in CoreDNS.
    reload.jitter = reload.jitter.min(reload.interval / 2);
    if config.reload.as_ref().is_some_and(|earlier| *earlier != reload) {
        warnings.add(&line.position, "this `reload` replaces that of another block".to_owned());
    }
    config.reload = Some(reload);
    Ok(())
}

/// `bufsize [SIZE]`.
pub(super) fn bufsize(line: &Directive, warnings: &mut Warnings) -> Result<u16, ConfigError> {
    let mut args = Arguments::of(line);
    let mut size = UDP_REPLY_MAX as u16;
    if let Some(token) = args.next() {
        let asked = number(token, 512..=4096, "a size in octets")?;
        if asked > u32::from(size) {
            warnings.add(&token.position, format!("bufsize lowered to {size}"));
        } else {
            size = asked as u16;
        }
    }
    args.finish()?;
    Ok(size)
}

/// `chaos [VERSION] [AUTHORS...]`.
pub(super) fn chaos(line: &Directive) -> Result<Chaos, ConfigError> {
    let mut args = Arguments::of(line);
    let version = match args.next() {
        Some(token) => text(token)?,
        None => concat!("dnscache-", env!("CARGO_PKG_VERSION")).to_owned(),
    };
    let authors = args.rest().iter().map(text).collect::<Result<_, _>>()?;
    args.finish()?;
    Ok(Chaos { version, authors })
}

/// `pprof` and `trace`: written for parts of CoreDNS that have no counterpart here, and nothing a
/// client notices. Their options are not looked at.
pub(super) fn left_to_others(line: &Directive, warnings: &mut Warnings) {
    let instead = match line.name.as_str() {
        "pprof" => "profile the process from outside, with `perf record -p PID`",
        _ => {
            "`log`, the metrics of `prometheus` and `dnscache top` show where questions spend their time"
        }
    };
    warnings.add(&line.position, format!("`{}` does nothing here: {instead}", line.name));
}

/// A text that fits a TXT record's one string (RFC 1035 section 3.3).
fn text(token: &super::super::corefile::Token) -> Result<String, ConfigError> {
    match token.text.len() {
        1..=255 => Ok(token.text.clone()),
        _ => Err(token.error("a text of 1 to 255 octets")),
    }
}

/// `loadbalance [round_robin]`; true, because it is there.
pub(super) fn loadbalance(line: &Directive) -> Result<bool, ConfigError> {
    let mut args = Arguments::of(line);
    if let Some(token) = args.next()
        && token.text != "round_robin"
    {
        return Err(token.error("`round_robin` or nothing: dnscache offers no other policy"));
    }
    args.end()?;
    match line.body.first() {
        Some(option) => Err(unknown(option, "options of loadbalance", &[], &["prefer", "reload"])),
        None => Ok(true),
    }
}

/// CoreDNS's bound.
const SOCKETS_MAX: u32 = 1024;
/// CoreDNS's bounds.
const INTERVAL_MIN: Duration = Duration::from_secs(2);
const JITTER_MIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::super::super::Origin;
    use super::super::super::corefile;
    use super::super::super::environment::tests::Literal;
    use super::super::tests::{block, error, warnings};
    use super::*;

    fn config(text: &str) -> Config {
        let environment = Literal::default();
        let blocks = corefile::parse("Corefile", text, &environment).expect("parsed");
        super::super::check(&blocks, Origin::BuiltIn, 53, &environment).expect("checked")
    }

    fn reload_secs(lines: &str) -> Option<(u64, u64)> {
        let reload = config(&format!(". {{\n{lines}\n}}")).reload?;
        Some((reload.interval.as_secs(), reload.jitter.as_secs()))
    }

    #[test]
    fn reload_has_an_interval_and_a_jitter() {
        assert_eq!(reload_secs("errors"), None);
        assert_eq!(reload_secs("reload"), Some((30, 15)));
        assert_eq!(reload_secs("reload 10s"), Some((10, 5)));
        assert_eq!(reload_secs("reload 1m 5s"), Some((60, 5)));
        assert_eq!(reload_secs("reload off"), None);
        assert!(error("reload 1s").contains("`2s` at least"));
        assert!(error("reload 2s 1ms").contains("`1s` at least"));
        assert!(error("reload 30").contains("a duration such as"));
        assert!(error("reload 2s 1s 1s").contains("the end of `reload`"));
    }

    #[test]
    fn the_last_reload_counts_aloud() {
        let same = config("a {\n reload\n}\nb {\n reload\n}");
        assert_eq!(same.warnings, [""; 0]);
        let other = config("a {\n reload\n}\nb {\n reload 10s\n}");
        assert_eq!(other.warnings, ["Corefile:5:2: this `reload` replaces that of another block"]);
    }

    #[test]
    fn sockets_are_counted() {
        let sockets = |text: &str| config(text).sockets.map(NonZeroUsize::get);
        assert_eq!(sockets(". {\n multisocket\n}"), None);
        assert_eq!(sockets("a {\n multisocket 4\n}\nb {\n multisocket 4\n}"), Some(4));
        assert!(error("multisocket 0").contains("sockets per address"));
        assert!(error("multisocket 1025").contains("(1 to 1024)"));
    }

    #[test]
    fn pprof_and_trace_are_accepted_with_what_to_use_instead() {
        for (lines, instead) in [
            ("pprof", "perf record"),
            ("pprof :6053 {\n block 5\n}", "perf record"),
            ("trace", "metrics"),
            ("trace zipkin localhost:9411 {\n every 10\n client_server\n}", "metrics"),
        ] {
            let [warning] = &warnings(lines)[..] else { panic!("{lines}") };
            assert!(warning.starts_with("Corefile:2:1: `"), "{warning}");
            assert!(
                warning.contains("does nothing here") && warning.contains(instead),
                "{warning}"
            );
        }
    }

    #[test]
    fn bufsize_is_1232_at_most() {
        for (lines, size) in [
            ("bufsize", 1232),
            ("bufsize 512", 512),
            ("bufsize 1232", 1232),
            ("bufsize 4096", 1232),
        ] {
            assert_eq!(block(lines).bufsize, size);
        }
        assert_eq!(block("errors").bufsize, 1232);
        assert_eq!(warnings("bufsize 4096"), ["Corefile:2:9: bufsize lowered to 1232"]);
        assert!(error("bufsize 511").contains("(512 to 4096)"));
        assert!(error("bufsize 4097").contains("(512 to 4096)"));
    }

    #[test]
    fn chaos_has_a_version_and_authors() {
        assert!(block("chaos").chaos.expect("chaos").version.starts_with("dnscache-"));
        let chaos = block("chaos v1 \"A B\" c").chaos.expect("chaos");
        assert_eq!((chaos.version.as_str(), chaos.authors.len()), ("v1", 2));
        assert!(error(&format!("chaos {}", "x".repeat(256))).contains("1 to 255 octets"));
    }

    #[test]
    fn loadbalance_is_round_robin() {
        assert!(block("loadbalance").rotate && block("loadbalance round_robin").rotate);
        assert!(!block("errors").rotate);
        assert!(error("loadbalance weighted f").contains("no other policy"));
        assert!(error("loadbalance {\n prefer 10.0.0.0/8\n}").contains("does not offer this one"));
    }
}
