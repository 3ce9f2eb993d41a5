//! The questions that are asked, and what a right answer to each looks like.
//!
//! Every name is a template with a number in it, so that a zone of any size needs no memory: the
//! same number gives the question, its address and the check of the reply.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The zone whose names exist.
pub const ZONE: &str = "bench.example.com";
/// What a client's resolv.conf lists under `search`: a pod of namespace `default` on EC2.
pub const SEARCH: [&str; 4] =
    ["default.svc.cluster.local", "svc.cluster.local", "cluster.local", "ec2.internal"];

pub const TYPE_A: u16 = 1;
pub const TYPE_AAAA: u16 = 28;
const TYPE_CNAME: u16 = 5;
const TYPE_SOA: u16 = 6;
pub const HEADER_LEN: usize = 12;
/// Digits of a name's number.
const DIGITS: usize = 8;
/// Names of one template: numbers are below it.
pub const NUMBERS: u32 = 100_000_000;

/// One question: a template and the number to put into it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Question {
    /// Position in the scenario's list of templates.
    pub template: u8,
    pub number: u32,
}

/// What a reply must say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// The address that belongs to the number.
    Address,
    /// NXDOMAIN with an SOA.
    Absent,
    /// Either: a search path may be walked by the server or by the client.
    AddressOrAbsent,
    /// The query itself, marked as a response; it counts as [`Said::Absent`].
    Echo,
}

/// What a reply said, as far as it is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    Address,
    Absent,
    Wrong,
}

/// A query with a gap for the number.
#[derive(Debug, Clone)]
pub struct Template {
    /// Header and question; the ID and the digits are filled in.
    packet: Vec<u8>,
    qtype: u16,
    pub expect: Expect,
}

impl Template {
    /// Names `<letter><8 digits>.<parent>`.
    pub fn new(letter: u8, parent: &str, qtype: u16, expect: Expect) -> Self {
        let mut packet = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1 + DIGITS as u8, letter];
        packet.extend([b'0'; DIGITS]);
        for label in parent.split('.') {
            packet.push(u8::try_from(label.len()).expect("labels have at most 63 octets"));
            packet.extend(label.as_bytes());
        }
        packet.push(0);
        packet.extend(qtype.to_be_bytes());
        packet.extend([0, 1]);
        Self { packet, qtype, expect }
    }

    /// Octets of a query.
    pub fn packet_len(&self) -> usize {
        self.packet.len()
    }

    /// Writes the query for `number` into `packet`, which has room for exactly that.
    pub fn write(&self, id: u16, number: u32, packet: &mut [u8]) {
        packet.copy_from_slice(&self.packet);
        packet[..2].copy_from_slice(&id.to_be_bytes());
        packet[DIGITS_AT..DIGITS_AT + DIGITS].copy_from_slice(&digits(number));
    }

    /// What `reply` says about `number`: it must repeat the question and say nothing false.
    pub fn said(&self, reply: &[u8], number: u32) -> Said {
        if !self.is_answer_to(reply, number) {
            return Said::Wrong;
        }
        let said = match self.expect {
            Expect::Echo if reply.len() == self.packet.len() => return Said::Absent,
            Expect::Echo => return Said::Wrong,
            _ => self.read(reply, number).unwrap_or(Said::Wrong),
        };
        match (self.expect, said) {
            (Expect::Address, Said::Absent) | (Expect::Absent, Said::Address) => Said::Wrong,
            (_, said) => said,
        }
    }

    fn is_answer_to(&self, reply: &[u8], number: u32) -> bool {
        let Some(question) = reply.get(HEADER_LEN..self.packet.len()) else { return false };
        let (digits_from, digits_to) = (DIGITS_AT - HEADER_LEN, DIGITS_AT - HEADER_LEN + DIGITS);
        let is_response = reply[2] & 0x80 != 0 && reply[2] & 0x02 == 0;
        is_response
            && question[digits_from..digits_to] == digits(number)
            && question[..digits_from] == self.packet[HEADER_LEN..DIGITS_AT]
            && question[digits_to..] == self.packet[DIGITS_AT + DIGITS..]
    }

    /// Reads the sections after the question; `None` where they end too soon.
    fn read(&self, reply: &[u8], number: u32) -> Option<Said> {
        let (rcode, answers) = (reply[3] & 0x0f, u16::from_be_bytes([reply[6], reply[7]]));
        let mut rest = &reply[self.packet.len()..];
        if rcode == 3 && answers == 0 {
            let has_soa = reply[9] > 0 && record(&mut rest)?.0 == TYPE_SOA;
            return Some(if has_soa { Said::Absent } else { Said::Wrong });
        }
        for _ in 0..answers.min(8) {
            let (rtype, rdata) = record(&mut rest)?;
            if rtype == self.qtype {
                let is_right = rcode == 0 && self.is_address(rdata, number);
                return Some(if is_right { Said::Address } else { Said::Wrong });
            }
            if rtype != TYPE_CNAME {
                break;
            }
        }
        Some(Said::Wrong)
    }

    fn is_address(&self, rdata: &[u8], number: u32) -> bool {
        match self.qtype {
            TYPE_A => rdata == ipv4(number).octets(),
            _ => rdata == ipv6(number).octets(),
        }
    }
}

/// Type and data of the record `rest` begins with; `rest` then begins with the next one.
fn record<'a>(rest: &mut &'a [u8]) -> Option<(u16, &'a [u8])> {
    let mut at = 0;
    loop {
        match *rest.get(at)? {
            0 => break at += 1,
            pointer if pointer >= 0xc0 => break at += 2,
            len => at += 1 + usize::from(len),
        }
    }
    let fixed = rest.get(at..at + 10)?;
    let len = usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
    let rdata = rest.get(at + 10..at + 10 + len)?;
    *rest = &rest[at + 10 + len..];
    Some((u16::from_be_bytes([fixed[0], fixed[1]]), rdata))
}

/// The A record of a number.
pub fn ipv4(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0b00_0000_u32.wrapping_add(number))
}

/// The AAAA record of a number.
pub fn ipv6(number: u32) -> Ipv6Addr {
    Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(number))
}

/// Where the digits stand in a query: after the header, the label's length and its letter.
const DIGITS_AT: usize = HEADER_LEN + 2;

fn digits(number: u32) -> [u8; DIGITS] {
    let mut digits = [b'0'; DIGITS];
    let mut rest = number;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    digits
}
