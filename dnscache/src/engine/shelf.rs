//! What outlives a configuration: the stores, the numbers of routes and listen addresses.
//!
//! A reload assembles a new [`Engine`] from the same shelf, so it finds the cache it had. Nothing
//! here does I/O: an engine for a test is assembled the same way.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arc_swap::ArcSwap;

use super::block::{Block, BlockCache};
use super::cache::shared::{Limit, Store, Usage};
use super::policy::hosts::HostsTable;
use super::policy::hot::HotNames;
use super::policy::loops::LoopProbe;
use super::policy::route::{Route, RouteHealth, ZoneTable};
use super::policy::search::SearchPolicy;
use super::policy::search::state::SearchState;
use super::wire::name::Name;
use super::{BlockId, Engine, Listener, ListenerId, RouteId};
use crate::config::{self, AclRule, Config};

/// Octets all stores together may hold unless `cache { size }` says otherwise.
pub const CACHE_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;
/// Octets set aside for each entry of a store with a capacity in entries: a little more than what
/// answers usually take, so that the capacity is what bounds it.
const CAPACITY_ENTRY_BYTES: u64 = 1_024;

/// Octets that a capacity gets at least, if it asks for as many, however much others ask for.
const SHARE_MIN: u64 = 64 * 1024;

/// Routes of earlier configurations that are remembered, so that going back to one finds its
/// answers; when there are more, only those in use stay.
const ROUTES_REMEMBERED: usize = 1_024;

/// What outlives a configuration. A clone shares the stores; making an engine from it changes the
/// clone alone, which takes the original's place once the engine is in force.
#[derive(Debug, Default, Clone)]
pub struct Shelf {
    shared: Option<Store>,
    /// Stores of blocks with a capacity of their own, by what they are for.
    stores: HashMap<String, Store>,
    routes: HashMap<String, (RouteId, Arc<RouteHealth>)>,
    routes_made: u32,
    listeners: Vec<SocketAddr>,
    /// What was found out about search lists, by block and cluster domain.
    searches: HashMap<String, Arc<SearchState>>,
    /// The names asked most, and how many are followed.
    hot: Option<(usize, Arc<HotNames>)>,
}

/// What an engine needs to know that no configuration says.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The host's name, for `id.server`.
    pub host: String,
    /// An unpredictable number, for the names of `loop` probes; another one for each engine.
    pub random: u64,
}

/// A store and what it is for, for whoever counts.
#[derive(Debug, Clone)]
pub struct Shelved {
    /// What it is for: `shared`, or the zones and kind of the block it belongs to.
    pub purpose: String,
    /// How full it is.
    pub usage: Usage,
    /// Its bounds.
    pub limit: Limit,
}

impl Shelf {
    /// Makes the engine of a configuration.
    pub fn assemble(&mut self, config: &Config, surroundings: &Surroundings) -> Engine {
        let stores = self.stores_for(config);
        let mut taken = Vec::new();
        let common = common_acl(config);
        let blocks: Vec<Block> = config
            .blocks
            .iter()
            .zip(stores)
            .enumerate()
            .map(|(index, (block, cache))| Block {
                routes: self.routes_of(block, &mut taken),
                cache,
                hosts: block
                    .hosts
                    .as_ref()
                    .map(|hosts| Arc::new(ArcSwap::from_pointee(inline_table(hosts)))),
                probe: block
                    .detect_loop
                    .then(|| Arc::new(LoopProbe::new(probe_name(block, surroundings, index)))),
                search: block.search.as_ref().map(|search| self.search_of(block, search)),
                has_own_acl: !block.acl.is_empty() && common != Some(&block.acl[..]),
                config: block.clone(),
            })
            .collect();
        if self.routes.len() > ROUTES_REMEMBERED {
            self.routes.retain(|_, (id, _)| taken.contains(id));
        }
        let listeners = self.listeners_of(config);
        let has_tables = blocks.iter().any(has_say);
        Engine {
            blocks,
            listeners,
            host: surroundings.host.clone(),
            shared: self.shared.clone(),
            hot: config.hot.as_ref().map(|hot| self.hot_of(hot.size)),
            host_domains: host_domains(config),
            learned: AtomicU64::new(0),
            has_enclaves: has_enclaves(config),
            has_tables,
        }
    }

    fn search_of(&mut self, block: &config::Block, search: &config::SearchPath) -> SearchPolicy {
        let purpose = format!("{} {} {}", block.server_label, zones_label(block), search.domain);
        let state = self.searches.entry(purpose).or_default();
        // Whatever is different now, from the search list to an `acl`, counts at once.
        state.renounce();
        SearchPolicy::new(search.clone(), Arc::clone(state))
    }

    /// The table of this size; another size starts anew, which costs a minute of counting.
    fn hot_of(&mut self, size: usize) -> Arc<HotNames> {
        if self.hot.as_ref().is_none_or(|(known, _)| *known != size) {
            self.hot = Some((size, Arc::new(HotNames::new(size))));
        }
        self.hot.as_ref().map(|(_, hot)| Arc::clone(hot)).expect("it was made above")
    }

    /// The number of a listen address; the same for every configuration.
    pub fn listener(&mut self, address: SocketAddr) -> ListenerId {
        let known = self.listeners.iter().position(|listener| *listener == address);
        let index = known.unwrap_or_else(|| {
            self.listeners.push(address);
            self.listeners.len() - 1
        });
        ListenerId(index as u16)
    }

    /// Every store and how full it is.
    pub fn stores(&self) -> Vec<Shelved> {
        let shelved = |purpose: &str, store: &Store| Shelved {
            purpose: purpose.to_owned(),
            usage: store.usage(),
            limit: store.limit(),
        };
        let shared = self.shared.iter().map(|store| shelved("shared", store));
        shared.chain(self.stores.iter().map(|(purpose, store)| shelved(purpose, store))).collect()
    }

    fn listeners_of(&mut self, config: &Config) -> Vec<Listener> {
        let mut tables: HashMap<ListenerId, ZoneTable> = HashMap::new();
        for (index, block) in config.blocks.iter().enumerate() {
            for address in &block.listen {
                let table = tables.entry(self.listener(*address)).or_default();
                for zone in &block.zones {
                    table.add(zone.clone(), BlockId(index as u16));
                }
            }
        }
        self.listeners
            .iter()
            .enumerate()
            .map(|(index, address)| Listener {
                address: *address,
                zones: tables.remove(&ListenerId(index as u16)).unwrap_or_default(),
            })
            .collect()
    }

    /// The ways of a block, longest zone first. `taken` are the numbers that other blocks of this
    /// configuration already have: two blocks that forward alike still have options of their own.
    fn routes_of(&mut self, block: &config::Block, taken: &mut Vec<RouteId>) -> Vec<Route> {
        let mut routes: Vec<Route> = block
            .forwards
            .iter()
            .map(|forward| {
                let (words, id, health) = self.route(block, forward, taken);
                taken.push(id);
                let (from, except) = (forward.from.clone(), forward.except.clone());
                Route { id, words, from, except, health }
            })
            .collect();
        routes.sort_by_key(|route| std::cmp::Reverse(route.from.wire().len()));
        routes
    }

    fn route(
        &mut self,
        block: &config::Block,
        forward: &config::Forward,
        taken: &[RouteId],
    ) -> (Arc<str>, RouteId, Arc<RouteHealth>) {
        let identity = format!("{:?} {:?} {:?}", block.zones, forward.from, forward.to);
        let mut copy = 0;
        loop {
            let made = &mut self.routes_made;
            let words = format!("{identity} {copy}");
            let shared = Arc::from(words.as_str());
            let (id, health) = self.routes.entry(words).or_insert_with(|| {
                let id = RouteId(*made);
                *made += 1;
                (id, Arc::default())
            });
            if !taken.contains(id) {
                return (shared, *id, Arc::clone(health));
            }
            copy += 1;
        }
    }

    /// The stores of each block: the shared one, or one of its own where a capacity is given.
    /// Capacities get at most half of all octets, in proportion; the shared store has the rest.
    fn stores_for(&mut self, config: &Config) -> Vec<Option<BlockCache>> {
        let caches = config.blocks.iter().map(|block| block.cache.as_ref());
        let sizes = caches.clone().flatten().filter_map(|cache| cache.size_bytes);
        let total = sizes.max().unwrap_or(CACHE_BYTES_DEFAULT);
        let capacities =
            caches.flatten().flat_map(|cache| [cache.success.capacity, cache.denial.capacity]);
        let wanted: u64 =
            capacities.flatten().map(|entries| entries.saturating_mul(CAPACITY_ENTRY_BYTES)).sum();
        let granted = wanted.min(total / 2);
        let shared = Limit { bytes_max: total - granted, entries_max: None };
        let shared = resized(self.shared.take(), shared);
        self.shared = Some(shared.clone());
        let scale = |entries: u64| {
            let bytes = u128::from(entries.saturating_mul(CAPACITY_ENTRY_BYTES));
            let share = (bytes * u128::from(granted) / u128::from(wanted.max(1))) as u64;
            share.max(SHARE_MIN.min(bytes as u64))
        };
        let mut earlier = std::mem::take(&mut self.stores);
        let mut store_of = |block: &config::Block, kind: &str, part: &config::CachePart| {
            let Some(entries) = part.capacity else {
                return shared.clone();
            };
            let purpose = format!("{} {} {kind}", block.server_label, zones_label(block));
            let limit = Limit { bytes_max: scale(entries), entries_max: Some(entries) };
            let store = resized(earlier.remove(&purpose), limit);
            self.stores.insert(purpose, store.clone());
            store
        };
        let cache_of = |block: &config::Block| {
            let config = block.cache.clone()?;
            let success = store_of(block, "success", &config.success);
            let denial = store_of(block, "denial", &config.denial);
            Some(BlockCache { config, success, denial })
        };
        config.blocks.iter().map(cache_of).collect()
    }
}

/// Whether a directive of a block may have a say in what is known of a name.
fn has_say(block: &Block) -> bool {
    let Block { config, has_own_acl, .. } = block;
    let alters =
        !config.rewrites.is_empty() || !config.templates.is_empty() || config.dns64.is_some();
    alters || config.hosts.is_some() || *has_own_acl
}

/// The `acl` of every block with `searchpath`, if it asks for nothing but the client's address: who
/// was let in there is let in wherever the same is written, as under `-client-networks`.
fn common_acl(config: &Config) -> Option<&[AclRule]> {
    let mut searching = config.blocks.iter().filter(|block| block.search.is_some());
    let acl = &searching.next()?.acl[..];
    let is_of_clients = acl.iter().all(|rule| rule.zones.is_empty() && rule.qtypes.is_empty());
    (is_of_clients && searching.all(|block| block.acl == acl)).then_some(acl)
}

/// Whether a part of a cluster domain is another block's or another `forward`'s.
fn has_enclaves(config: &Config) -> bool {
    let searches = config.blocks.iter().filter_map(|block| block.search.as_ref());
    let domains: Vec<&Name> = searches.map(|search| &search.domain).collect();
    let is_enclave =
        |zone: &Name| domains.iter().any(|domain| zone != *domain && zone.is_at_or_below(domain));
    config.blocks.iter().any(|block| {
        let forwards = block.forwards.iter();
        let cuts = forwards.flat_map(|forward| forward.except.iter().chain([&forward.from]));
        block.zones.iter().chain(cuts).any(is_enclave)
    })
}

/// The host's search domains, each once.
fn host_domains(config: &Config) -> Vec<Name> {
    let searches = config.blocks.iter().filter_map(|block| block.search.as_ref());
    let mut domains: Vec<Name> =
        searches.flat_map(|search| search.host_domains.iter().cloned()).collect();
    domains.sort();
    domains.dedup();
    domains
}

/// A store with this bound that holds what `earlier` held.
fn resized(earlier: Option<Store>, limit: Limit) -> Store {
    match earlier {
        Some(store) if store.limit() == limit => store,
        Some(store) => store.resized(limit),
        None => Store::new(limit),
    }
}

/// The zones of a block as metrics show them.
pub fn zones_label(block: &config::Block) -> String {
    block.zones.iter().map(Name::to_string).collect::<Vec<_>>().join(",")
}

fn inline_table(hosts: &config::Hosts) -> HostsTable {
    let mut table = HostsTable::default();
    for (address, names) in &hosts.inline {
        table.add(*address, names.clone());
    }
    table
}

fn probe_name(block: &config::Block, surroundings: &Surroundings, index: usize) -> Name {
    let (high, low) = (surroundings.random >> 32, surroundings.random & 0xffff_ffff);
    let zone = block.zones.first().cloned().unwrap_or_else(Name::root);
    let labels = format!("{high:08x}.{:08x}", low.wrapping_add(index as u64) as u32);
    Name::from_text(&format!(
        "{labels}.{}",
        if zone.is_root() { String::new() } else { zone.to_string() }
    ))
    .or_else(|_| Name::from_text(&labels))
    .expect("two short labels are a name")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::environment::System;
    use crate::config::{Origin, check::check, corefile};

    #[test]
    fn a_small_capacity_keeps_room_beside_a_huge_one() {
        let text = ".:53 {\n cache {\n success 1024\n denial 100000000\n size 1MiB\n }\n}\n";
        let blocks = corefile::parse("Corefile", text, &System).expect("well-formed");
        let config = check(&blocks, Origin::BuiltIn, 53, &System).expect("makes sense");
        let mut shelf = Shelf::default();
        shelf.assemble(&config, &Surroundings { host: String::new(), random: 7 });
        let limits: Vec<_> = shelf.stores().iter().map(|shelved| shelved.limit.bytes_max).collect();
        assert!(limits.iter().all(|bytes| *bytes >= SHARE_MIN), "{limits:?}");
    }
}
