//! Nodes with room, and a scheduler that fills them: what every generator puts its pods on.

use rand::seq::IndexedRandom as _;
use rand::{Rng, RngExt as _};

use super::{Error, Parameters};
use crate::model::limits::InstanceType;
use crate::model::settings::Mode;
use crate::trace::{Builder, Fault, Node, Trace};

/// The nodes and pods of a trace in the making. Times given to it must not run backwards.
#[derive(Debug)]
pub(super) struct Fleet {
    generator: &'static str,
    builder: Builder,
    daemons: Daemons,
    groups: Vec<Group>,
    hosts: Vec<Host>,
    pods: Vec<Pod>,
}

/// Which group, in the order they were opened.
pub(super) type GroupIndex = usize;

/// Which host, in the order they joined.
pub(super) type HostIndex = usize;

/// Which pod, in the order they were added.
pub(super) type PodIndex = usize;

#[derive(Debug)]
struct Group {
    name: String,
    /// Hosts that take pods.
    ready: Vec<HostIndex>,
}

#[derive(Debug)]
struct Host {
    name: String,
    group: GroupIndex,
    room: u32,
    used: u32,
    /// Pods of the workload, those of DaemonSets not among them.
    pods: Vec<PodIndex>,
}

#[derive(Debug)]
struct Pod {
    name: String,
    host: HostIndex,
}

/// How many pods of DaemonSets run on every node.
#[derive(Debug, Clone, Copy)]
struct Daemons {
    /// On the host's network: aws-node, kube-proxy and so on.
    host_network: usize,
    /// With an address of their own.
    ordinary: usize,
}

/// Below this many hosts the scheduler looks at all of them. Above, at three drawn at random: it
/// levels nearly as well, and not so perfectly that every node of a large fleet is alike.
const LOOKED_AT_ALL: usize = 16;

/// More pods would fill the memory before anything is written.
const PODS_MADE_MAX: usize = 5_000_000;

impl Fleet {
    /// No nodes yet. The parameters `host_network` and `daemons` say what runs on every one.
    pub(super) fn new(parameters: &Parameters) -> Fleet {
        Fleet {
            generator: parameters.generator(),
            builder: Builder::new(parameters.generator()),
            daemons: Daemons {
                host_network: parameters.count("host_network"),
                ordinary: parameters.count("daemons"),
            },
            groups: Vec::new(),
            hosts: Vec::new(),
            pods: Vec::new(),
        }
    }

    /// Another node group.
    pub(super) fn open_group(&mut self, name: impl Into<String>) -> GroupIndex {
        self.groups.push(Group { name: name.into(), ready: Vec::new() });
        self.groups.len() - 1
    }

    /// Pods of the workload that a node of this type has room for.
    pub(super) fn room(&self, instance_type: &InstanceType) -> usize {
        let pods_max = instance_type.pods_max(Mode::SecondaryIp, false) as usize;
        pods_max.saturating_sub(self.daemons.host_network + self.daemons.ordinary)
    }

    /// A node that was there before the trace began, with its daemons; it takes pods.
    pub(super) fn running(
        &mut self,
        group: GroupIndex,
        instance_type: &'static InstanceType,
        spot: bool,
    ) -> Result<HostIndex, Error> {
        let host = self.enter(0, group, instance_type, spot, true)?;
        self.start_daemons(0, host, true, true)?;
        self.start_daemons(0, host, false, true)?;
        self.groups[group].ready.push(host);
        Ok(host)
    }

    /// A node joins. Daemons on the host's network start with it; [`Fleet::ready`] starts the
    /// others.
    pub(super) fn join(
        &mut self,
        at_ms: u64,
        group: GroupIndex,
        instance_type: &'static InstanceType,
        spot: bool,
    ) -> Result<HostIndex, Error> {
        let host = self.enter(at_ms, group, instance_type, spot, false)?;
        self.start_daemons(at_ms, host, true, false)?;
        Ok(host)
    }

    /// The node is ready: its other daemons start, and it takes pods.
    pub(super) fn ready(&mut self, at_ms: u64, host: HostIndex) -> Result<(), Error> {
        self.start_daemons(at_ms, host, false, false)?;
        let group = self.hosts[host].group;
        self.groups[group].ready.push(host);
        Ok(())
    }

    /// A node that takes pods, drawn at random; none: there is none.
    pub(super) fn any_ready(&self, group: GroupIndex, rng: &mut impl Rng) -> Option<HostIndex> {
        self.groups[group].ready.choose(rng).copied()
    }

    /// EC2 will take the node; it takes no more pods.
    pub(super) fn spot_notice(&mut self, at_ms: u64, host: HostIndex) -> Result<(), Error> {
        self.close(host);
        let noticed = self.builder.spot_notice(at_ms, &self.hosts[host].name);
        noticed.map_err(|fault| self.fault(fault))
    }

    /// A node ends, with all pods that are on it.
    pub(super) fn leave(&mut self, at_ms: u64, host: HostIndex) -> Result<(), Error> {
        self.close(host);
        self.hosts[host].pods.clear();
        let left = self.builder.leave(at_ms, &self.hosts[host].name);
        left.map_err(|fault| self.fault(fault))
    }

    /// The workload's pods on a node, in the order they are listed there.
    pub(super) fn pods_on(&self, host: HostIndex) -> &[PodIndex] {
        &self.hosts[host].pods
    }

    /// Where a pod is, or was.
    pub(super) fn host_of(&self, pod: PodIndex) -> HostIndex {
        self.pods[pod].host
    }

    /// A pod that was there before the trace began.
    pub(super) fn place_running(&mut self, host: HostIndex, name: &str) -> Result<PodIndex, Error> {
        self.settle(0, host, name, true)
    }

    /// Puts a pod on the group's node that has most room, or says that there is none.
    pub(super) fn schedule(
        &mut self,
        at_ms: u64,
        group: GroupIndex,
        name: &str,
        rng: &mut impl Rng,
    ) -> Result<Option<PodIndex>, Error> {
        match self.emptiest(group, rng) {
            Some(host) => self.place(at_ms, host, name).map(Some),
            None => Ok(None),
        }
    }

    /// As [`Fleet::schedule`], where the room was counted before: without any, what was asked for
    /// does not go together.
    pub(super) fn schedule_or_refuse(
        &mut self,
        at_ms: u64,
        group: GroupIndex,
        name: &str,
        rng: &mut impl Rng,
    ) -> Result<PodIndex, Error> {
        let scheduled = self.schedule(at_ms, group, name, rng)?;
        scheduled.ok_or_else(|| self.refuse("the pods do not all fit at once; give more nodes"))
    }

    /// Puts a pod on that node, which must have room.
    pub(super) fn place(
        &mut self,
        at_ms: u64,
        host: HostIndex,
        name: &str,
    ) -> Result<PodIndex, Error> {
        self.settle(at_ms, host, name, false)
    }

    /// A pod goes. One whose node has left is gone already.
    pub(super) fn delete(&mut self, at_ms: u64, pod: PodIndex) -> Result<(), Error> {
        let Pod { name, host } = &self.pods[pod];
        let on = &mut self.hosts[*host];
        let Some(at) = on.pods.iter().position(|other| *other == pod) else {
            return Ok(());
        };
        on.pods.swap_remove(at);
        on.used -= 1;
        let deleted = self.builder.delete(at_ms, &on.name, name);
        deleted.map_err(|fault| self.fault(fault))
    }

    /// The trace, which ends then.
    pub(super) fn finish(self, end_ms: u64) -> Result<Trace, Error> {
        let generator = self.generator;
        self.builder.finish(end_ms).map_err(|fault| Error::Fault { generator, fault })
    }

    /// The host with most room of those looked at, of all if those are full.
    pub(super) fn emptiest(&self, group: GroupIndex, rng: &mut impl Rng) -> Option<HostIndex> {
        let ready = &self.groups[group].ready;
        let room = |host: &HostIndex| self.hosts[*host].room - self.hosts[*host].used;
        let best_of = |hosts: &[HostIndex]| {
            let with_room = hosts.iter().copied().filter(|host| room(host) > 0);
            with_room.min_by_key(|host| (self.hosts[*host].used, *host))
        };
        if ready.len() > LOOKED_AT_ALL {
            let drawn: [HostIndex; 3] =
                std::array::from_fn(|_| ready[rng.random_range(0..ready.len())]);
            if let Some(host) = best_of(&drawn) {
                return Some(host);
            }
        }
        best_of(ready)
    }

    fn settle(
        &mut self,
        at_ms: u64,
        host: HostIndex,
        name: &str,
        running: bool,
    ) -> Result<PodIndex, Error> {
        if self.pods.len() >= PODS_MADE_MAX {
            let what =
                format!("there are more than {PODS_MADE_MAX} pods; give fewer, or fewer hours");
            return Err(self.refuse(&what));
        }
        let on = &mut self.hosts[host];
        let added = self.builder.add(at_ms, &on.name, name, false, running);
        added.map_err(|fault| Error::Fault { generator: self.generator, fault })?;
        let pod = self.pods.len();
        on.used += 1;
        on.pods.push(pod);
        self.pods.push(Pod { name: name.to_owned(), host });
        Ok(pod)
    }

    /// The node takes no more pods.
    fn close(&mut self, host: HostIndex) {
        let group = self.hosts[host].group;
        self.groups[group].ready.retain(|other| *other != host);
    }

    fn enter(
        &mut self,
        at_ms: u64,
        group: GroupIndex,
        instance_type: &'static InstanceType,
        spot: bool,
        running: bool,
    ) -> Result<HostIndex, Error> {
        let Daemons { host_network, ordinary } = self.daemons;
        let pods_max = instance_type.pods_max(Mode::SecondaryIp, false);
        if host_network + ordinary > pods_max as usize {
            return Err(self.refuse(&format!(
                "{} has room for {pods_max} pods, too few for {host_network} + {ordinary} daemons; \
                 give a larger type, or fewer daemons",
                instance_type.name
            )));
        }
        let host = self.hosts.len();
        let group_name = &self.groups[group].name;
        let node = Node {
            group: group_name.clone(),
            spot,
            ..Node::of(&format!("{group_name}-{:04}", host + 1), instance_type)
        };
        let (name, room) = (node.name.clone(), node.pods_max);
        self.builder.join(at_ms, node, running).map_err(|fault| self.fault(fault))?;
        self.hosts.push(Host { name, group, room, used: 0, pods: Vec::new() });
        Ok(host)
    }

    fn start_daemons(
        &mut self,
        at_ms: u64,
        host: HostIndex,
        host_network: bool,
        running: bool,
    ) -> Result<(), Error> {
        let Daemons { host_network: on_host, ordinary } = self.daemons;
        for number in 0..if host_network { on_host } else { ordinary } {
            let node = &self.hosts[host].name;
            let pod = format!("kube-system/{}-{node}", daemon_name(number, host_network));
            let added = self.builder.add(at_ms, node, &pod, host_network, running);
            added.map_err(|fault| self.fault(fault))?;
            self.hosts[host].used += 1;
        }
        Ok(())
    }

    fn refuse(&self, what: &str) -> Error {
        Error::Together { generator: self.generator, what: what.to_owned() }
    }

    fn fault(&self, fault: Fault) -> Error {
        Error::Fault { generator: self.generator, fault }
    }
}

/// What usually runs there, then numbers.
fn daemon_name(number: usize, host_network: bool) -> String {
    let usual: &[&str] = match host_network {
        true => &["aws-node", "kube-proxy", "node-local-dns", "node-exporter"],
        false => &["ebs-csi-node", "fluent-bit", "efs-csi-node", "log-router"],
    };
    match usual.get(number) {
        Some(name) => (*name).to_owned(),
        None if host_network => format!("host-daemon-{number}"),
        None => format!("daemon-{number}"),
    }
}
