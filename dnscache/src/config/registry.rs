//! Record types, classes and response codes by name (IANA DNS parameters), as a Corefile writes them.

/// The number of a record type: a name in any case, or `TYPE123` (RFC 3597 section 5).
pub fn record_type(name: &str) -> Option<u16> {
    let name = name.to_ascii_uppercase();
    let known = RECORD_TYPES.iter().find(|(known, _)| *known == name);
    known.map(|&(_, number)| number).or_else(|| {
        let digits = name.strip_prefix("TYPE")?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    })
}

/// The name of a record type, which [`record_type`] reads back.
pub fn record_type_name(number: u16) -> String {
    let known = RECORD_TYPES.iter().find(|(_, known)| *known == number);
    known.map_or_else(|| format!("TYPE{number}"), |(name, _)| (*name).to_owned())
}

/// The number of a class: a name in any case, or `CLASS123` (RFC 3597 section 5).
pub fn class_number(name: &str) -> Option<u16> {
    let name = name.to_ascii_uppercase();
    let known = CLASSES.iter().find(|(known, _)| *known == name);
    known.map(|&(_, number)| number).or_else(|| {
        let digits = name.strip_prefix("CLASS")?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    })
}

/// The name of a class, which [`class_number`] reads back.
pub fn class_name(number: u16) -> String {
    let known = CLASSES.iter().find(|(_, known)| *known == number);
    known.map_or_else(|| format!("CLASS{number}"), |(name, _)| (*name).to_owned())
}

const CLASSES: [(&str, u16); 5] = [("IN", 1), ("CH", 3), ("HS", 4), ("NONE", 254), ("ANY", 255)];

/// The number of a response code by its name, in any case.
pub fn response_code(name: &str) -> Option<u16> {
    let name = name.to_ascii_uppercase();
    RESPONSE_CODES.iter().find(|(known, _)| *known == name).map(|&(_, number)| number)
}

/// The names [`response_code`] knows.
pub fn response_code_names() -> impl Iterator<Item = &'static str> {
    RESPONSE_CODES.iter().map(|(name, _)| *name)
}

const RESPONSE_CODES: [(&str, u16); 20] = [
    ("NOERROR", 0),
    ("FORMERR", 1),
    ("SERVFAIL", 2),
    ("NXDOMAIN", 3),
    ("NOTIMP", 4),
    ("REFUSED", 5),
    ("YXDOMAIN", 6),
    ("YXRRSET", 7),
    ("NXRRSET", 8),
    ("NOTAUTH", 9),
    ("NOTZONE", 10),
    ("BADSIG", 16),
    ("BADVERS", 16),
    ("BADKEY", 17),
    ("BADTIME", 18),
    ("BADMODE", 19),
    ("BADNAME", 20),
    ("BADALG", 21),
    ("BADTRUNC", 22),
    ("BADCOOKIE", 23),
];

const RECORD_TYPES: [(&str, u16); 78] = [
    ("A", 1),
    ("NS", 2),
    ("MD", 3),
    ("MF", 4),
    ("CNAME", 5),
    ("SOA", 6),
    ("MB", 7),
    ("MG", 8),
    ("MR", 9),
    ("NULL", 10),
    ("PTR", 12),
    ("HINFO", 13),
    ("MINFO", 14),
    ("MX", 15),
    ("TXT", 16),
    ("RP", 17),
    ("AFSDB", 18),
    ("X25", 19),
    ("ISDN", 20),
    ("RT", 21),
    ("SIG", 24),
    ("KEY", 25),
    ("PX", 26),
    ("GPOS", 27),
    ("AAAA", 28),
    ("LOC", 29),
    ("NXT", 30),
    ("EID", 31),
    ("NIMLOC", 32),
    ("SRV", 33),
    ("ATMA", 34),
    ("NAPTR", 35),
    ("KX", 36),
    ("CERT", 37),
    ("A6", 38),
    ("DNAME", 39),
    ("OPT", 41),
    ("APL", 42),
    ("DS", 43),
    ("SSHFP", 44),
    ("IPSECKEY", 45),
    ("RRSIG", 46),
    ("NSEC", 47),
    ("DNSKEY", 48),
    ("DHCID", 49),
    ("NSEC3", 50),
    ("NSEC3PARAM", 51),
    ("TLSA", 52),
    ("SMIMEA", 53),
    ("HIP", 55),
    ("NINFO", 56),
    ("RKEY", 57),
    ("TALINK", 58),
    ("CDS", 59),
    ("CDNSKEY", 60),
    ("OPENPGPKEY", 61),
    ("CSYNC", 62),
    ("ZONEMD", 63),
    ("SVCB", 64),
    ("HTTPS", 65),
    ("SPF", 99),
    ("NID", 104),
    ("L32", 105),
    ("L64", 106),
    ("LP", 107),
    ("EUI48", 108),
    ("EUI64", 109),
    ("TKEY", 249),
    ("TSIG", 250),
    ("IXFR", 251),
    ("AXFR", 252),
    ("MAILB", 253),
    ("MAILA", 254),
    ("ANY", 255),
    ("URI", 256),
    ("CAA", 257),
    ("AVC", 258),
    ("DLV", 32769),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_names_and_numbers() {
        for (name, number) in [
            ("A", Some(1)),
            ("aaaa", Some(28)),
            ("TYPE65", Some(65)),
            ("type65535", Some(65535)),
            ("TYPE65536", None),
            ("TYPE", None),
            ("TYPE+1", None),
            ("", None),
            ("*", None),
        ] {
            assert_eq!(record_type(name), number, "{name:?}");
        }
    }

    #[test]
    fn names_and_numbers_are_listed_once() {
        let mut names: Vec<_> = RECORD_TYPES.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), RECORD_TYPES.len());
        assert!(RECORD_TYPES.is_sorted_by_key(|(_, number)| *number));
    }

    #[test]
    fn response_codes_have_names() {
        for (name, number) in [
            ("SERVFAIL", Some(2)),
            ("nxdomain", Some(3)),
            ("BADVERS", Some(16)),
            ("", None),
            ("2", None),
        ] {
            assert_eq!(response_code(name), number, "{name:?}");
        }
    }
}
