//! Questions and what upstream says to them, as bytes: the compressed messages a real server
//! sends, made from a label so that there can be a million of them.

/// Types, as far as they are asked here.
pub mod qtype {
    pub const A: u16 = 1;
    pub const CNAME: u16 = 5;
    pub const SOA: u16 = 6;
    pub const ANY: u16 = 255;
}

const HEADER_LEN: usize = 12;
const NXDOMAIN: u8 = 3;
/// The TTL of every record, in seconds.
pub const TTL_SECS: u32 = 3_600;
/// An OPT record: 1,232 octets, DO set.
const OPT_WITH_DO: &[u8] = b"\0\0\x29\x04\xd0\0\0\x80\0\0\0";

/// A recursive query for `<label>.<zone>.`; the zone is one label, `label` may be several.
pub fn query(label: &str, zone: &str, qtype: u16) -> Vec<u8> {
    let header = [0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    [&header[..], &question(label, zone, qtype)].concat()
}

/// The same query from a client that wants DNSSEC records.
pub fn with_dnssec_ok(mut query: Vec<u8>) -> Vec<u8> {
    query[11] = 1;
    query.extend_from_slice(OPT_WITH_DO);
    query
}

fn question(label: &str, zone: &str, qtype: u16) -> Vec<u8> {
    let class = 1_u16.to_be_bytes();
    let labels = label.split('.').map(wire_label).collect::<Vec<_>>().concat();
    [&labels, &wire_label(zone), &[0][..], &qtype.to_be_bytes(), &class].concat()
}

fn wire_label(label: &str) -> Vec<u8> {
    [&[label.len() as u8], label.as_bytes()].concat()
}

/// What upstream says to an A question about `<label>.example.`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saying {
    /// This many addresses.
    Addresses(u8),
    /// Aliases, each of the next, and addresses of the last.
    Chain { aliases: u8, addresses: u8 },
    /// NXDOMAIN with the zone's SOA.
    NoName,
    /// NOERROR with nothing but the zone's SOA.
    NoData,
}

impl Saying {
    /// The whole message.
    pub fn message(self, label: &str) -> Vec<u8> {
        self.message_in(label, "example")
    }

    /// The whole message about a name of another zone.
    pub fn message_in(self, label: &str, zone: &str) -> Vec<u8> {
        let mut writer = Writer::new(label, zone);
        match self {
            Self::Addresses(count) => writer.addresses(HEADER_LEN, count),
            Self::Chain { aliases, addresses } => {
                let last = (0..aliases).fold(HEADER_LEN, |owner, number| {
                    let target = [&wire_label(&format!("alias-{number}")), &writer.zone()[..]];
                    writer.record(owner, qtype::CNAME, &target.concat())
                });
                writer.addresses(last, addresses);
            }
            Self::NoName => writer.denial(NXDOMAIN),
            Self::NoData => writer.denial(0),
        }
        writer.message
    }
}

/// Writes one response.
struct Writer {
    message: Vec<u8>,
    /// Where the zone's name stands in the question.
    zone_at: usize,
}

impl Writer {
    fn new(label: &str, zone: &str) -> Self {
        let header = [0, 7, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0];
        let message = [&header[..], &question(label, zone, qtype::A)].concat();
        Self { message, zone_at: HEADER_LEN + 1 + label.len() }
    }

    /// A pointer to the zone's name.
    fn zone(&self) -> [u8; 2] {
        pointer(self.zone_at)
    }

    fn addresses(&mut self, owner_at: usize, count: u8) {
        (1..=count).for_each(|last| {
            self.record(owner_at, qtype::A, &[192, 0, 2, last]);
        });
    }

    fn denial(&mut self, rcode: u8) {
        let mailbox = [&wire_label("hostmaster"), &self.zone()[..]].concat();
        let numbers = [1, 7_200, 900, 86_400, TTL_SECS].map(u32::to_be_bytes).concat();
        let data = [&wire_label("ns"), &self.zone()[..], &mailbox, &numbers].concat();
        self.record(self.zone_at, qtype::SOA, &data);
        self.message[3] |= rcode;
        // It is the only record, and stands in the authority section.
        self.message.swap(7, 9);
    }

    /// Adds a record to the answer; returns where its data stands, for the next to point to.
    fn record(&mut self, owner_at: usize, rtype: u16, data: &[u8]) -> usize {
        let words = [rtype, 1].map(u16::to_be_bytes).concat();
        let data_len = (data.len() as u16).to_be_bytes();
        self.message.extend_from_slice(&pointer(owner_at));
        self.message.extend([&words[..], &TTL_SECS.to_be_bytes(), &data_len].concat());
        let data_at = self.message.len();
        self.message.extend_from_slice(data);
        self.message[7] += 1;
        data_at
    }
}

/// A compressed name that points to `at` (RFC 1035 section 4.1.4).
fn pointer(at: usize) -> [u8; 2] {
    (0xc000 | at as u16).to_be_bytes()
}
