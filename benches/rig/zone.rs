//! What the upstream answers: a zone of any size, computed from the question.

use super::names::{self, HEADER_LEN, SEARCH, TYPE_A, TYPE_AAAA, ZONE};

/// Asked of the upstream itself: the AAAA record's last eight octets count the questions so far.
pub const COUNTER: &str = "questions.upstream";
/// Addresses and negatives alike, so that nothing expires during a run.
const TTL_SECS: u32 = 3600;
const NAME_MAX: usize = 255;
const RCODE_NXDOMAIN: u8 = 3;
const TYPE_OPT: u16 = 41;

/// A query, as far as it is looked at.
struct Query<'a> {
    packet: &'a [u8],
    /// Where the question ends.
    end: usize,
    /// The name in lower case, as `label.label`, with its length.
    name: [u8; NAME_MAX],
    name_len: usize,
    qtype: u16,
}

/// Writes the reply to `packet` and returns its length; `None` for what is no query.
pub fn answer(packet: &[u8], questions: u64, reply: &mut [u8]) -> Option<usize> {
    let query = Query::read(packet)?;
    let name = &query.name[..query.name_len];
    if name == COUNTER.as_bytes() {
        let mut address = [0; 16];
        address[8..].copy_from_slice(&questions.to_be_bytes());
        return query.positive(reply, &address);
    }
    let Some(first) = below(name, ZONE) else { return query.negative(reply, name) };
    match (number(first), query.qtype) {
        (Some(number), TYPE_A) => query.positive(reply, &names::ipv4(number).octets()),
        (Some(number), TYPE_AAAA) => query.positive(reply, &names::ipv6(number).octets()),
        (Some(_), _) => query.absent(reply, ZONE, 0),
        (None, _) if first.is_empty() => query.absent(reply, ZONE, 0),
        (None, _) => query.absent(reply, ZONE, RCODE_NXDOMAIN),
    }
}

impl<'a> Query<'a> {
    fn read(packet: &'a [u8]) -> Option<Self> {
        let is_query = packet.len() > HEADER_LEN && packet[2] & 0x80 == 0;
        if !is_query || packet[4..6] != [0, 1] {
            return None;
        }
        let (mut name, mut name_len, mut at) = ([0; NAME_MAX], 0, HEADER_LEN);
        loop {
            let len = usize::from(*packet.get(at)?);
            let label = packet.get(at + 1..at + 1 + len)?;
            at += 1 + len;
            if len == 0 {
                break;
            }
            if name_len > 0 {
                *name.get_mut(name_len)? = b'.';
                name_len += 1;
            }
            let room = name.get_mut(name_len..name_len + len)?;
            room.copy_from_slice(label);
            room.make_ascii_lowercase();
            name_len += len;
        }
        let qtype = packet.get(at..at + 4)?;
        let qtype = u16::from_be_bytes([qtype[0], qtype[1]]);
        Some(Self { packet, end: at + 4, name, name_len, qtype })
    }

    fn positive(&self, reply: &mut [u8], rdata: &[u8]) -> Option<usize> {
        let mut writer = self.head(reply, 0, (1, 0))?;
        writer.put(&[0xc0, HEADER_LEN as u8])?;
        writer.put(&self.qtype.to_be_bytes())?;
        writer.put(&[0, 1])?;
        writer.put(&TTL_SECS.to_be_bytes())?;
        writer.put(&u16::try_from(rdata.len()).ok()?.to_be_bytes())?;
        writer.put(rdata)?;
        self.finish(writer)
    }

    /// For names outside the zone: parents of what exists are there, everything else is not.
    fn negative(&self, reply: &mut [u8], name: &[u8]) -> Option<usize> {
        let domains = SEARCH.iter().chain([&ZONE, &COUNTER]);
        let is_parent = name.is_empty()
            || domains.into_iter().any(|domain| {
                domain
                    .as_bytes()
                    .strip_suffix(name)
                    .is_some_and(|front| front.is_empty() || front.ends_with(b"."))
            });
        let rcode = if is_parent { 0 } else { RCODE_NXDOMAIN };
        let zones = ["cluster.local", "ec2.internal"];
        let zone = zones.into_iter().find(|zone| below(name, zone).is_some());
        self.absent(reply, zone.unwrap_or_default(), rcode)
    }

    /// No records: the SOA of `zone`, the empty string being the root.
    fn absent(&self, reply: &mut [u8], zone: &str, rcode: u8) -> Option<usize> {
        let zone_len = if zone.is_empty() { 0 } else { zone.len() + 1 };
        let owner_at = self.end - 4 - 1 - zone_len;
        let mut writer = self.head(reply, rcode, (0, 1))?;
        match zone {
            "" => writer.put(&[0])?,
            _ => writer.put(&(0xc000 | u16::try_from(owner_at).ok()?).to_be_bytes())?,
        }
        writer.put(&[0, 6, 0, 1])?;
        writer.put(&TTL_SECS.to_be_bytes())?;
        // MNAME ns., RNAME root., then serial, refresh, retry, expire and minimum.
        writer.put(&[0, 30])?;
        writer.put(b"\x02ns\x00\x04root\x00")?;
        for number in [1, 7200, 1800, 86_400, TTL_SECS] {
            writer.put(&number.to_be_bytes())?;
        }
        self.finish(writer)
    }

    fn head<'r>(
        &self,
        reply: &'r mut [u8],
        rcode: u8,
        (answers, authorities): (u8, u8),
    ) -> Option<Writer<'r>> {
        let mut writer = Writer { reply, len: 0 };
        writer.put(&self.packet[..2])?;
        // QR, AA and the query's RD; RA.
        writer.put(&[0x84 | self.packet[2] & 1, 0x80 | rcode])?;
        writer.put(&[0, 1, 0, answers, 0, authorities, 0, 0])?;
        writer.put(&self.packet[HEADER_LEN..self.end])?;
        Some(writer)
    }

    /// Adds an OPT record if the query had one.
    fn finish(&self, mut writer: Writer<'_>) -> Option<usize> {
        let rest = &self.packet[self.end..];
        let opt = [0, (TYPE_OPT >> 8) as u8, TYPE_OPT as u8];
        if self.packet[10..12] == [0, 1] && rest.starts_with(&opt) {
            writer.put(&opt)?;
            writer.put(&[0x04, 0xd0, 0, 0, 0, 0, 0, 0])?;
            writer.reply[11] = 1;
        }
        Some(writer.len)
    }
}

/// A reply being written; `None` where it does not fit.
struct Writer<'a> {
    reply: &'a mut [u8],
    len: usize,
}

impl Writer<'_> {
    fn put(&mut self, octets: &[u8]) -> Option<()> {
        self.reply.get_mut(self.len..self.len + octets.len())?.copy_from_slice(octets);
        self.len += octets.len();
        Some(())
    }
}

/// What stands before `.zone` in `name` (nothing for the zone itself); `None` outside it.
fn below<'a>(name: &'a [u8], zone: &str) -> Option<&'a [u8]> {
    let front = name.strip_suffix(zone.as_bytes())?;
    match front {
        [] => Some(front),
        _ => front.strip_suffix(b"."),
    }
}

/// The number of a name that exists: a letter other than `x` and eight digits.
fn number(label: &[u8]) -> Option<u32> {
    let (letter, digits) = label.split_first()?;
    let is_name = letter.is_ascii_lowercase() && *letter != b'x' && digits.len() == 8;
    let digit = |number: u32, digit: &u8| {
        digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0'))
    };
    if is_name { digits.iter().try_fold(0, digit) } else { None }
}
