//! The query log: a line per reply in CoreDNS's common log format.
//!
//! ```text
//! {remote}:{port} - {id} "{type} {class} {name} {proto} {size} {do} {bufsize}" {rcode} {rflags} {rsize} {duration}
//! 10.0.0.7:50759 - 29008 "A IN example.org. udp 41 false 4096" NOERROR qr,rd,ra 68 0.000123s
//! ```
//!
//! With `shortcuts`, lines of steps through a search list end with what became of them:
//! ` search=cut`, ` search=rewritten:4` (questions spared) or ` search=none:exists` (why not).

use std::borrow::Cow;
use std::fmt::{self, Display};

use crate::config::Log;
use crate::counts::{rcode_label, reason_label, type_label};
use crate::engine::wire::header::{HEADER_LEN, class, rcode, rtype};
use crate::engine::wire::name::{LABEL_MAX, NAME_MAX, Name};
use crate::engine::{Facts, Query, Shortcut, Source, Transport};

/// The target of the query log's events, by which the filter knows them.
pub(super) const TARGET: &str = "query";

/// Writes the line of one reply, if `log` asks for its name and class. `request_len` is the
/// query's length in octets, `reply` the reply as sent, `duration_us` the time between them in
/// microseconds. Any bytes are fine; what cannot be read of them is `-`.
pub fn query(
    log: &Log,
    query: &Query<'_>,
    facts: &Facts,
    request_len: usize,
    reply: &[u8],
    duration_us: u64,
) {
    let asked = Asked::read(query.packet);
    let shortcuts = log.shortcuts;
    let line = Line { asked, query, facts, request_len, reply, duration_us, shortcuts };
    if wanted(log, &line) {
        tracing::info!(target: TARGET, "{line}");
    }
}

fn wanted(log: &Log, line: &Line<'_>) -> bool {
    let class = match line.class() {
        Class::Success => log.success,
        Class::Denial => log.denial,
        Class::Error => log.error,
    };
    class && (log.zones.is_empty() || line.is_in(&log.zones))
}

/// What `class` tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Success,
    Denial,
    Error,
}

/// Everything a line shows.
struct Line<'l> {
    asked: Option<Asked>,
    query: &'l Query<'l>,
    facts: &'l Facts,
    request_len: usize,
    reply: &'l [u8],
    duration_us: u64,
    /// Whether it says what became of a shortcut.
    shortcuts: bool,
}

impl Line<'_> {
    fn is_in(&self, zones: &[Name]) -> bool {
        let Some(asked) = &self.asked else {
            return false;
        };
        zones.iter().any(|zone| asked.name.is_at_or_below(zone))
    }

    fn class(&self) -> Class {
        match self.facts.rcode {
            rcode::NXDOMAIN => Class::Denial,
            rcode::NOERROR if self.is_without_data() => Class::Denial,
            rcode::NOERROR => Class::Success,
            _ => Class::Error,
        }
    }

    /// Whether this NOERROR says that the name has no such records (RFC 2308 section 2.2): nothing
    /// in the answer, something (the SOA) in the authority, and not because it was cut off.
    fn is_without_data(&self) -> bool {
        let truncated = octet(self.reply, 2) & TC != 0;
        let empty = number(self.reply, 6) == 0 && number(self.reply, 8) > 0;
        self.facts.source == Source::CacheDenial || (empty && !truncated)
    }

    fn write_question(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.asked {
            Some(asked) => {
                write!(f, "{} {} {}", type_text(asked.qtype), class_text(asked.qclass), asked.name)
            }
            None => f.write_str("- - -"),
        }
    }

    fn write_shortcut(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.facts.shortcut {
            Shortcut::NotAnExpansion => Ok(()),
            Shortcut::Cut { .. } => f.write_str(" search=cut"),
            Shortcut::Rewritten { skipped, .. } => write!(f, " search=rewritten:{skipped}"),
            Shortcut::NotTaken(reason) => write!(f, " search=none:{}", reason_label(reason)),
        }
    }

    /// The UDP size the client offered: 512 without EDNS, everything over TCP.
    fn buffer_size(&self) -> u16 {
        match self.query.transport {
            Transport::Tcp => u16::MAX,
            Transport::Udp => self.asked.as_ref().and_then(|asked| asked.edns_size).unwrap_or(512),
        }
    }
}

impl Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} - {} \"", self.query.source, number(self.query.packet, 0))?;
        self.write_question(f)?;
        let transport = match self.query.transport {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        };
        write!(
            f,
            " {transport} {} {} {}\" {} {} {} {}.{:06}s",
            self.request_len,
            self.facts.dnssec_ok,
            self.buffer_size(),
            rcode_label(self.facts.rcode),
            Flags(self.reply),
            self.reply.len(),
            self.duration_us / 1_000_000,
            self.duration_us % 1_000_000,
        )?;
        if self.shortcuts { self.write_shortcut(f) } else { Ok(()) }
    }
}

/// The question of a query, read once more for the log.
struct Asked {
    name: Name,
    qtype: u16,
    qclass: u16,
    edns_size: Option<u16>,
}

impl Asked {
    fn read(packet: &[u8]) -> Option<Self> {
        let tail = packet.get(HEADER_LEN..)?;
        let name_len = name_len(tail)?;
        let name = Name::from_wire(tail.get(..name_len)?)?;
        let fixed = tail.get(name_len..name_len + 4)?;
        let additional = &tail[name_len + 4..];
        Some(Self {
            name,
            qtype: number(fixed, 0),
            qclass: number(fixed, 2),
            edns_size: edns_size(packet, additional),
        })
    }
}

/// Octets of the uncompressed name at the front, its root label included.
fn name_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at < NAME_MAX {
        match usize::from(*bytes.get(at)?) {
            0 => return Some(at + 1),
            len if len <= LABEL_MAX => at += 1 + len,
            _ => return None,
        }
    }
    None
}

/// The size in the OPT record right after the question, where queries have it.
fn edns_size(packet: &[u8], additional: &[u8]) -> Option<u16> {
    let only_additional =
        number(packet, 6) == 0 && number(packet, 8) == 0 && number(packet, 10) > 0;
    let is_opt = additional.len() >= 5 && additional[0] == 0 && number(additional, 1) == rtype::OPT;
    (only_additional && is_opt).then(|| number(additional, 3))
}

/// The octet at `at`, 0 beyond the end.
fn octet(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

/// The two octets at `at` as a number, 0 beyond the end.
fn number(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([octet(bytes, at), octet(bytes, at + 1)])
}

/// TC in the third octet of a header.
const TC: u8 = 0x02;

/// The flags of a message as `qr,rd,ra`; `-` if none is set.
struct Flags<'l>(&'l [u8]);

impl Display for Flags<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const FLAGS: [(usize, u8, &str); 8] = [
            (2, 0x80, "qr"),
            (2, 0x04, "aa"),
            (2, TC, "tc"),
            (2, 0x01, "rd"),
            (3, 0x80, "ra"),
            (3, 0x40, "z"),
            (3, 0x20, "ad"),
            (3, 0x10, "cd"),
        ];
        let mut separator = "";
        for (at, bit, name) in FLAGS {
            if octet(self.0, at) & bit != 0 {
                write!(f, "{separator}{name}")?;
                separator = ",";
            }
        }
        if separator.is_empty() { f.write_str("-") } else { Ok(()) }
    }
}

/// The name of a type; `TYPE123` if it has none here (RFC 3597 section 5).
fn type_text(qtype: u16) -> Cow<'static, str> {
    let name = match qtype {
        rtype::HINFO => "HINFO",
        35 => "NAPTR",
        rtype::DNAME => "DNAME",
        44 => "SSHFP",
        257 => "CAA",
        _ => type_label(qtype),
    };
    match name {
        "other" => Cow::Owned(format!("TYPE{qtype}")),
        name => Cow::Borrowed(name),
    }
}

/// The name of a class; `CLASS123` if it has none here.
fn class_text(qclass: u16) -> Cow<'static, str> {
    match qclass {
        class::IN => Cow::Borrowed("IN"),
        class::CH => Cow::Borrowed("CH"),
        4 => Cow::Borrowed("HS"),
        254 => Cow::Borrowed("NONE"),
        255 => Cow::Borrowed("ANY"),
        _ => Cow::Owned(format!("CLASS{qclass}")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::{ListenerId, Reason};

    /// A query for `name` (wire form) of type A with the ID 29008, RD set.
    fn packet(name: &[u8], additional: &[u8]) -> Vec<u8> {
        let additional_count = u8::from(!additional.is_empty());
        let mut packet = vec![0x71, 0x50, 1, 0, 0, 1, 0, 0, 0, 0, 0, additional_count];
        packet.extend_from_slice(name);
        packet.extend_from_slice(&[0, 1, 0, 1]);
        packet.extend_from_slice(additional);
        packet
    }

    const EXAMPLE: &[u8] = b"\x07eXample\x03org\0";
    const OPT_4096: &[u8] = &[0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0];

    /// A reply's header: QR, RD and RA set, with these counts.
    fn reply(answers: u8, authorities: u8) -> Vec<u8> {
        vec![0x71, 0x50, 0x81, 0x80, 0, 1, 0, answers, 0, authorities, 0, 0]
    }

    fn facts(rcode: u8) -> Facts {
        Facts {
            block: None,
            qtype: 1,
            rcode,
            dnssec_ok: false,
            source: Source::Forward,
            shortcut: Shortcut::NotAnExpansion,
        }
    }

    fn with_line<T>(
        packet: &[u8],
        facts: &Facts,
        reply: &[u8],
        look: impl Fn(&Line<'_>) -> T,
    ) -> T {
        let query = Query {
            packet,
            source: ([10, 0, 0, 7], 50759).into(),
            listener: ListenerId(0),
            transport: Transport::Udp,
        };
        let asked = Asked::read(packet);
        let request_len = packet.len();
        let (duration_us, shortcuts) = (123, true);
        look(&Line { asked, query: &query, facts, request_len, reply, duration_us, shortcuts })
    }

    fn text(packet: &[u8], facts: &Facts, reply: &[u8]) -> String {
        with_line(packet, facts, reply, |line| line.to_string())
    }

    #[test]
    fn a_line_is_in_the_common_format() {
        assert_eq!(
            text(&packet(EXAMPLE, OPT_4096), &facts(0), &reply(1, 0)),
            "10.0.0.7:50759 - 29008 \"A IN example.org. udp 40 false 4096\" NOERROR qr,rd,ra 12 \
             0.000123s"
        );
    }

    #[test]
    fn tcp_and_ipv6_are_shown() {
        let packet = packet(EXAMPLE, &[]);
        let query = Query {
            packet: &packet,
            source: ([0, 0, 0, 0, 0, 0, 0, 1], 53000).into(),
            listener: ListenerId(0),
            transport: Transport::Tcp,
        };
        let facts = Facts { dnssec_ok: true, ..facts(2) };
        let reply = reply(0, 0);
        let asked = Asked::read(&packet);
        let line = Line {
            asked,
            query: &query,
            facts: &facts,
            request_len: 29,
            reply: &reply,
            duration_us: 2_500_000,
            shortcuts: false,
        };
        assert_eq!(
            line.to_string(),
            "[::1]:53000 - 29008 \"A IN example.org. tcp 29 true 65535\" SERVFAIL qr,rd,ra 12 \
             2.500000s"
        );
    }

    #[test]
    fn a_line_ends_with_the_shortcut_if_it_is_asked_for() {
        let (packet, reply) = (packet(EXAMPLE, &[]), reply(0, 1));
        for (shortcut, end) in [
            (Shortcut::NotAnExpansion, "s"),
            (Shortcut::Cut { is_spared: true }, "s search=cut"),
            (Shortcut::Cut { is_spared: false }, "s search=cut"),
            (Shortcut::Rewritten { skipped: 4, spared: 0 }, "s search=rewritten:4"),
            (Shortcut::NotTaken(Reason::Exists), "s search=none:exists"),
            (Shortcut::NotTaken(Reason::NoNamespace), "s search=none:no-namespace"),
        ] {
            let facts = Facts { shortcut, ..facts(3) };
            let shown = with_line(&packet, &facts, &reply, |line| line.to_string());
            assert!(shown.ends_with(&format!("0.000123{end}")), "{shown}");
            let plain = with_line(&packet, &facts, &reply, |line| {
                Line { asked: Asked::read(&packet), shortcuts: false, ..*line }.to_string()
            });
            assert!(plain.ends_with("0.000123s"), "{plain}");
        }
    }

    #[test]
    fn names_cannot_break_the_line() {
        let line = text(&packet(b"\x05a\"\n\x1b\xff\0", &[]), &facts(3), &reply(0, 1));
        assert!(line.contains("\"A IN a\\\"\\010\\027\\255. udp"), "{line}");
    }

    #[test]
    fn what_cannot_be_read_is_a_dash() {
        assert_eq!(
            text(&[1, 2, 3], &facts(1), &[]),
            "10.0.0.7:50759 - 258 \"- - - udp 3 false 512\" FORMERR - 0 0.000123s"
        );
    }

    #[test]
    fn unknown_types_and_classes_are_numbers() {
        assert_eq!(type_text(65280), "TYPE65280");
        assert_eq!(type_text(64), "SVCB");
        assert_eq!(type_text(257), "CAA");
        assert_eq!(class_text(77), "CLASS77");
    }

    #[test]
    fn classes_are_told_apart_as_by_coredns() {
        let class = |rcode, reply: &[u8]| {
            with_line(&packet(EXAMPLE, &[]), &facts(rcode), reply, |line| line.class())
        };
        assert_eq!(class(0, &reply(1, 0)), Class::Success);
        assert_eq!(class(0, &reply(1, 1)), Class::Success);
        assert_eq!(class(0, &reply(0, 1)), Class::Denial);
        assert_eq!(class(3, &reply(0, 1)), Class::Denial);
        assert_eq!(class(0, &reply(0, 0)), Class::Success);
        for rcode in [1, 2, 4, 5, 16] {
            assert_eq!(class(rcode, &reply(0, 0)), Class::Error);
        }
        let mut truncated = reply(0, 1);
        truncated[2] |= TC;
        assert_eq!(class(0, &truncated), Class::Success);
    }

    #[test]
    fn zones_and_classes_select_lines() {
        let zone = |text| Name::from_text(text).expect("a well-formed name");
        let log =
            |zones, denial| Log { zones, success: false, denial, error: false, shortcuts: false };
        let wanted_with = |log: &Log| {
            with_line(&packet(EXAMPLE, &[]), &facts(3), &reply(0, 1), |line| wanted(log, line))
        };
        assert!(wanted_with(&log(vec![], true)));
        assert!(wanted_with(&log(vec![zone("net"), zone("org")], true)));
        assert!(!wanted_with(&log(vec![zone("net")], true)));
        assert!(!wanted_with(&log(vec![], false)));
        let all = Log {
            zones: vec![zone("org")],
            success: true,
            denial: true,
            error: true,
            shortcuts: false,
        };
        assert!(!with_line(&[0; 12], &facts(1), &[], |line| wanted(&all, line)));
    }

    proptest! {
        #[test]
        fn any_bytes_make_one_printable_line(
            packet in proptest::collection::vec(any::<u8>(), 0..600),
            reply in proptest::collection::vec(any::<u8>(), 0..40),
            rcode: u8,
        ) {
            let line = text(&packet, &facts(rcode), &reply);
            prop_assert!(line.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{line:?}");
        }

        #[test]
        fn any_label_leaves_the_quotes_in_place(label in proptest::collection::vec(any::<u8>(), 1..63)) {
            let mut name = vec![label.len() as u8];
            name.extend_from_slice(&label);
            name.push(0);
            let line = text(&packet(&name, &[]), &facts(0), &reply(1, 0));
            let bare = line.replace("\\\\", "").replace("\\\"", "");
            prop_assert_eq!(bare.matches('"').count(), 2, "{}", line);
        }
    }
}
