//! The numbers, kept over reloads.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::config::Config;
use crate::counts::{BlockCounts, NodeCounts, PlaneCounts, RefreshCounts, SnapshotCounts};
use crate::engine::shelf::zones_label;
use crate::slow::upstream::UpstreamCounts;

/// The numbers, kept over reloads.
pub struct Counts {
    /// Of the planes.
    pub planes: Arc<PlaneCounts>,
    /// Of the blocks, by server and zone label.
    pub blocks: HashMap<(String, String), Arc<BlockCounts>>,
    /// Of the upstreams.
    pub upstreams: Arc<UpstreamCounts>,
    /// Of what keeps hot names fresh.
    pub refreshes: Arc<RefreshCounts>,
    /// Of the cache kept over restarts.
    pub snapshots: Arc<SnapshotCounts>,
    /// Of what is done to the node.
    pub node: Arc<NodeCounts>,
    /// Configurations that were refused.
    pub reloads_failed: Arc<AtomicU64>,
    /// How many shards each has.
    shards: usize,
}

impl Counts {
    /// Nothing was counted yet; `shards` as in [`FastPlane::new`](crate::fast::FastPlane::new).
    pub fn new(shards: usize, node: Arc<NodeCounts>) -> Self {
        Self {
            planes: Arc::new(PlaneCounts::new(shards - 1)),
            blocks: HashMap::new(),
            upstreams: Arc::default(),
            refreshes: Arc::default(),
            snapshots: Arc::default(),
            node,
            reloads_failed: Arc::default(),
            shards,
        }
    }

    /// The counts of each block; a block that was there before goes on counting.
    pub fn of_blocks(&mut self, config: &Config) -> Vec<Arc<BlockCounts>> {
        let shards = self.shards;
        let labels =
            config.blocks.iter().map(|block| (block.server_label.clone(), zones_label(block)));
        labels
            .map(|label| {
                let made =
                    || Arc::new(BlockCounts::new(label.0.clone(), label.1.clone(), shards - 1));
                Arc::clone(self.blocks.entry(label.clone()).or_insert_with(made))
            })
            .collect()
    }
}
