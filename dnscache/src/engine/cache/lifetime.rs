//! How long an answer lives: the rules in one place, in seconds of TTL and milliseconds of life.

use crate::engine::wire::answer::{Digest, Meaning};

/// How long an NXDOMAIN without an SOA is kept: long enough to end a storm of equal questions,
/// short enough to be no lie (RFC 2308 section 5 has no number for it).
pub const DENIED_WITHOUT_SOA_SECS: u32 = 5;
/// The longest a failure may be remembered here; RFC 2308 section 7.1 allows five minutes,
/// RFC 9520 section 3.2 asks for at least a second.
pub const FAILURE_MAX_MILLIS: u64 = 5_000;
/// How long silence is remembered as a failure: the least RFC 9520 section 3.2 allows, since a
/// silent upstream may be back any moment.
pub const SILENCE_MILLIS: u64 = 1_000;
/// The TTL of an expired answer (RFC 8767 section 5.11).
pub const STALE_TTL_SECS: u32 = 30;
/// How long a failed renewal keeps an expired answer from being renewed again when upstream was
/// silent (RFC 8767 section 5's failure recheck timer).
pub const SILENT_RETRY_MILLIS: u64 = 30_000;
/// The same when upstream answered with a failure: it lives, so it is asked again soon, and stale
/// answers end within two seconds of its recovery.
pub const ANSWERED_RETRY_MILLIS: u64 = 1_500;
/// A renewal that has not come back after this may be tried again: a little over the deadline of a
/// question.
pub const RENEWAL_MILLIS: u64 = 5_000;

/// Bounds of a lifetime, from the `cache` directive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Upper bound in seconds.
    pub ttl_max_secs: u32,
    /// Lower bound in seconds; 0 for none.
    pub ttl_min_secs: u32,
}

impl Bounds {
    fn apply(&self, ttl_secs: u32) -> u32 {
        ttl_secs.max(self.ttl_min_secs).min(self.ttl_max_secs.max(self.ttl_min_secs))
    }
}

/// The lifetime of an answer in seconds; 0: pass it on but do not keep it.
///
/// Positive: the smallest TTL (RFC 2181 section 5.2 wants those of a set equal anyway). Negative:
/// RFC 2308 section 5, and no longer than the aliases that lead to it. TTLs within `digest` are
/// brought in line with it.
pub fn settle(digest: &mut Digest, positive: Bounds, negative: Bounds) -> u32 {
    let smallest = digest.ttls.iter().map(|(_, ttl)| *ttl).min();
    let (bounds, lifetime_secs) = match digest.meaning {
        Meaning::Data => (positive, smallest.unwrap_or(0)),
        Meaning::Denied { ttl_secs, soa_ttl_at } => {
            set_ttl(digest, soa_ttl_at, ttl_secs);
            (negative, smallest.unwrap_or(0).min(ttl_secs))
        }
        Meaning::DeniedWithoutSoa => {
            let limit = DENIED_WITHOUT_SOA_SECS;
            (negative, smallest.map_or(limit, |ttl_secs| ttl_secs.min(limit)))
        }
        Meaning::Incomplete => return 0,
    };
    for (_, ttl_secs) in &mut digest.ttls {
        *ttl_secs = bounds.apply(*ttl_secs);
    }
    bounds.apply(lifetime_secs)
}

fn set_ttl(digest: &mut Digest, at: u16, ttl_secs: u32) {
    if let Some((_, ttl)) = digest.ttls.iter_mut().find(|(offset, _)| *offset == at) {
        *ttl = ttl_secs;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: Bounds = Bounds { ttl_max_secs: 3_600, ttl_min_secs: 0 };

    fn check(meaning: Meaning, ttls: &[u32], bounds: Bounds, lifetime_secs: u32, sent: &[u32]) {
        let mut digest = Digest {
            message: Vec::new(),
            ttls: ttls.iter().enumerate().map(|(index, ttl)| (index as u16, *ttl)).collect(),
            rcode: 0,
            authentic: false,
            meaning,
            rotation: None,
        };
        assert_eq!(settle(&mut digest, bounds, bounds), lifetime_secs);
        assert_eq!(digest.ttls.iter().map(|(_, ttl)| *ttl).collect::<Vec<_>>(), sent);
    }

    #[test]
    fn data_lives_as_long_as_its_smallest_ttl() {
        check(Meaning::Data, &[300, 60], WIDE, 60, &[300, 60]);
        check(Meaning::Data, &[0, 60], WIDE, 0, &[0, 60]);
    }

    #[test]
    fn caps_and_floors_hold_when_asked_for() {
        check(
            Meaning::Data,
            &[300, 60],
            Bounds { ttl_max_secs: 30, ttl_min_secs: 0 },
            30,
            &[30, 30],
        );
        check(Meaning::Data, &[1, 0], Bounds { ttl_max_secs: 30, ttl_min_secs: 5 }, 5, &[5, 5]);
    }

    #[test]
    fn a_denial_lives_as_long_as_the_soa_allows() {
        let denied = |ttl_secs| Meaning::Denied { ttl_secs, soa_ttl_at: 0 };
        check(denied(20), &[900], WIDE, 20, &[20]);
        check(denied(20), &[900, 7], WIDE, 7, &[20, 7]);
        check(Meaning::DeniedWithoutSoa, &[], WIDE, 5, &[]);
        check(Meaning::DeniedWithoutSoa, &[2], WIDE, 2, &[2]);
        check(Meaning::Incomplete, &[300], WIDE, 0, &[300]);
    }
}
