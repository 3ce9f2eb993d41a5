//! Which records of a message belong to the answer. All others are left behind: what a message says
//! about names nobody asked for is no fact (RFC 5452 section 6).

use super::answer::Chain;
use super::header::rtype;
use super::name::{parent, wire_is_at_or_below};
use super::survey::{Record, Survey};
use crate::engine::cache::key::Key;

/// Which records belong to the answer.
pub(super) struct Keep<'s> {
    key: &'s Key,
    survey: &'s Survey,
    chain: &'s Chain<'s>,
    has_data: bool,
    /// The zones the answer comes from: owners of its SOA and NS records, and who signed it. A
    /// wildcard's proof may come with its signer alone (RFC 4035 section 3.1.3.3).
    zones: Vec<&'s [u8]>,
    /// Names that kept answers point to.
    targets: Vec<&'s [u8]>,
}

impl<'s> Keep<'s> {
    /// The rules for an answer to `key` whose aliases are `chain`.
    pub(super) fn new(
        key: &'s Key,
        survey: &'s Survey,
        chain: &'s Chain<'s>,
        has_data: bool,
    ) -> Self {
        let zones = survey.records.iter().filter_map(|record| match record.rtype {
            rtype::SOA | rtype::NS if record.section == 2 => Some(survey.owner(record)),
            // Whoever signs something else in the message proves nothing about this name.
            rtype::RRSIG if record.is_answer() && chain.leads_through(survey.owner(record)) => {
                survey.target(record)
            }
            _ => None,
        });
        let zones = zones.filter(|zone| chain.is_under(zone)).collect();
        let mut keep = Self { key, survey, chain, has_data, zones, targets: Vec::new() };
        let refers = |record: &&Record| {
            matches!(record.rtype, rtype::MX | rtype::SRV | rtype::NS | rtype::SVCB | rtype::HTTPS)
        };
        let targets = survey.answers().filter(|record| keep.wants_answer(record)).filter(refers);
        // A service that is offered at its own name has the root as its target (RFC 9460 section 2.5).
        let pointed_to = |record| match survey.target(record) {
            Some([0]) => Some(survey.owner(record)),
            target => target,
        };
        keep.targets = targets.filter_map(pointed_to).collect();
        keep
    }

    /// Whether a record belongs to the answer.
    pub(super) fn wants(&self, record: &Record) -> bool {
        if record.class != self.key.qclass() || record.rtype == rtype::OPT {
            return false;
        }
        match record.section {
            1 => self.wants_answer(record),
            2 => self.wants_authority(record),
            _ => self.wants_additional(record),
        }
    }

    /// The chain, its end's data, and the signatures over them.
    fn wants_answer(&self, record: &Record) -> bool {
        if record.class != self.key.qclass() {
            return false;
        }
        let owner = self.survey.owner(record);
        match record.rtype {
            rtype::DNAME if self.key.qtype() != rtype::DNAME => {
                self.chain.redirects.contains(&owner)
            }
            rtype::RRSIG if self.key.qtype() != rtype::RRSIG => {
                self.key.dnssec_ok() && self.chain.leads_through(owner)
            }
            other if other == self.key.qtype() => self.has_data && owner == self.chain.end(),
            rtype::CNAME => self.chain.names[..self.chain.names.len() - 1].contains(&owner),
            _ => false,
        }
    }

    /// The zone the answer comes from, and proofs of absence within it.
    fn wants_authority(&self, record: &Record) -> bool {
        let owner = self.survey.owner(record);
        match record.rtype {
            rtype::SOA | rtype::NS => self.chain.is_under(owner),
            rtype::NSEC | rtype::NSEC3 | rtype::RRSIG | rtype::DS => {
                self.key.dnssec_ok() && self.is_proof_owner(owner)
            }
            _ => false,
        }
    }

    /// Whether a proof of this owner lies in one of the answer's zones.
    fn is_proof_owner(&self, owner: &[u8]) -> bool {
        self.zones.iter().any(|zone| wire_is_at_or_below(owner, zone))
    }

    /// Addresses of names the answer points to, as far as they lie below the name asked (service
    /// labels such as `_http._tcp` left away).
    fn wants_additional(&self, record: &Record) -> bool {
        let owner = self.survey.owner(record);
        let is_address = matches!(record.rtype, rtype::A | rtype::AAAA);
        is_address
            && self.targets.contains(&owner)
            && wire_is_at_or_below(owner, host_part(self.key.name()))
    }
}

fn host_part(mut name: &[u8]) -> &[u8] {
    while name[0] > 0 && name[1] == b'_' {
        name = parent(name);
    }
    name
}
