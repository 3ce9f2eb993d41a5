//! Search lists of pods, recognised from the names they make.
//!
//! A pod of namespace `ns` that looks up `amazon.com` asks for `amazon.com.ns.svc.D`,
//! `amazon.com.svc.D`, `amazon.com.D`, the same below the host's search domains, and only then for
//! `amazon.com`. This file says what a name is in that game: the words the application used, the
//! candidates they make, the boundaries above a name. What is known about them is weighed in
//! [`walk`]; what was found out about boundaries over time is in [`state`], what clients asked a
//! moment ago in [`recent`].

pub mod recent;
pub mod state;
pub mod walk;

use std::sync::Arc;

use crate::config::{SearchMode, SearchPath};
use crate::engine::wire::name::{NAME_MAX, Name, wire_is_at_or_below};
use state::SearchState;

/// Labels of a name at most: each takes two octets at least.
const LABELS_MAX: usize = NAME_MAX / 2 + 1;
/// The label between a namespace and the cluster domain.
const SERVICES: &[u8] = b"\x03svc";

/// The label below the cluster domain that CoreDNS denies although its own name, `ns.dns.D`, is
/// below.
const SERVER: &[u8] = b"\x03dns";

/// `searchpath` of one block.
#[derive(Debug)]
pub struct SearchPolicy {
    /// The directive.
    pub config: SearchPath,
    /// What was found out while it ran.
    pub state: Arc<SearchState>,
    /// What follows the words in the candidates after the first: `svc.D`, `D`, the host's search
    /// domains, the root.
    suffixes: Vec<Name>,
    domain_labels: usize,
}

/// The first question of a lookup: words below a namespace.
#[derive(Debug, Clone, Copy)]
pub struct Expansion<'n> {
    /// The whole name, in lower-case wire form.
    pub name: &'n [u8],
    /// The words the application used, without an end.
    pub words: &'n [u8],
    /// The namespace's own name, `ns.svc.D`.
    pub namespace: &'n [u8],
}

/// Names above a name (or it itself) whose absence is its own, the outermost first.
#[derive(Debug, Clone, Copy, Default)]
pub struct Boundaries<'n>([Option<&'n [u8]>; 2]);

impl<'n> Boundaries<'n> {
    /// They themselves.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &'n [u8]> + use<'n> {
        self.0.into_iter().flatten()
    }
}

impl SearchPolicy {
    /// Prepares a directive. `state` is what was found out under an earlier configuration.
    pub fn new(config: SearchPath, state: Arc<SearchState>) -> Self {
        let mut services = SERVICES.to_vec();
        services.extend(config.domain.wire());
        let services = Name::from_wire(&services).unwrap_or_else(|| config.domain.clone());
        let mut suffixes = vec![services, config.domain.clone()];
        suffixes.extend(config.host_domains.iter().cloned());
        suffixes.push(Name::root());
        let domain_labels = config.domain.labels().count();
        Self { config, state, suffixes, domain_labels }
    }

    /// Whether a lower-case wire name is below the cluster domain.
    #[inline]
    pub fn is_below(&self, name: &[u8]) -> bool {
        let domain = self.config.domain.wire();
        name.len() > domain.len() && wire_is_at_or_below(name, domain)
    }

    /// Whether expansions are answered with the name that exists.
    pub fn rewrites(&self) -> bool {
        self.config.mode == SearchMode::Rewrite
    }

    /// Reads a name as the first question of a lookup. Words of one label are none: what is asked
    /// may as well be a Service by its full name, and nothing is gained by a shortcut then.
    pub fn expansion<'n>(&self, name: &'n [u8]) -> Option<Expansion<'n>> {
        let labels = Labels::of(name);
        let above = labels.count.checked_sub(self.domain_labels)?;
        if above < 4 || labels.label(above - 1) != SERVICES {
            return None;
        }
        let namespace = labels.from(above - 2);
        Some(Expansion { name, words: &name[..name.len() - namespace.len()], namespace })
    }

    /// The boundaries of a name: the label below the cluster domain, the namespace, the Service.
    /// None begins with `_`, nor has one above it that does: CoreDNS denies `_tcp` below a Service
    /// although names below that exist.
    pub fn boundaries<'n>(&self, name: &'n [u8]) -> Boundaries<'n> {
        if !self.is_below(name) {
            return Boundaries::default();
        }
        let labels = Labels::of(name);
        let above = labels.count - self.domain_labels;
        let candidates = match labels.label(above - 1) {
            SERVICES => [above.checked_sub(2), above.checked_sub(3)],
            _ => [Some(above - 1), None],
        };
        if candidates == [Some(above - 1), None] && labels.label(above - 1) == SERVER {
            return Boundaries::default();
        }
        let mut found = Boundaries::default();
        for (place, index) in found.0.iter_mut().zip(candidates) {
            let is_word = |index: &usize| labels.label(*index).get(1) != Some(&b'_');
            let Some(index) = index.filter(is_word) else {
                break;
            };
            *place = Some(labels.from(index));
        }
        found
    }

    /// What follows the words in the candidates after the first, in their order.
    pub fn suffixes(&self) -> &[Name] {
        &self.suffixes
    }

    /// Whether a name is in a namespace that is left alone.
    pub fn leaves_out(&self, name: &[u8]) -> bool {
        if self.config.except.is_empty() || !self.is_below(name) {
            return false;
        }
        let labels = Labels::of(name);
        let above = labels.count - self.domain_labels;
        let is_in_namespace = above >= 2 && labels.label(above - 1) == SERVICES;
        is_in_namespace && {
            let namespace = &labels.label(above - 2)[1..];
            self.config.except.iter().any(|name| name.as_bytes() == namespace)
        }
    }
}

/// Puts words and what follows them into `into`; false if that is no name because it is too long.
pub fn compose(words: &[u8], suffix: &[u8], into: &mut Vec<u8>) -> bool {
    into.clear();
    into.extend_from_slice(words);
    into.extend_from_slice(suffix);
    into.len() <= NAME_MAX
}

/// Where the labels of a name begin.
struct Labels<'n> {
    name: &'n [u8],
    starts: [u8; LABELS_MAX],
    count: usize,
}

impl<'n> Labels<'n> {
    fn of(name: &'n [u8]) -> Self {
        let mut labels = Self { name, starts: [0; LABELS_MAX], count: 0 };
        let mut at = 0;
        while let Some(&len) = name.get(at).filter(|len| **len > 0) {
            labels.starts[labels.count] = at as u8;
            labels.count += 1;
            at += 1 + usize::from(len);
        }
        labels
    }

    /// A label with its length octet.
    fn label(&self, index: usize) -> &'n [u8] {
        let start = usize::from(self.starts[index]);
        &self.name[start..=start + usize::from(self.name[start])]
    }

    /// The name that begins with this label.
    fn from(&self, index: usize) -> &'n [u8] {
        &self.name[usize::from(self.starts[index])..]
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn name(text: &str) -> Name {
        Name::from_text(text).expect("a name")
    }

    pub(crate) fn policy() -> SearchPolicy {
        let config = SearchPath {
            mode: SearchMode::Rewrite,
            domain: name("cluster.local"),
            host_domains: vec![name("ec2.internal")],
            except: vec!["legacy".to_owned()],
            audit_one_in: 100,
        };
        SearchPolicy::new(config, Arc::default())
    }

    fn shown(wire: &[u8]) -> String {
        Name::from_wire(wire).expect("a name").to_string()
    }

    #[test]
    fn the_namespace_is_read_off_the_question() {
        let check = |text: &str, expected: Option<(&str, &str)>| {
            let (policy, name) = (policy(), name(text));
            let found = policy.expansion(name.wire()).map(|expansion| {
                (shown(&[expansion.words, b"\0"].concat()), shown(expansion.namespace))
            });
            let expected =
                expected.map(|(words, namespace)| (words.to_owned(), namespace.to_owned()));
            assert_eq!(found, expected, "{text}");
        };
        check("amazon.com.web.svc.cluster.local", Some(("amazon.com.", "web.svc.cluster.local.")));
        check("a.b.svc.web.svc.cluster.local", Some(("a.b.svc.", "web.svc.cluster.local.")));
        for text in [
            "redis.web.svc.cluster.local",
            "web.svc.cluster.local",
            "svc.cluster.local",
            "cluster.local",
            "amazon.com.cluster.local",
            "a.b.c.d.pod.cluster.local",
            "amazon.com",
            ".",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn boundaries_are_three_kinds_of_names_and_never_begin_with_an_underscore() {
        let check = |text: &str, expected: &[&str]| {
            let (policy, name) = (policy(), name(text));
            let found: Vec<_> = policy.boundaries(name.wire()).iter().map(shown).collect();
            assert_eq!(found, expected, "{text}");
        };
        check("amazon.com.cluster.local", &["com.cluster.local."]);
        check(
            "a.b.com.web.svc.cluster.local",
            &["web.svc.cluster.local.", "com.web.svc.cluster.local."],
        );
        check("web.svc.cluster.local", &["web.svc.cluster.local."]);
        check(
            "_http._tcp.redis.web.svc.cluster.local",
            &["web.svc.cluster.local.", "redis.web.svc.cluster.local."],
        );
        check("a._tcp.web.svc.cluster.local", &["web.svc.cluster.local."]);
        check("a._x.svc.cluster.local", &[]);
        check("a._x.cluster.local", &[]);
        check("x._y.svc.cluster.local", &[]);
        check("ns.dns.cluster.local", &[]);
        check("svc.cluster.local", &[]);
        check("cluster.local", &[]);
        check("amazon.com", &[]);
    }

    #[test]
    fn candidates_stand_in_the_order_of_the_list() {
        let policy = policy();
        let suffixes: Vec<_> = policy.suffixes().iter().map(ToString::to_string).collect();
        assert_eq!(suffixes, ["svc.cluster.local.", "cluster.local.", "ec2.internal.", "."]);
        let mut composed = Vec::new();
        assert!(compose(b"\x06amazon\x03com", policy.suffixes()[0].wire(), &mut composed));
        assert_eq!(shown(&composed), "amazon.com.svc.cluster.local.");
        let words =
            b"\x3fxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx".repeat(4);
        assert!(!compose(&words, policy.suffixes()[0].wire(), &mut composed));
    }

    #[test]
    fn namespaces_can_be_left_out() {
        let policy = policy();
        let leaves_out = |text: &str| policy.leaves_out(name(text).wire());
        assert!(leaves_out("legacy.svc.cluster.local"));
        assert!(leaves_out("a.b.c.legacy.svc.cluster.local"));
        for text in
            ["legac.svc.cluster.local", "legacy.cluster.local", "svc.cluster.local", "legacy"]
        {
            assert!(!leaves_out(text), "{text}");
        }
    }
}
