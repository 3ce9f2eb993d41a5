//! Answers that need no upstream: ANY, questions about the server itself, `whoami`, `hosts`.

use std::net::{IpAddr, SocketAddr};

use super::hosts::Found;
use crate::config::Chaos;
use crate::engine::Transport;
use crate::engine::wire::header::{class, flag, rcode, rtype};
use crate::engine::wire::name::{NAME_MAX, labels};
use crate::engine::wire::question::Question;
use crate::engine::wire::reply::{Fixed, Records, Section, Shape};

/// The TTL of the minimal answer to ANY: RFC 8482 section 4.2 leaves it to us; this one is what
/// CoreDNS sends.
const ANY_TTL_SECS: u32 = 8_482;

/// Answers ANY with one HINFO record (RFC 8482 section 4.2).
pub fn any(out: &mut [u8], question: &Question<'_>, shape: Shape) -> usize {
    let fixed = Fixed { rtype: rtype::HINFO, class: class::IN, ttl_secs: ANY_TTL_SECS };
    let mut records = Records::start(out, question, rcode::NOERROR.into(), 0);
    records.add(Section::Answer, &[], fixed, b"\x07RFC8482\x00", records_room(&shape));
    records.finish(shape)
}

/// Answers a TXT question of class CH about the server (RFC 4892); `None` if `chaos` has nothing
/// to say to it.
pub fn chaos(
    out: &mut [u8],
    question: &Question<'_>,
    shape: Shape,
    chaos: &Chaos,
    host: &str,
) -> Option<usize> {
    let name = question.name().to_ascii_lowercase();
    let asked: Vec<&[u8]> = labels(&name).collect();
    let texts: Vec<&str> = match asked.as_slice() {
        [b"version", b"bind" | b"server"] => vec![&chaos.version],
        [b"hostname", b"bind"] | [b"id", b"server"] => vec![host],
        [b"authors", b"bind"] => chaos.authors.iter().map(String::as_str).collect(),
        _ => return None,
    };
    let mut records = Records::start(out, question, rcode::NOERROR.into(), flag::AA);
    let is_text = matches!(question.qtype, rtype::TXT | rtype::ANY);
    for text in texts.iter().filter(|_| is_text) {
        let text = &text.as_bytes()[..text.len().min(255)];
        let rdata = [&[text.len() as u8], text].concat();
        let fixed = Fixed { rtype: rtype::TXT, class: class::CH, ttl_secs: 0 };
        records.add(Section::Answer, &[], fixed, &rdata, records_room(&shape));
    }
    Some(records.finish(shape))
}

/// Tells the client its own address, port and transport in the additional section, as CoreDNS's
/// `whoami` does.
pub fn whoami(
    out: &mut [u8],
    question: &Question<'_>,
    shape: Shape,
    source: SocketAddr,
    transport: Transport,
) -> usize {
    let mut records = Records::start(out, question, rcode::NOERROR.into(), flag::AA);
    let room = records_room(&shape);
    let (rtype, address) = match source.ip().to_canonical() {
        IpAddr::V4(address) => (rtype::A, address.octets().to_vec()),
        IpAddr::V6(address) => (rtype::AAAA, address.octets().to_vec()),
    };
    let fixed = |rtype| Fixed { rtype, class: class::IN, ttl_secs: 0 };
    records.add(Section::Additional, &[], fixed(rtype), &address, room);
    let prefix: &[u8] = match transport {
        Transport::Udp => b"\x04_udp",
        Transport::Tcp => b"\x04_tcp",
    };
    // Priority 0, weight 0, the port, and the root as a target that is not there.
    let service = [&[0, 0, 0, 0][..], &source.port().to_be_bytes(), &[0]].concat();
    if prefix.len() + question.name().len() <= NAME_MAX {
        records.add(Section::Additional, prefix, fixed(rtype::SRV), &service, room);
    }
    records.finish(shape)
}

/// Writes what a hosts table found; `None` when it found nothing.
pub fn hosts(
    out: &mut [u8],
    question: &Question<'_>,
    shape: Shape,
    found: &Found,
    ttl_secs: u32,
) -> Option<usize> {
    let rdatas = match found {
        Found::Records(rdatas) => rdatas.as_slice(),
        Found::NoData => &[],
        Found::Nothing => return None,
    };
    let mut records = Records::start(out, question, rcode::NOERROR.into(), flag::AA);
    for rdata in rdatas {
        let fixed = Fixed { rtype: question.qtype, class: class::IN, ttl_secs };
        records.add(Section::Answer, &[], fixed, rdata, records_room(&shape));
    }
    Some(records.finish(shape))
}

/// What is left for records when the OPT record has its place.
fn records_room(shape: &Shape) -> usize {
    shape.len_max - shape.opt_len()
}
