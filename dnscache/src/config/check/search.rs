//! `searchpath`: how search lists are cut short, and which blocks do so without being told.
//!
//! The directive is read when its server block is, but what it means depends on all of them: the
//! block of the cluster domain has it by default, and only if there is no such block, that of the
//! root.

mod written;

use std::cell::OnceCell;
use std::ops::Range;

use crate::engine::wire::name::Name;

use super::super::corefile::ServerBlock;
use super::super::environment::Environment;
use super::super::{Block, ConfigError, Position, SearchMode, SearchPath, resolv_conf};
use super::Warnings;
use written::{AUDIT_ONE_IN, Written};

/// What each server block says about `searchpath`, with the blocks it became.
#[derive(Default)]
pub(super) struct Searches(Vec<(Range<usize>, Option<Written>)>);

impl Searches {
    /// Reads the directive of one server block, if it is there.
    pub(super) fn read(
        &mut self,
        server: &ServerBlock,
        blocks: Range<usize>,
    ) -> Result<(), ConfigError> {
        let line = server.directives.iter().find(|line| line.name == "searchpath");
        self.0.push((blocks, line.map(Written::read).transpose()?));
        Ok(())
    }

    /// Fills in [`Block::search`] of all blocks, once all are read.
    pub(super) fn fill_in(
        self,
        blocks: &mut [Block],
        environment: &dyn Environment,
        warnings: &mut Warnings,
    ) -> Result<(), ConfigError> {
        let node = Node { environment, search: OnceCell::new() };
        let zone_of_defaults = self.zone_of_defaults(blocks);
        for (range, written) in self.0 {
            match written {
                Some(written) => as_written(written, blocks, range, &node, warnings)?,
                None => by_default(&mut blocks[range], &zone_of_defaults, &node),
            }
        }
        Ok(())
    }

    /// The zone whose blocks cut search lists short without being told: the cluster domain; the
    /// root, if nobody serves that as a zone of its own or has a word about it.
    fn zone_of_defaults(&self, blocks: &[Block]) -> Name {
        let cluster = cluster_domain();
        let is_written = self.0.iter().any(|(_, written)| written.is_some());
        let is_served = blocks.iter().any(|block| block.zones.contains(&cluster));
        if is_written || is_served { cluster } else { Name::root() }
    }
}

/// Gives the blocks in `range` what their server block says.
fn as_written(
    written: Written,
    blocks: &mut [Block],
    range: Range<usize>,
    node: &Node<'_>,
    warnings: &mut Warnings,
) -> Result<(), ConfigError> {
    let Some(mode) = written.mode else {
        return Ok(());
    };
    let own = &blocks[range.clone()];
    let usual = || (usual_domain(own), written.position.clone());
    let (domain, position) = written.domain.unwrap_or_else(usual);
    if !own.iter().any(|block| depth(block, &domain).is_some()) {
        return Err(not_answered_for(&domain, position));
    }
    let listed = written.search.as_deref().unwrap_or_else(|| node.search());
    let search = SearchPath {
        mode,
        host_domains: host_domains(listed, &domain),
        except: written.except,
        audit_one_in: written.audit_one_in,
        domain,
    };
    for index in range {
        if depth(&blocks[index], &search.domain).is_none() {
            continue;
        }
        match hindrance(&blocks[index], blocks, &search.domain) {
            None => blocks[index].search = Some(search.clone()),
            Some(reason) => {
                let text = format!("`searchpath` does nothing {reason}");
                warnings.add(&written.position, text);
            }
        }
    }
    Ok(())
}

/// Why `searchpath` does nothing in `block`, if so.
fn hindrance(block: &Block, blocks: &[Block], domain: &Name) -> Option<String> {
    if let Some(needed) = lacking(block) {
        return Some(format!("without `{needed}`"));
    }
    let is_asked = |other: &&Block| {
        depth(other, domain) > depth(block, domain)
            && block.listen.iter().all(|address| other.listen.contains(address))
    };
    let other = blocks.iter().find(is_asked)?;
    Some(format!("here: {domain} is answered for at {}", other.position))
}

/// Gives the blocks with this zone what `searchpath` means for `cluster.local`.
fn by_default(blocks: &mut [Block], zone: &Name, node: &Node<'_>) {
    for block in blocks {
        if block.zones.contains(zone) && lacking(block).is_none() {
            let domain = cluster_domain();
            block.search = Some(SearchPath {
                mode: SearchMode::Rewrite,
                host_domains: host_domains(node.search(), &domain),
                except: Vec::new(),
                audit_one_in: AUDIT_ONE_IN,
                domain,
            });
        }
    }
}

/// The cluster domain of a server block that names none: its first zone that can be one.
fn usual_domain(blocks: &[Block]) -> Name {
    let reverse = ["in-addr.arpa", "ip6.arpa"].map(known_name);
    let is_reverse = |zone: &Name| reverse.iter().any(|above| zone.is_at_or_below(above));
    let zones = blocks.iter().flat_map(|block| &block.zones);
    let usual = zones.into_iter().find(|zone| !zone.is_root() && !is_reverse(zone));
    usual.cloned().unwrap_or_else(cluster_domain)
}

/// How long the zone is that makes a block answer for `domain`, in octets; `None`: it does not.
fn depth(block: &Block, domain: &Name) -> Option<usize> {
    let above = block.zones.iter().filter(|zone| domain.is_at_or_below(zone));
    above.map(|zone| zone.wire().len()).max()
}

fn not_answered_for(domain: &Name, position: Position) -> ConfigError {
    let found = format!("the search path of `{domain}`, for which this block does not answer");
    let expected = "a block with a zone at or above it, or `domain DOMAIN` at or below its zones";
    ConfigError { position, found, expected: expected.to_owned() }
}

/// The directive without which nothing is known that a search list could be cut short by.
fn lacking(block: &Block) -> Option<&'static str> {
    match (&block.cache, block.forwards.is_empty()) {
        (None, _) => Some("cache"),
        (_, true) => Some("forward"),
        _ => None,
    }
}

/// What of a search list comes after the domains of the cluster.
fn host_domains(listed: &[Name], domain: &Name) -> Vec<Name> {
    let mut domains = Vec::new();
    for listed in listed {
        let is_host = !listed.is_root() && !listed.is_at_or_below(domain);
        if is_host && !domains.contains(listed) {
            domains.push(listed.clone());
        }
    }
    domains
}

/// The machine's own search list, read when it is needed first.
struct Node<'e> {
    environment: &'e dyn Environment,
    search: OnceCell<Vec<Name>>,
}

impl Node<'_> {
    /// Pods inherit this list after that of the cluster. A file that is missing or odd has none.
    fn search(&self) -> &[Name] {
        self.search.get_or_init(|| {
            let text = self.environment.read_file(RESOLV_CONF).unwrap_or_default();
            resolv_conf::parse(&text).search
        })
    }
}

fn cluster_domain() -> Name {
    known_name("cluster.local")
}

/// A name that this file spells.
fn known_name(text: &str) -> Name {
    Name::from_text(text).expect("spelt here without a mistake")
}

const RESOLV_CONF: &str = "/etc/resolv.conf";

#[cfg(test)]
mod tests {
    use super::super::super::environment::Witness;
    use super::super::super::environment::tests::Literal;
    use super::super::super::{Config, Origin, corefile};
    use super::*;

    const NODE: &str = "nameserver 10.0.0.2\nsearch Corp.Example ec2.internal\n";

    fn read(text: &str, environment: &dyn Environment) -> Result<Config, ConfigError> {
        let blocks = corefile::parse("Corefile", text, environment)?;
        super::super::check(&blocks, Origin::BuiltIn, 53, environment)
    }

    fn config(text: &str) -> Config {
        let environment = Literal::default().file(RESOLV_CONF, NODE);
        read(text, &environment).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    /// What the blocks of a Corefile have, `-` for nothing. `USE` stands for `cache` and `forward`.
    fn shown(text: &str) -> Vec<String> {
        let config = config(&text.replace("USE", "cache\nforward . ::1\n"));
        let shown = |search: &SearchPath| format!("{:?} {}", search.mode, search.domain);
        let blocks = config.blocks.iter();
        blocks.map(|block| block.search.as_ref().map_or("-".to_owned(), shown)).collect()
    }

    /// The search path of a `cluster.local` block with this directive.
    fn search(directive: &str) -> SearchPath {
        let text = format!("cluster.local {{\n cache\n forward . ::1\n {directive}\n}}");
        config(&text).blocks.remove(0).search.expect("searchpath")
    }

    fn names(names: &[Name]) -> Vec<String> {
        names.iter().map(Name::to_string).collect()
    }

    #[test]
    fn defaults_are_filled_in() {
        let search = search("searchpath");
        assert_eq!(
            (search.mode, search.domain.to_string()),
            (SearchMode::Rewrite, "cluster.local.".into())
        );
        assert_eq!(names(&search.host_domains), ["corp.example.", "ec2.internal."]);
        assert_eq!((search.except.len(), search.audit_one_in), (0, 100));
    }

    #[test]
    fn the_block_of_the_cluster_needs_no_directive() {
        assert_eq!(search(""), search("searchpath"));
        let text = "cluster.local {\nUSE}\nin-addr.arpa {\nUSE}\n. {\nUSE}";
        assert_eq!(shown(text), ["Rewrite cluster.local.", "-", "-"]);
        let text = "example.org cluster.local {\nUSE}\n. {\nUSE}";
        assert_eq!(shown(text), ["Rewrite cluster.local.", "-"]);
    }

    #[test]
    fn the_root_has_it_if_nobody_else_could() {
        assert_eq!(shown(". {\nUSE}"), ["Rewrite cluster.local."]);
        assert_eq!(shown("example.org {\nUSE}\n. {\nUSE}"), ["-", "Rewrite cluster.local."]);
        assert_eq!(shown("cluster.local {\nerrors\n}\n. {\nUSE}"), ["-", "-"]);
        assert_eq!(shown("a.test {\nUSE searchpath\n}\n. {\nUSE}"), ["Rewrite a.test.", "-"]);
    }

    #[test]
    fn off_is_off_everywhere_but_where_it_is_on() {
        assert_eq!(shown(". {\nUSE searchpath off\n}"), ["-"]);
        assert_eq!(shown("a.test {\nsearchpath off\n}\n. {\nUSE}"), ["-", "-"]);
        let text = "cluster.local {\nUSE}\na.test {\nsearchpath off {\naudit 2%\n}\n}";
        assert_eq!(shown(text), ["Rewrite cluster.local.", "-"]);
        assert_eq!(shown("cluster.local {\nUSE searchpath off\n}\n. {\nUSE}"), ["-", "-"]);
    }

    #[test]
    fn the_first_forward_zone_is_the_domain() {
        for (keys, domain) in [
            ("a.test b.test", "a.test."),
            (". 10.0.0.0/8 fd00::/8 b.test", "b.test."),
            (". in-addr.arpa", "cluster.local."),
        ] {
            let text = format!("{keys} {{\nUSE searchpath cut\n}}");
            assert_eq!(shown(&text), [format!("Cut {domain}")]);
        }
    }

    #[test]
    fn of_several_ports_those_that_answer_for_the_domain_have_it() {
        let text = "a.test:1 a.test:2 b.test:3 {\nUSE searchpath\n}";
        assert_eq!(shown(text), ["Rewrite a.test.", "Rewrite a.test.", "-"]);
    }

    #[test]
    fn the_node_has_search_domains_of_its_own_or_none() {
        let host_domains = |environment: &Literal| {
            let text = ". {\n cache\n forward . ::1\n}";
            let block = read(text, environment).expect("checked").blocks.remove(0);
            names(&block.search.expect("the default").host_domains)
        };
        let with = |text: &str| host_domains(&Literal::default().file(RESOLV_CONF, text));
        assert!(host_domains(&Literal::default()).is_empty());
        assert!(with("\0search\u{7f} a..b\nsearch a..b").is_empty());
        assert_eq!(with("domain a.test"), ["a.test."]);
        assert_eq!(
            with("search . x.svc.cluster.local cluster.local local a.test A.test"),
            ["local.", "a.test."]
        );
        assert_eq!(
            with(&format!("search {}", (0..40).map(|n| format!("a{n}. ")).collect::<String>()))
                .len(),
            32
        );
    }

    #[test]
    fn a_changed_search_list_is_another_configuration() {
        let fingerprint = |text: &str, resolv: &str| {
            let environment = Literal::default().file(RESOLV_CONF, resolv);
            let witness = Witness::new(&environment);
            read(text, &witness).expect("checked");
            witness.fingerprint()
        };
        let text = ". {\n cache\n forward . ::1\n}";
        assert_ne!(fingerprint(text, "search a"), fingerprint(text, "search b"));
        let text = ". {\n cache\n forward . ::1\n searchpath {\n search c\n }\n}";
        assert_eq!(fingerprint(text, "search a"), fingerprint(text, "search b"));
    }

    #[test]
    fn without_cache_or_forward_it_does_nothing_aloud() {
        for (directives, needed) in [
            ("forward . ::1", Some("cache")),
            ("cache", Some("forward")),
            ("cache\nforward . ::1", None),
        ] {
            assert_eq!(config(&format!(". {{\n{directives}\n}}")).warnings, [""; 0]);
            let written = config(&format!(". {{\nsearchpath\n{directives}\n}}"));
            assert_eq!(written.blocks[0].search.is_some(), needed.is_none());
            let expected: Vec<_> = needed
                .iter()
                .map(|needed| format!("Corefile:2:1: `searchpath` does nothing without `{needed}`"))
                .collect();
            assert_eq!(written.warnings, expected);
        }
    }

    #[test]
    fn a_block_must_answer_for_the_domain() {
        let refused = |text: &str| read(text, &Literal::default()).expect_err(text).to_string();
        assert_eq!(
            refused(
                "a.test {\n cache\n forward . ::1\n searchpath {\n  domain cluster.local\n }\n}"
            ),
            "Corefile:5:10: found the search path of `cluster.local.`, for which this block does not answer, expected a block with a zone at or above it, or `domain DOMAIN` at or below its zones"
        );
        let message = refused("10.0.0.0/9 {\n searchpath\n}");
        assert!(message.starts_with("Corefile:2:2: found the search path of `cluster.local.`"));
        assert!(
            refused("svc.a.test {\n searchpath {\n domain a.test\n }\n}").contains("`a.test.`")
        );
    }

    #[test]
    fn a_block_that_is_not_asked_for_the_domain_is_told_so() {
        let text = "cluster.local {\nUSE}\n. {\nUSE searchpath\n}";
        assert_eq!(shown(text), ["Rewrite cluster.local.", "-"]);
        let warned = |text: &str| config(&text.replace("USE", "cache\nforward . ::1\n")).warnings;
        assert_eq!(
            warned(text),
            [
                "Corefile:8:2: `searchpath` does nothing here: cluster.local. is answered for at Corefile:1:1"
            ]
        );
        let elsewhere = "cluster.local {\nUSE bind ::1\n}\n. {\nUSE searchpath\n}";
        assert_eq!(warned(elsewhere), [""; 0]);
        let below = "svc.cluster.local {\nUSE}\n. {\nUSE searchpath\n}";
        assert_eq!(warned(below), [""; 0]);
    }
}
