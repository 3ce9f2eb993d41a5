//! The answer for people.

use std::fmt::Write as _;

use crate::capacity::node::{NodeLoad, PodsLimit};
use crate::capacity::scale_out::{Budget, ScaleOut, Simulated};
use crate::capacity::{GroupFit, NODES_MAX, NodesLimit};
use crate::commands::capacity::{Answer, Binds, Wanted};
use crate::commands::output;
use crate::model::settings::{Mode, Settings};
use crate::words::{self, counted, grouped};

pub(super) fn text(answer: &Answer) -> String {
    let mut text = format!("Settings: {}\n\n", settings(&answer.settings));
    text += &subnets(answer);
    text += "\n";
    text += &groups(answer);
    text += "\n";
    for sentence in sentences(answer) {
        text += &wrapped(&sentence);
    }
    if let Some(wanted) = &answer.scale_out {
        text += &scale_out(wanted, answer.ec2_share);
    }
    text
}

/// What differs from the defaults.
fn settings(settings: &Settings) -> String {
    let default = Settings::default().env();
    let set = settings.env().into_iter().filter(|variable| !default.contains(variable));
    let words: Vec<String> = set.map(|(name, value)| format!("{name}={value}")).collect();
    if words.is_empty() {
        "the CNI's defaults (WARM_ENI_TARGET=1)".to_owned()
    } else {
        words.join(" ")
    }
}

/// Names only where they say more than the CIDR, prefixes only where nodes use them.
fn subnets(answer: &Answer) -> String {
    let has_names = answer.subnets.iter().any(|subnet| subnet.name != subnet.range.to_string());
    let has_prefixes = answer.fit.nodes_unbroken.is_some();
    let shown = |row: [String; 6]| -> Vec<String> {
        let from = usize::from(!has_names);
        let to = row.len() - usize::from(!has_prefixes);
        row[from..to].to_vec()
    };
    let rows = answer.subnets.iter().zip(&answer.fit.subnets).map(|(subnet, left)| {
        shown([
            subnet.name.clone(),
            subnet.range.to_string(),
            grouped(subnet.capacity()),
            grouped(left.free_before),
            grouped(left.free),
            grouped(left.free_prefixes),
        ])
    });
    let header = ["subnet", "CIDR", "usable", "free before", "free after", "whole /28s left"];
    let header = shown(header.map(str::to_owned));
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    output::table(&header, rows.collect())
}

/// One line for each type of each group, and one for all.
fn groups(answer: &Answer) -> String {
    let header = [
        "group",
        "type",
        "nodes",
        "pods\neach",
        "pods",
        "ENIs\neach",
        "addresses\neach",
        "idle\neach",
        "addresses",
        "idle",
    ];
    let groups = &answer.fit.groups;
    let mut rows: Vec<Vec<String>> = groups
        .iter()
        .flat_map(|group| group.types.iter().map(|(load, nodes)| row(group, load, *nodes)))
        .collect();
    let sum = |of: fn(&GroupFit) -> u64| grouped(groups.iter().map(of).sum::<u64>());
    let blank = String::new;
    rows.push(vec![
        "all".to_owned(),
        blank(),
        sum(|group| u64::from(group.nodes())),
        blank(),
        sum(GroupFit::pods),
        blank(),
        blank(),
        blank(),
        sum(GroupFit::addresses),
        sum(GroupFit::unused),
    ]);
    output::table(&header, rows)
}

fn row(group: &GroupFit, load: &NodeLoad, nodes: u32) -> Vec<String> {
    let times = |count: u32| grouped(u64::from(count) * u64::from(nodes));
    vec![
        group.name.clone(),
        load.kind.name.to_owned(),
        grouped(nodes),
        grouped(load.pods),
        times(load.pods),
        grouped(load.enis),
        grouped(load.addresses()),
        grouped(load.unused()),
        times(load.addresses()),
        times(load.unused()),
    ]
}

fn sentences(answer: &Answer) -> Vec<String> {
    let mut sentences = vec![format!("Binds first: {}.", first(answer))];
    for group in &answer.fit.groups {
        sentences.push(nodes_of(group, answer));
        sentences
            .extend(group.types.iter().map(|(load, _)| pods_of(group, load, &answer.settings)));
    }
    sentences.extend(answer.fit.nodes_unbroken.map(|unbroken| {
        let nodes: u32 = answer.fit.groups.iter().map(GroupFit::nodes).sum();
        format!(
            "Prefixes: a /28 must be wholly free. Addresses of others and the ENIs' own are taken to \
             lie anywhere, as EC2 gives them, each breaking up a /28: {} nodes. With all of them kept \
             apart from the start, by a subnet CIDR reservation for prefixes, {} nodes fit.",
            grouped(nodes),
            grouped(unbroken)
        )
    }));
    sentences
}

fn first(answer: &Answer) -> &'static str {
    match answer.binds_first() {
        Binds::Targets => "the warm targets; pods find no address although the node has room",
        Binds::Enis => "the addresses of a node's ENIs",
        Binds::MaxPods => "kubelet's limit of pods",
        Binds::Addresses => "the subnets' addresses",
        Binds::Prefixes => "whole /28s in the subnets",
        Binds::Ec2Api => "EC2's request limits, while nodes are added",
        Binds::Nothing if is_cut(answer) => "nothing up to where looking ended",
        Binds::Nothing => "nothing; all that was asked for fits",
    }
}

/// Whether some group might have more nodes than were looked at.
fn is_cut(answer: &Answer) -> bool {
    answer.fit.groups.iter().any(|group| matches!(group.limit, NodesLimit::NodesMax))
}

fn nodes_of(group: &GroupFit, answer: &Answer) -> String {
    let (name, nodes) = (&group.name, grouped(group.nodes()));
    let most = answer.fit.subnets.iter().map(|left| left.free).max().unwrap_or(0);
    let next = &group.types[group.nodes() as usize % group.types.len()].0;
    let count = match group.asked {
        Some(asked) if asked > group.nodes() => {
            format!("{name}: only {nodes} of {} nodes fit", grouped(asked))
        }
        _ => format!("{name}: {nodes} nodes"),
    };
    match group.limit {
        NodesLimit::Asked => format!("{count}, as asked for."),
        NodesLimit::NodesMax => {
            format!("{count}; more than {} were not tried.", grouped(NODES_MAX))
        }
        NodesLimit::Addresses => format!(
            "{count}; the next ({}) would hold {} addresses, and no subnet has more than {} left.",
            next.kind.name,
            grouped(next.addresses()),
            grouped(most)
        ),
        NodesLimit::Prefixes => format!(
            "{count}; the next ({}) would hold {}, and no subnet has so many whole /28s left.",
            next.kind.name,
            counted(grouped(next.prefixes), "prefix")
        ),
    }
}

fn pods_of(group: &GroupFit, load: &NodeLoad, settings: &Settings) -> String {
    let (pods, asked) = (grouped(load.pods), load.pods_asked.map(grouped));
    let count = match asked {
        Some(asked) if load.is_short() => format!("only {pods} of {asked} pods"),
        _ => format!("{pods} pods"),
    };
    let why = match load.limit {
        PodsLimit::Asked => "as asked for".to_owned(),
        PodsLimit::MaxPods => {
            format!("kubelet takes {}, two of them on the host's network", grouped(load.pods_max))
        }
        PodsLimit::Enis => "all ENIs are there and full".to_owned(),
        PodsLimit::Targets => "the warm targets let the pool grow no further".to_owned(),
    };
    let mut sentence = format!(
        "{}, each {}: {count} ({why}) on {} with {} addresses for pods, {} of them idle.",
        group.name,
        load.kind.name,
        counted(grouped(load.enis), "ENI"),
        grouped(load.ips),
        grouped(load.unused())
    );
    if load.mode != settings.mode {
        sentence += " The type has no prefix delegation, so addresses are attached one by one.";
    }
    if load.mode == Mode::Prefix && load.prefixes > 0 {
        let _ = write!(sentence, " They are in {}.", counted(grouped(load.prefixes), "prefix"));
    }
    if let Some(cycle) = &load.cycle {
        let _ = write!(sentence, " It never comes to rest: {cycle}; counted as it holds most.");
    }
    sentence
}

fn scale_out(wanted: &Wanted, share: u32) -> String {
    let nodes = grouped(wanted.nodes);
    let mut text = String::new();
    if wanted.room < wanted.nodes {
        let room = grouped(wanted.room);
        text += &format!("\nScale-out of {nodes} nodes: the subnets have room for {room}.\n");
    }
    let Some(steps) = &wanted.steps else { return text };
    let pods = grouped(steps.pods);
    text += &format!("\nScale-out of {nodes} nodes at once with {pods} pods, at best:\n");
    text += &budgets(steps);
    text += "\n";
    if share < 100 {
        text += &format!("{share} % of each bucket is left to the CNI.\n");
    }
    text += &wrapped(&binding(steps));
    text += &wrapped(&match &steps.simulated {
        Some(simulated) => on_the_simulator(simulated),
        None if wanted.room < wanted.nodes => "Not simulated: not all of them fit.".to_owned(),
        None => "Not simulated: that many nodes for that long would take minutes.".to_owned(),
    });
    text
}

fn budgets(steps: &ScaleOut) -> String {
    let row = |budget: &Budget| {
        vec![
            budget.action.to_owned(),
            grouped(budget.calls),
            grouped(budget.bucket.capacity),
            grouped(budget.bucket.refill_per_sec),
            grouped(budget.secs),
        ]
    };
    let header = ["action", "calls", "bucket", "refill/s", "seconds"];
    output::table(&header, steps.budgets.iter().map(row).collect())
}

fn binding(steps: &ScaleOut) -> String {
    let alone = format!(
        "on a node that has EC2 to itself the last pod waits {} for its address",
        seconds(steps.alone_ms)
    );
    match steps.binding() {
        Some(budget) => format!(
            "{} binds: (calls - bucket) / refill = {} s; {alone}.",
            budget.action,
            grouped(budget.secs)
        ),
        None => format!("No bucket is emptied; {alone}."),
    }
}

/// Where nothing was throttled, the wait of a node alone has said it all.
fn on_the_simulator(simulated: &Simulated) -> String {
    let waits = seconds(simulated.wait_max_ms);
    let calls = grouped(simulated.throttled);
    if simulated.pods_never > 0 {
        return format!(
            "On the simulator {} pods have no address after {}; {calls} calls are throttled.",
            grouped(simulated.pods_never),
            seconds(simulated.duration_ms)
        );
    }
    format!(
        "On the simulator, where throttled nodes try again: the last pod waits {waits}, the warm pools \
         are full after {}, {calls} calls are throttled.",
        seconds(simulated.filled_ms)
    )
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", grouped(ms / 1_000), ms % 1_000 / 100)
}

/// Lines of at most 100 columns, those after the first a little to the right.
fn wrapped(sentence: &str) -> String {
    words::wrapped(sentence, 2) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenths_of_seconds_are_cut() {
        assert_eq!([seconds(0), seconds(1_999), seconds(60_000)], ["0.0 s", "1.9 s", "60.0 s"]);
    }

    #[test]
    fn long_sentences_are_broken_between_words() {
        let sentence = "word ".repeat(60);
        let text = wrapped(sentence.trim());
        assert!(text.lines().all(|line| line.len() <= 100));
        assert_eq!(text.split_whitespace().count(), 60);
    }
}
