//! Marks on our own node once DNS answers: a start-up taint taken off, a label set.
//!
//! A node may be registered with a taint (`kubelet --register-with-taints`), so that no pod starts
//! there before its DNS does; taking it off is then up to us. Only these fields are changed, and
//! taints only if nobody else changed the node meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::client::{self, within};
use super::pause::Pauses;

/// What is done to which node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeMarks {
    /// The node's name.
    pub node: String,
    /// The key of the taint that is taken off.
    pub taint: Option<String>,
    /// The label that is set: key and value.
    pub label: Option<(String, String)>,
}

/// How that went.
#[derive(Debug, Default)]
pub struct MarkCounts {
    /// Whether it is done.
    pub is_done: AtomicBool,
    /// Attempts that failed.
    pub failures: AtomicU64,
}

/// What the service account needs.
const RIGHTS: &str = "`get` and `patch` on `nodes`";

/// Marks the node as soon as `ready` ends, and tries again for as long as that fails.
pub async fn mark(marks: NodeMarks, ready: impl Future<Output = ()>, counts: Arc<MarkCounts>) {
    ready.await;
    let mut pauses = Pauses::default();
    let mut complained = false;
    while let Err(reason) = mark_once(&marks).await {
        counts.failures.fetch_add(1, Ordering::Relaxed);
        if !std::mem::replace(&mut complained, true) {
            tracing::warn!(node = marks.node, "the node cannot be marked as ready yet: {reason}");
        }
        sleep(pauses.next()).await;
    }
    counts.is_done.store(true, Ordering::Relaxed);
    tracing::info!(node = marks.node, "DNS answers: the node is marked as ready");
}

async fn mark_once(marks: &NodeMarks) -> Result<(), String> {
    let server = client::find().await.map_err(|error| format!("{error:#}"))?;
    let api: Api<Node> = Api::all(server.client);
    let node = within(api.get(&marks.node), RIGHTS).await?;
    let Some(change) = change(&node, marks) else { return Ok(()) };
    let patch = Patch::Merge(change);
    within(api.patch(&marks.node, &PatchParams::default(), &patch), RIGHTS).await?;
    Ok(())
}

/// What is to be changed, as a JSON merge patch (RFC 7386); `None` if nothing is. A list is replaced
/// whole by such a patch, so it names the version it was read in: the API server refuses it if
/// that is no longer the last.
fn change(node: &Node, marks: &NodeMarks) -> Option<Value> {
    let mut patch = json!({});
    if let Some((key, value)) = &marks.label {
        let labels = node.metadata.labels.as_ref();
        if labels.and_then(|labels| labels.get(key)) != Some(value) {
            patch["metadata"]["labels"][key] = json!(value);
        }
    }
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let stays = |key: &str| marks.taint.as_deref() != Some(key);
    if taints.iter().any(|taint| !stays(&taint.key)) {
        let left: Vec<_> = taints.iter().filter(|taint| stays(&taint.key)).collect();
        patch["spec"]["taints"] = json!(left);
        patch["metadata"]["resourceVersion"] = json!(node.metadata.resource_version);
    }
    (patch != json!({})).then_some(patch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(labels: Value, taints: Value) -> Node {
        let text = json!({
            "metadata": {"name": "n", "resourceVersion": "7", "labels": labels},
            "spec": {"taints": taints},
        });
        serde_json::from_value(text).expect("a node")
    }

    fn marks(taint: Option<&str>, label: Option<(&str, &str)>) -> NodeMarks {
        NodeMarks {
            node: "n".to_owned(),
            taint: taint.map(str::to_owned),
            label: label.map(|(key, value)| (key.to_owned(), value.to_owned())),
        }
    }

    fn taint(key: &str, effect: &str) -> Value {
        json!({"key": key, "effect": effect, "value": "v"})
    }

    #[test]
    fn only_the_taint_of_that_key_is_taken_off_and_only_from_this_version() {
        let taints =
            [taint("a", "NoSchedule"), taint("dns", "NoSchedule"), taint("dns", "NoExecute")];
        let found = change(&node(json!({}), json!(taints)), &marks(Some("dns"), None));
        let expected = json!({
            "metadata": {"resourceVersion": "7"}, "spec": {"taints": [taint("a", "NoSchedule")]},
        });
        assert_eq!(found, Some(expected));
    }

    #[test]
    fn a_label_needs_no_version() {
        let found =
            change(&node(json!({"x": "y"}), json!(null)), &marks(None, Some(("dns", "ready"))));
        assert_eq!(found, Some(json!({"metadata": {"labels": {"dns": "ready"}}})));
    }

    #[test]
    fn what_is_as_wanted_is_left_alone() {
        let done = node(json!({"dns": "ready"}), json!([taint("a", "NoSchedule")]));
        assert_eq!(change(&done, &marks(Some("dns"), Some(("dns", "ready")))), None);
        let other = node(json!({"dns": "no"}), json!([]));
        let found = change(&other, &marks(Some("dns"), Some(("dns", "ready"))));
        assert_eq!(found, Some(json!({"metadata": {"labels": {"dns": "ready"}}})));
    }
}
