//! Names outside the cluster: zones that answer as RFC 1034 section 4.3.2 says.

use std::collections::{BTreeMap, BTreeSet};

use super::world::{Found, domain_name, rtype, text_of};
use crate::harness::message::{DomainName, Record};

/// All zones outside the cluster domain; what no zone holds is denied by the root.
#[derive(Debug, Clone)]
pub struct Records {
    zones: BTreeSet<String>,
    by_name: BTreeMap<String, Vec<Record>>,
    /// Names with something below them, which therefore exist.
    parents: BTreeSet<String>,
    negative_ttl_secs: u32,
}

impl Records {
    pub fn new(negative_ttl_secs: u32) -> Self {
        let (zones, by_name, parents) = Default::default();
        Self { zones, by_name, parents, negative_ttl_secs }
    }

    /// Adds a zone with a line `NAME TYPE DATA` for each record; `*.REST` stands for every name
    /// below REST that is not there itself.
    pub fn add(&mut self, zone: &str, lines: &str, ttl_secs: u32) {
        self.zones.insert(zone.to_owned());
        self.note_parents(&format!("apex.{zone}"));
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (name, rest) = line.split_once(' ').expect("a name and more");
            let record = Record::from_text(&format!("{name} {ttl_secs} {rest}"));
            let record = record.unwrap_or_else(|e| panic!("{line}: {e}"));
            self.note_parents(name);
            self.by_name.entry(name.to_owned()).or_default().push(record);
        }
    }

    fn note_parents(&mut self, name: &str) {
        let mut rest = name;
        while let Some((_, parent)) = rest.split_once('.') {
            self.parents.insert(parent.to_owned());
            rest = parent;
        }
        self.parents.insert(String::new());
    }

    /// What is at `name` for one type.
    pub fn find(&self, name: &str, qtype: u16) -> Found {
        if qtype == rtype::SOA && self.zones.contains(name) {
            return Found::Records(vec![self.soa_above(name)]);
        }
        let Some(records) = self.at(name) else {
            return if self.parents.contains(name) { Found::NoData } else { Found::NoName };
        };
        if let Some(alias) = records.iter().find(|record| record.rtype == rtype::CNAME) {
            return Found::Alias(text_of(&DomainName(alias.data.clone())));
        }
        let fitting = records.iter().filter(|record| record.rtype == qtype);
        let renamed = |record: &Record| Record { name: domain_name(name), ..record.clone() };
        let records: Vec<Record> = fitting.map(renamed).collect();
        if records.is_empty() { Found::NoData } else { Found::Records(records) }
    }

    fn at(&self, name: &str) -> Option<&Vec<Record>> {
        if self.by_name.contains_key(name) || self.parents.contains(name) {
            return self.by_name.get(name);
        }
        // The closest name that exists says whether there is a wildcard (RFC 4592 section 3.3.1).
        let mut rest = name;
        while let Some((_, parent)) = rest.split_once('.') {
            if self.parents.contains(parent) || self.by_name.contains_key(parent) {
                return self.by_name.get(&format!("*.{parent}"));
            }
            rest = parent;
        }
        None
    }

    /// The SOA of the zone a name is in.
    pub fn soa_above(&self, name: &str) -> Record {
        let mut zone = name;
        while !self.zones.contains(zone) {
            zone = zone.split_once('.').map_or("", |(_, parent)| parent);
            if zone.is_empty() {
                break;
            }
        }
        let owner = if zone.is_empty() { "." } else { zone };
        let ttl_secs = self.negative_ttl_secs;
        let text = format!(
            "{owner} {ttl_secs} SOA ns.example.net hostmaster.example.net 1 7200 1800 86400 {ttl_secs}"
        );
        Record::from_text(&text).expect("a well-formed SOA")
    }
}
