//! Flags about our own node in the Kubernetes API.

use clap::Args;

use crate::kubernetes::node::NodeMarks;

/// What is done to the node once DNS answers.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct KubernetesFlags {
    /// Take the taint of this key off the node once DNS answers
    #[arg(long = "ready-taint", value_name = "KEY", value_parser = taint, help_heading = NODE)]
    pub ready_taint: Option<String>,

    /// Set this label on the node once DNS answers
    #[arg(long = "ready-label", value_name = "KEY=VALUE", value_parser = label)]
    #[arg(help_heading = NODE)]
    pub ready_label: Option<(String, String)>,

    /// The node's name in the Kubernetes API
    #[arg(long = "node-name", value_name = "NAME", env = "NODE_NAME", help_heading = NODE)]
    pub node_name: Option<String>,
}

impl KubernetesFlags {
    /// What is to be done to which node; `None`: nothing.
    ///
    /// # Errors
    /// The node's name is not known.
    pub fn marks(&self) -> anyhow::Result<Option<NodeMarks>> {
        if self.ready_taint.is_none() && self.ready_label.is_none() {
            return Ok(None);
        }
        let node = self.node_name.clone().filter(|name| !name.is_empty()).ok_or_else(|| {
            anyhow::anyhow!(
                "-ready-taint and -ready-label need the name of the node: give -node-name, or set \
                 NODE_NAME from the field spec.nodeName"
            )
        })?;
        let (taint, label) = (self.ready_taint.clone(), self.ready_label.clone());
        Ok(Some(NodeMarks { node, taint, label }))
    }
}

fn taint(text: &str) -> Result<String, String> {
    let expected = "expected the key of a taint, such as example.org/dns-not-ready";
    is_key(text).then(|| text.to_owned()).ok_or_else(|| expected.to_owned())
}

fn label(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=');
    let named = parts.filter(|(key, value)| is_key(key) && (value.is_empty() || is_word(value)));
    let (key, value) = named.ok_or("expected a label, such as example.org/dns=ready")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// `[PREFIX/]NAME` as Kubernetes has it for labels and taints.
fn is_key(text: &str) -> bool {
    let (prefix, name) =
        text.rsplit_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    let is_prefix = |prefix: &str| prefix.len() <= 253 && prefix.split('.').all(is_word);
    is_word(name) && prefix.is_none_or(is_prefix)
}

/// 1 to 63 letters, digits, `-`, `_` and `.`, a letter or digit at both ends.
fn is_word(text: &str) -> bool {
    let is_end = |octet: Option<&u8>| octet.is_some_and(u8::is_ascii_alphanumeric);
    let octets = text.as_bytes();
    octets.len() <= 63
        && is_end(octets.first())
        && is_end(octets.last())
        && octets.iter().all(|octet| octet.is_ascii_alphanumeric() || b"-_.".contains(octet))
}

/// Heading of the flags about the node.
const NODE: &str = "Node";

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(taint: Option<&str>, node_name: Option<&str>) -> KubernetesFlags {
        KubernetesFlags {
            ready_taint: taint.map(str::to_owned),
            ready_label: None,
            node_name: node_name.map(str::to_owned),
        }
    }

    #[test]
    fn a_mark_needs_a_node() {
        assert_eq!(flags(None, Some("n")).marks().expect("nothing to do"), None);
        let marks = flags(Some("a"), Some("n")).marks().expect("a node").expect("a mark");
        assert_eq!((marks.node.as_str(), marks.taint.as_deref()), ("n", Some("a")));
        for name in [None, Some("")] {
            let error = flags(Some("a"), name).marks().expect_err("no node").to_string();
            assert!(error.contains("NODE_NAME"), "{error}");
        }
    }

    #[test]
    fn keys_and_labels_are_those_of_kubernetes() {
        let pair = |key: &str, value: &str| Ok((key.to_owned(), value.to_owned()));
        assert_eq!(taint("example.org/dns-not-ready"), Ok("example.org/dns-not-ready".to_owned()));
        assert_eq!(label("dns=ready"), pair("dns", "ready"));
        assert_eq!(label("example.org/dns="), pair("example.org/dns", ""));
        for bad in ["", "a/", "/a", "a b", "-a", "a..b/c", &"a".repeat(64)] {
            assert!(taint(bad).is_err(), "{bad}");
            assert!(label(&format!("{bad}=x")).is_err(), "{bad}");
        }
        for bad in ["dns", "dns=a b", "dns=-", "=x"] {
            assert!(label(bad).is_err(), "{bad}");
        }
    }
}
