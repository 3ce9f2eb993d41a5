//! `cache`: lifetimes, capacities, prefetch, stale answers.

use std::time::Duration;

use super::super::corefile::{Directive, Token};
use super::super::{Cache, CachePart, ConfigError, Prefetch, ServeStale, octets};
use super::arguments::{Arguments, duration, number, unknown};
use super::{Warnings, zones};

/// `cache [TTL] [ZONES...] { ... }`.
pub(super) fn cache(line: &Directive, warnings: &mut Warnings) -> Result<Cache, ConfigError> {
    let mut cache = defaults();
    let mut words = line.args.as_slice();
    if let Some((first, rest)) = words.split_first()
        && first.text.parse::<i128>().is_ok()
    {
        let ttl_secs = ttl(first)?;
        cache.success.ttl_max_secs = ttl_secs;
        cache.denial.ttl_max_secs = ttl_secs;
        words = rest;
    }
    cache.zones = zones::list(words)?;
    for option in &line.body {
        let mut args = Arguments::of(option);
        read_option(&mut cache, option, &mut args, warnings)?;
        args.finish()?;
    }
    Ok(cache)
}

fn read_option(
    cache: &mut Cache,
    option: &Directive,
    args: &mut Arguments<'_>,
    warnings: &mut Warnings,
) -> Result<(), ConfigError> {
    match option.name.as_str() {
        "success" => part(&mut cache.success, args, warnings),
        "denial" => part(&mut cache.denial, args, warnings),
        "prefetch" => prefetch(args).map(|prefetch| cache.prefetch = prefetch),
        "serve_stale" => serve_stale(args, warnings).map(|stale| cache.serve_stale = stale),
        "servfail" => servfail(args, warnings).map(|lifetime| cache.servfail = lifetime),
        "disable" => disable(cache, args),
        "size" => size(args).map(|bytes| cache.size_bytes = Some(bytes)),
        "keepttl" => {
            cache.keep_ttl = true;
            Ok(())
        }
        _ => Err(unknown(option, "options of cache", &OPTIONS, &["serve_stale_policy"])),
    }
}

/// `success|denial CAPACITY [TTL] [MINTTL]`.
fn part(
    part: &mut CachePart,
    args: &mut Arguments<'_>,
    warnings: &mut Warnings,
) -> Result<(), ConfigError> {
    let token = args.need("a capacity in entries")?;
    let capacity = u64::from(number(token, 0..=u32::MAX, "a capacity in entries")?);
    if capacity < CAPACITY_MIN {
        warnings.add(&token.position, format!("capacity {capacity} raised to {CAPACITY_MIN}"));
    }
    part.capacity = Some(capacity.max(CAPACITY_MIN));
    if let Some(token) = args.next() {
        part.ttl_max_secs = ttl(token)?;
    }
    if let Some(token) = args.next() {
        part.ttl_min_secs = number(token, 0..=TTL_SECS_MAX, "a lowest TTL in seconds")?;
        if part.ttl_min_secs > part.ttl_max_secs {
            return Err(token
                .error(&format!("a lowest TTL not above the highest, {} s", part.ttl_max_secs)));
        }
    }
    Ok(())
}

fn ttl(token: &Token) -> Result<u32, ConfigError> {
    number(token, 1..=TTL_SECS_MAX, "a TTL in seconds")
}

/// `prefetch AMOUNT [[DURATION] [PERCENTAGE%]]` or `prefetch off`.
fn prefetch(args: &mut Arguments<'_>) -> Result<Option<Prefetch>, ConfigError> {
    let first = args.need("a number of hits, or `off`")?;
    if first.text == "off" {
        return Ok(None);
    }
    let amount = number(first, 0..=u32::MAX, "a number of hits (or `off`)")?;
    let mut percentage = PREFETCH.percentage;
    let mut next = args.next();
    if let Some(token) = next
        && !token.text.ends_with('%')
    {
        // CoreDNS counts hits with no pause longer than this; here every hit of a life counts.
        duration(token, "the longest pause between hits")?;
        next = args.next();
    }
    if let Some(token) = next {
        percentage = percent(token)?;
    }
    Ok((amount > 0).then_some(Prefetch { amount, percentage }))
}

fn percent(token: &Token) -> Result<u8, ConfigError> {
    let value = token.text.strip_suffix('%').and_then(|digits| digits.parse().ok());
    value
        .filter(|value| (10..=90).contains(value))
        .ok_or_else(|| token.error("a percentage from `10%` to `90%`"))
}

/// `serve_stale [DURATION] [immediate | verify [TIMEOUT]]` or `serve_stale off`.
fn serve_stale(
    args: &mut Arguments<'_>,
    warnings: &mut Warnings,
) -> Result<Option<ServeStale>, ConfigError> {
    let mut stale = ServeStale { window: STALE_WINDOW_WRITTEN, ..STALE };
    let mut next = args.next();
    match next {
        Some(token) if token.text == "off" => return Ok(None),
        Some(token) if !["immediate", "verify"].contains(&token.text.as_str()) => {
            stale.window = duration(token, "how long after expiry (or `off`)")?;
            if stale.window > STALE.window {
                warnings.add(&token.position, "serve_stale lowered to 24h".to_owned());
                stale.window = STALE.window;
            }
            next = args.next();
        }
        _ => {}
    }
    match next.map(|token| (token, token.text.as_str())) {
        None => {}
        Some((_, "immediate")) => stale.client_timer = Duration::ZERO,
        Some((_, "verify")) => {
            if let Some(token) = args.next() {
                stale.client_timer = timeout(token, warnings)?;
            }
        }
        Some((token, _)) => return Err(token.error("`immediate` or `verify`")),
    }
    Ok((!stale.window.is_zero()).then_some(stale))
}

fn timeout(token: &Token, warnings: &mut Warnings) -> Result<Duration, ConfigError> {
    let timer = duration(token, "how long a client waits first")?;
    if timer > CLIENT_TIMER_MAX {
        warnings.add(&token.position, "timeout lowered to 4s: clients give up at 5s".to_owned());
    }
    Ok(timer.min(CLIENT_TIMER_MAX))
}

/// `servfail DURATION`.
fn servfail(args: &mut Arguments<'_>, warnings: &mut Warnings) -> Result<Duration, ConfigError> {
    let token = args.need("how long a SERVFAIL is kept")?;
    let lifetime = duration(token, "how long a SERVFAIL is kept")?;
    if lifetime > SERVFAIL_REFUSED {
        return Err(token.error("at most `5m`"));
    }
    if lifetime > SERVFAIL_MAX {
        warnings.add(&token.position, "servfail lowered to 5s".to_owned());
    }
    Ok(lifetime.min(SERVFAIL_MAX))
}

/// `disable success|denial [ZONES...]`.
fn disable(cache: &mut Cache, args: &mut Arguments<'_>) -> Result<(), ConfigError> {
    let which = args.need("`success` or `denial`")?;
    let part = match which.text.as_str() {
        "success" => &mut cache.success,
        "denial" => &mut cache.denial,
        _ => return Err(which.error("`success` or `denial`")),
    };
    part.disabled = Some(zones::list(args.rest())?);
    Ok(())
}

/// `size BYTES`, with `KiB`, `MiB` or `GiB` after the number or nothing.
fn size(args: &mut Arguments<'_>) -> Result<u64, ConfigError> {
    let token = args.need("a size such as `64MiB`")?;
    octets::parse(&token.text)
        .filter(|bytes| (SIZE_BYTES_MIN..=SIZE_BYTES_MAX).contains(bytes))
        .ok_or_else(|| token.error("a size from `1MiB` to `1024GiB` (KiB, MiB, GiB or octets)"))
}

fn defaults() -> Cache {
    let part =
        |ttl_max_secs| CachePart { disabled: None, capacity: None, ttl_max_secs, ttl_min_secs: 0 };
    Cache {
        zones: Vec::new(),
        success: part(SUCCESS_TTL_SECS),
        denial: part(DENIAL_TTL_SECS),
        servfail: SERVFAIL_MAX,
        prefetch: Some(PREFETCH),
        serve_stale: Some(STALE),
        keep_ttl: false,
        size_bytes: None,
    }
}

const OPTIONS: [&str; 8] =
    ["success", "denial", "prefetch", "serve_stale", "servfail", "disable", "keepttl", "size"];

/// CoreDNS's default bounds of a lifetime.
const SUCCESS_TTL_SECS: u32 = 3600;
const DENIAL_TTL_SECS: u32 = 1800;
/// RFC 2181 section 8.
const TTL_SECS_MAX: u32 = (1 << 31) - 1;
/// CoreDNS's smallest cache.
const CAPACITY_MIN: u64 = 1024;
const PREFETCH: Prefetch = Prefetch { amount: 1, percentage: 10 };
/// RFC 8767 section 5: the client response timer, and a bound within its one to three days.
const STALE: ServeStale = ServeStale {
    window: Duration::from_secs(24 * 3600),
    client_timer: Duration::from_millis(1800),
};
/// CoreDNS's window of a `serve_stale` without one.
const STALE_WINDOW_WRITTEN: Duration = Duration::from_secs(3600);
/// Stub resolvers give up after 5 s.
const CLIENT_TIMER_MAX: Duration = Duration::from_secs(4);
/// RFC 9520 section 3.2 allows up to 5 minutes; a node must notice a recovery sooner.
const SERVFAIL_MAX: Duration = Duration::from_secs(5);
/// Above this CoreDNS refuses to start.
const SERVFAIL_REFUSED: Duration = Duration::from_secs(300);
const SIZE_BYTES_MIN: u64 = 1 << 20;
const SIZE_BYTES_MAX: u64 = 1 << 40;

#[cfg(test)]
mod tests {
    use super::super::tests::{block, error, warnings};
    use super::*;

    fn read(lines: &str) -> Cache {
        block(lines).cache.expect("cache")
    }

    #[test]
    fn defaults_are_filled_in() {
        let cache = read("cache");
        assert_eq!(cache, defaults());
        assert_eq!((cache.success.ttl_max_secs, cache.denial.ttl_max_secs), (3600, 1800));
        assert_eq!(cache.serve_stale, Some(STALE));
        assert_eq!(block("errors").cache, None);
    }

    #[test]
    fn one_ttl_bounds_both_halves() {
        for (lines, success, denial) in
            [("cache", 3600, 1800), ("cache 30", 30, 30), ("cache 7200", 7200, 7200)]
        {
            let cache = read(lines);
            assert_eq!((cache.success.ttl_max_secs, cache.denial.ttl_max_secs), (success, denial));
        }
    }

    #[test]
    fn zones_follow_the_ttl() {
        assert_eq!(read("cache 30 a b.c").zones.len(), 2);
        assert_eq!(read("cache 10.0.0.0/9").zones.len(), 128);
    }

    #[test]
    fn halves_have_capacity_and_ttls() {
        let cache = read("cache {\n success 9984 30\n denial 2000 20 5\n}");
        assert_eq!(cache.success.capacity, Some(9984));
        assert_eq!((cache.success.ttl_max_secs, cache.success.ttl_min_secs), (30, 0));
        assert_eq!(cache.denial.capacity, Some(2000));
        assert_eq!((cache.denial.ttl_max_secs, cache.denial.ttl_min_secs), (20, 5));
    }

    #[test]
    fn small_capacities_are_raised_aloud() {
        assert_eq!(read("cache {\n success 1\n}").success.capacity, Some(1024));
        assert_eq!(
            warnings("cache {\n success 1\n}"),
            ["Corefile:3:10: capacity 1 raised to 1024"]
        );
    }

    #[test]
    fn prefetch_is_read() {
        let prefetch = |text: &str| read(&format!("cache {{\n prefetch {text}\n}}")).prefetch;
        let some = |amount, percentage| Some(Prefetch { amount, percentage });
        assert_eq!(prefetch("10"), some(10, 10));
        assert_eq!(prefetch("10 1m"), some(10, 10));
        assert_eq!(prefetch("10 1m 25%"), some(10, 25));
        assert_eq!(prefetch("10 25%"), some(10, 25));
        assert_eq!(prefetch("0"), None);
        assert_eq!(prefetch("off"), None);
    }

    #[test]
    fn serve_stale_is_read() {
        let stale = |text: &str| {
            let stale = read(&format!("cache {{\n serve_stale {text}\n}}")).serve_stale;
            stale.map(|stale| (stale.window.as_secs(), stale.client_timer.as_millis()))
        };
        assert_eq!(stale(""), Some((3600, 1800)));
        assert_eq!(stale("2h"), Some((7200, 1800)));
        assert_eq!(stale("2h immediate"), Some((7200, 0)));
        assert_eq!(stale("immediate"), Some((3600, 0)));
        assert_eq!(stale("2h verify"), Some((7200, 1800)));
        assert_eq!(stale("2h verify 1s"), Some((7200, 1000)));
        assert_eq!(stale("2h verify 1m"), Some((7200, 4000)));
        assert_eq!(stale("48h"), Some((86400, 1800)));
        assert_eq!(stale("0s"), None);
        assert_eq!(stale("off"), None);
        assert_eq!(warnings("cache {\n serve_stale 48h\n}").len(), 1);
    }

    #[test]
    fn servfail_is_five_seconds_at_most() {
        let servfail = |text: &str| read(&format!("cache {{\n servfail {text}\n}}")).servfail;
        assert_eq!(servfail("1s"), Duration::from_secs(1));
        assert_eq!(servfail("0"), Duration::ZERO);
        assert_eq!(servfail("5m"), Duration::from_secs(5));
        assert_eq!(warnings("cache {\n servfail 1m\n}").len(), 1);
    }

    #[test]
    fn the_rest_is_read() {
        let cache =
            read("cache {\n disable denial a b\n disable success\n keepttl\n size 32MiB\n}");
        assert_eq!(cache.denial.disabled.map(|zones| zones.len()), Some(2));
        assert_eq!(cache.success.disabled, Some(Vec::new()));
        assert!(cache.keep_ttl);
        assert_eq!(cache.size_bytes, Some(32 << 20));
    }

    #[test]
    fn nonsense_is_refused_where_it_stands() {
        for (lines, expected) in [
            (
                "cache 0",
                "Corefile:2:7: found `0`, expected a TTL in seconds, a whole number (1 to 2147483647)",
            ),
            (
                "cache {\n success\n}",
                "Corefile:3:2: found nothing after `success`, expected a capacity in entries",
            ),
            (
                "cache {\n success x\n}",
                "Corefile:3:10: found `x`, expected a capacity in entries, a whole number (0 or more)",
            ),
            (
                "cache {\n success 1 0\n}",
                "Corefile:3:12: found `0`, expected a TTL in seconds, a whole number (1 to 2147483647)",
            ),
            (
                "cache {\n denial 2000 5 6\n}",
                "Corefile:3:16: found `6`, expected a lowest TTL not above the highest, 5 s",
            ),
            (
                "cache {\n success 1 2 1 4\n}",
                "Corefile:3:16: found `4`, expected the end of `success`",
            ),
            (
                "cache {\n prefetch 1 1m 5%\n}",
                "Corefile:3:16: found `5%`, expected a percentage from `10%` to `90%`",
            ),
            (
                "cache {\n prefetch 1 30\n}",
                "Corefile:3:13: found `30`, expected the longest pause between hits, a duration such as `5s`, `500ms` or `1h30m`",
            ),
            (
                "cache {\n serve_stale 1h now\n}",
                "Corefile:3:17: found `now`, expected `immediate` or `verify`",
            ),
            ("cache {\n servfail 6m\n}", "Corefile:3:11: found `6m`, expected at most `5m`"),
            (
                "cache {\n disable all\n}",
                "Corefile:3:10: found `all`, expected `success` or `denial`",
            ),
            (
                "cache {\n size 10MB\n}",
                "Corefile:3:7: found `10MB`, expected a size from `1MiB` to `1024GiB` (KiB, MiB, GiB or octets)",
            ),
            ("cache {\n keepttl x\n}", "Corefile:3:10: found `x`, expected the end of `keepttl`"),
            (
                "cache {\n keepttl {\n  x\n }\n}",
                "Corefile:4:3: found `x`, expected no braces after `keepttl`",
            ),
            (
                "cache {\n sucess 1\n}",
                "Corefile:3:2: found `sucess`, expected one of success, denial, prefetch, serve_stale, servfail, disable, keepttl, size (options of cache); did you mean `success`?",
            ),
        ] {
            assert_eq!(error(lines), expected);
        }
    }
}
