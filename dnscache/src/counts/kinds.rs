//! What is told apart: query types, response codes, answerers, sizes and durations, each as a
//! small index and as the label dashboards for CoreDNS know.

use std::borrow::Cow;

use crate::engine::{DropReason, Source};

/// Query types with a label of their own; all others are `other`.
const TYPES: [(u16, &str); 20] = [
    (1, "A"),
    (2, "NS"),
    (5, "CNAME"),
    (6, "SOA"),
    (12, "PTR"),
    (15, "MX"),
    (16, "TXT"),
    (28, "AAAA"),
    (33, "SRV"),
    (43, "DS"),
    (46, "RRSIG"),
    (47, "NSEC"),
    (48, "DNSKEY"),
    (50, "NSEC3"),
    (52, "TLSA"),
    (64, "SVCB"),
    (65, "HTTPS"),
    (251, "IXFR"),
    (252, "AXFR"),
    (255, "ANY"),
];

/// Slots for types: those above and `other`.
pub(super) const TYPE_SLOTS: usize = TYPES.len() + 1;

/// Slot by type number, so that counting one is a single look-up.
const SLOT_OF_TYPE: [u8; 256] = {
    let mut slots = [TYPES.len() as u8; 256];
    let mut index = 0;
    while index < TYPES.len() {
        slots[TYPES[index].0 as usize] = index as u8;
        index += 1;
    }
    slots
};

/// The slot of a query type.
#[inline]
pub(super) fn type_slot(qtype: u16) -> usize {
    SLOT_OF_TYPE.get(usize::from(qtype)).map_or(TYPES.len(), |&slot| usize::from(slot))
}

/// The label of a slot.
pub(super) fn type_slot_label(slot: usize) -> &'static str {
    TYPES.get(slot).map_or("other", |(_, label)| label)
}

/// The name of a query type as the `type` label has it: `A`, `AAAA`, ..., `other`.
pub fn type_label(qtype: u16) -> &'static str {
    type_slot_label(type_slot(qtype))
}

/// Slots for response codes: 0 to 16 (BADVERS) and one for all above.
pub(super) const RCODE_SLOTS: usize = 18;

/// The slot of a response code.
#[inline]
pub(super) fn rcode_slot(rcode: u8) -> usize {
    usize::from(rcode).min(RCODE_SLOTS - 1)
}

/// The name of a response code as the `rcode` label has it (IANA DNS RCODEs); codes without a name
/// are their number.
pub fn rcode_label(rcode: u8) -> Cow<'static, str> {
    const NAMES: [&str; 12] = [
        "NOERROR",
        "FORMERR",
        "SERVFAIL",
        "NXDOMAIN",
        "NOTIMP",
        "REFUSED",
        "YXDOMAIN",
        "YXRRSET",
        "NXRRSET",
        "NOTAUTH",
        "NOTZONE",
        "DSOTYPENI",
    ];
    match NAMES.get(usize::from(rcode)) {
        Some(name) => Cow::Borrowed(name),
        None if rcode == 16 => Cow::Borrowed("BADVERS"),
        None => Cow::Owned(rcode.to_string()),
    }
}

/// The label of a slot; the last one holds several codes.
pub(super) fn rcode_slot_label(slot: usize) -> Cow<'static, str> {
    match u8::try_from(slot) {
        Ok(rcode) if slot < RCODE_SLOTS - 1 => rcode_label(rcode),
        _ => Cow::Borrowed("other"),
    }
}

/// Everybody who answers, in the order of [`source_slot`].
pub(super) const SOURCES: [Source; 16] = [
    Source::CacheSuccess,
    Source::CacheDenial,
    Source::CacheFailure,
    Source::Stale,
    Source::Forward,
    Source::Hosts,
    Source::Whoami,
    Source::Chaos,
    Source::Any,
    Source::Acl,
    Source::Refusal,
    Source::SearchPath,
    Source::Template,
    Source::TemplateNotFilledIn,
    Source::TemplateNoRecord,
    Source::Dns64,
];

/// The slot of an answerer.
#[inline]
pub(super) fn source_slot(source: Source) -> usize {
    match source {
        Source::CacheSuccess => 0,
        Source::CacheDenial => 1,
        Source::CacheFailure => 2,
        Source::Stale => 3,
        Source::Forward => 4,
        Source::Hosts => 5,
        Source::Whoami => 6,
        Source::Chaos => 7,
        Source::Any => 8,
        Source::Acl => 9,
        Source::Refusal => 10,
        Source::SearchPath => 11,
        Source::Template => 12,
        Source::TemplateNotFilledIn => 13,
        Source::TemplateNoRecord => 14,
        Source::Dns64 => 15,
    }
}

/// The `plugin` label: the directive that wrote the reply, empty if none did.
pub(super) fn plugin_label(source: Source) -> &'static str {
    match source {
        Source::CacheSuccess | Source::CacheDenial | Source::CacheFailure | Source::Stale => {
            "cache"
        }
        Source::Forward => "forward",
        Source::Hosts => "hosts",
        Source::Whoami => "whoami",
        Source::Chaos => "chaos",
        Source::Any => "any",
        Source::Acl => "acl",
        Source::SearchPath => "searchpath",
        Source::Template | Source::TemplateNotFilledIn | Source::TemplateNoRecord => "template",
        Source::Dns64 => "dns64",
        Source::Refusal => "",
    }
}

/// Every reason for sending nothing, in the order of [`drop_slot`].
pub(super) const DROP_REASONS: [DropReason; 5] = [
    DropReason::Short,
    DropReason::Response,
    DropReason::SourcePort,
    DropReason::Own,
    DropReason::Acl,
];

/// The slot of a reason.
#[inline]
pub(super) fn drop_slot(reason: DropReason) -> usize {
    match reason {
        DropReason::Short => 0,
        DropReason::Response => 1,
        DropReason::SourcePort => 2,
        DropReason::Own => 3,
        DropReason::Acl => 4,
    }
}

/// The `reason` label.
pub(super) fn drop_label(reason: DropReason) -> &'static str {
    match reason {
        DropReason::Short => "short",
        DropReason::Response => "response",
        DropReason::SourcePort => "source_port",
        DropReason::Own => "own_address",
        DropReason::Acl => "acl",
    }
}

/// Upper bounds of message sizes in octets, CoreDNS's.
pub const SIZE_BOUNDS: [f64; 14] = [
    0.0, 100.0, 200.0, 300.0, 400.0, 511.0, 1023.0, 2047.0, 4095.0, 8291.0, 16e3, 32e3, 48e3, 64e3,
];

/// Buckets of sizes: one per bound and the rest.
pub(super) const SIZE_SLOTS: usize = SIZE_BOUNDS.len() + 1;

/// The bucket of a size in octets.
#[inline]
pub(super) fn size_slot(len: usize) -> usize {
    const BOUNDS: [usize; SIZE_BOUNDS.len()] = {
        let mut bounds = [0; SIZE_BOUNDS.len()];
        let mut index = 0;
        while index < bounds.len() {
            bounds[index] = SIZE_BOUNDS[index] as usize;
            index += 1;
        }
        bounds
    };
    // Nearly every message ends the walk at one of the first four bounds.
    BOUNDS.iter().position(|&bound| len <= bound).unwrap_or(BOUNDS.len())
}

/// Upper bounds of durations in seconds, CoreDNS's: 0.25 ms doubled fifteen times.
pub const DURATION_BOUNDS: [f64; 16] = {
    let mut bounds = [0.000_25; 16];
    let mut index = 1;
    while index < bounds.len() {
        bounds[index] = bounds[index - 1] * 2.0;
        index += 1;
    }
    bounds
};

/// Buckets of durations: one per bound and the rest.
pub(super) const DURATION_SLOTS: usize = DURATION_BOUNDS.len() + 1;

/// The bucket of a duration in microseconds: how often 250 us must be doubled to hold it.
#[inline]
pub(super) fn duration_slot(duration_us: u64) -> usize {
    let above_first_bound = duration_us.saturating_sub(1) / 250;
    (u64::BITS - above_first_bound.leading_zeros()) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_has_its_label_and_the_rest_is_other() {
        for (qtype, label) in [(1, "A"), (28, "AAAA"), (65, "HTTPS"), (255, "ANY"), (50, "NSEC3")] {
            assert_eq!(type_label(qtype), label);
        }
        for qtype in [0, 13, 257, u16::MAX] {
            assert_eq!(type_label(qtype), "other");
        }
    }

    #[test]
    fn response_codes_have_their_names() {
        for (rcode, label) in [(0, "NOERROR"), (3, "NXDOMAIN"), (5, "REFUSED"), (16, "BADVERS")] {
            assert_eq!(rcode_label(rcode), label);
            assert_eq!(rcode_slot_label(rcode_slot(rcode)), label);
        }
        assert_eq!(rcode_label(13), "13");
        assert_eq!(rcode_slot_label(rcode_slot(200)), "other");
    }

    #[test]
    fn slots_and_lists_agree() {
        for (slot, source) in SOURCES.into_iter().enumerate() {
            assert_eq!(source_slot(source), slot);
        }
        for (slot, reason) in DROP_REASONS.into_iter().enumerate() {
            assert_eq!(drop_slot(reason), slot);
        }
    }

    #[test]
    fn a_bound_belongs_to_its_own_bucket() {
        for (slot, bound) in SIZE_BOUNDS.into_iter().enumerate() {
            assert_eq!(size_slot(bound as usize), slot);
            assert_eq!(size_slot(bound as usize + 1), slot + 1);
        }
        for (slot, bound) in DURATION_BOUNDS.into_iter().enumerate() {
            let bound_us = (bound * 1e6).round() as u64;
            assert_eq!(duration_slot(bound_us), slot, "{bound_us} us");
            assert_eq!(duration_slot(bound_us + 1), slot + 1, "{bound_us} us and one more");
        }
        assert_eq!(duration_slot(0), 0);
    }
}
