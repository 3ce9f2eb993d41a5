//! Plans as text, for people.

use std::fmt::Write as _;

use super::super::output::table;
use crate::plan::Question;
use crate::plan::each::Each;
use crate::plan::goal::{Breach, Score};
use crate::plan::output;
use crate::plan::reason::{hours, seconds, title};
use crate::plan::recommend::{Miss, Plan, Recommendation, Trial, Verdict, short};
use crate::plan::runs::SEEDS;
use crate::words::{counted, wrapped};

/// A plan. Lines stay within 100 columns, but for command lines that are to be copied.
pub(super) fn plan(question: &Question<'_>, plan: &Plan) -> String {
    let mut text = header(question, plan);
    match &plan.verdict {
        Verdict::Found(found) => text.push_str(&recommendation(question, plan, found)),
        Verdict::NoneMeets(misses) => text.push_str(&none_meets(question, plan, misses)),
    }
    text.push_str(
        "\nPareto front for the pods of the trace, without headroom: idle, wait, failures, EC2 calls\n",
    );
    text.push_str(&trials(plan.front.iter().map(|one| (String::new(), one))));
    text.push_str(LEGEND);
    if plan.recommended().is_some() {
        text.push_str(&apply(question, plan));
    }
    text
}

/// The plans of all node groups.
pub(super) fn each(question: &Question<'_>, each: &Each) -> String {
    let mut text = header(question, &each.together);
    let rows = each.groups.iter().map(|(name, plan)| {
        let profile = &plan.demand.fleet;
        let found = plan.recommended();
        let setting = found.map_or("none fits".to_owned(), |found| short(&found.trial.settings));
        let idle = found.map_or("-".to_owned(), |found| hours(found.trial.score.idle_address_ms));
        let (nodes, pods) = (profile.nodes.to_string(), profile.pods.to_string());
        vec![name.clone(), nodes, pods, profile.peak_on_node.max.to_string(), setting, idle]
    });
    let head = ["node group", "nodes", "pods", "at once on a node", "recommended", "idle addr-h"];
    text.push_str(&table(&head, rows.collect()));
    text.push('\n');
    for (name, plan) in &each.groups {
        if let Verdict::NoneMeets(misses) = &plan.verdict {
            let _ = writeln!(text, "{name}: no setting keeps to all limits. The closest:");
            text.push_str(&misses.iter().map(miss_lines).collect::<String>());
        }
    }
    text.push_str(&saving(each));
    text
}

fn saving(each: &Each) -> String {
    let together = each.together.recommended();
    let of_one = together.map(|found| {
        let (setting, idle) = (short(&found.trial.settings), found.trial.score.idle_address_ms);
        format!("One setting for all nodes ({setting}): {} idle address-hours\n", hours(idle))
    });
    let mut text = of_one
        .unwrap_or_else(|| "No single setting for all nodes keeps to all limits\n".to_owned());
    let Some(split) = &each.split else {
        return text + "Split: not every node group has a setting that keeps to all limits\n";
    };
    let _ = writeln!(
        text,
        "Each its own, all groups side by side: {} idle address-hours, {} failed ADDs, wait p99 {}",
        hours(split.idle_address_ms),
        split.failed_adds,
        seconds(split.wait_p99_ms)
    );
    if let Some(found) = together {
        let one = found.trial.score.idle_address_ms;
        let _ = match one.checked_sub(split.idle_address_ms) {
            Some(saved) if saved > 0 => {
                let percent = saved * 100 / one;
                writeln!(text, "Splitting saves {} ({percent} %)", hours(saved))
            }
            _ => writeln!(text, "Splitting saves nothing"),
        };
    }
    text + "aws-node has one environment for all nodes: splitting takes a DaemonSet for each group.\n"
}

fn header(question: &Question<'_>, plan: &Plan) -> String {
    let profile = &plan.demand.fleet;
    let types: Vec<&str> = plan.demand.instance_types.keys().map(String::as_str).collect();
    let goal = &question.goal;
    let budget = goal.calls_per_hour.map(|calls| format!(", at most {calls} EC2 calls in an hour"));
    let free = (goal.subnet_free > 0)
        .then(|| format!(", {} addresses free in every subnet", goal.subnet_free));
    let mut text = format!(
        "trace     {}: {}, {} with an address, {:.1} h\n",
        question.trace.name,
        counted(profile.nodes, "node"),
        counted(profile.pods, "pod"),
        question.trace.end_ms as f64 / 3.6e6
    );
    text.push_str(&listed("types     ", &[types.join(", ")]));
    let more = (question.headroom_percent > 0)
        .then(|| format!("; also with {} % more pods", question.headroom_percent));
    let limits = format!(
        "no failed ADD, wait p99 at most {}{}{}{}",
        seconds(goal.wait_p99_ms),
        budget.unwrap_or_default(),
        free.unwrap_or_default(),
        more.unwrap_or_default()
    );
    text.push_str(&listed("limits    ", &[limits]));
    let _ = writeln!(
        text,
        "search    {} settings in {} simulations; numbers are the worst of {SEEDS} seeds\n",
        plan.tried, plan.simulations
    );
    if let Some(nodes) = plan.sampled_nodes {
        text.pop();
        let _ = writeln!(
            text,
            "          (the first ones on {nodes} of the nodes; everything shown is on all of them)\n"
        );
    }
    text
}

fn recommendation(question: &Question<'_>, plan: &Plan, found: &Recommendation) -> String {
    let settings = &found.trial.settings;
    let mut text = format!("Recommended: {}", short(settings));
    if settings == question.in_force {
        text.push_str(", which is in force");
    }
    text.push_str("\n\n");
    text.push_str(&listed("rests on  ", &found.reason.rests_on));
    text.push_str(&listed("costs     ", &found.reason.costs));
    text.push_str(&listed("prevents  ", &found.reason.prevents));
    text.push('\n');
    let first = ("recommended".to_owned(), &found.trial);
    text.push_str(&trials([first].into_iter().chain(compared(plan))));
    text
}

fn none_meets(question: &Question<'_>, plan: &Plan, misses: &[Miss]) -> String {
    let mut text =
        "No setting keeps to all limits. The closest, and what each breaks:\n".to_owned();
    text.push_str(&misses.iter().map(miss_lines).collect::<String>());
    let fits = misses.iter().find(|miss| miss.breaches.is_empty());
    if let (Some(miss), 1..) = (fits, question.headroom_percent) {
        let _ = writeln!(
            text,
            "{} keeps to them for the pods of the trace, without any headroom (--headroom 0).",
            short(&miss.trial.settings)
        );
    }
    text.push('\n');
    text.push_str(&trials(compared(plan)));
    text
}

fn miss_lines(miss: &Miss) -> String {
    let join =
        |breaches: &[Breach]| breaches.iter().map(Breach::to_string).collect::<Vec<_>>().join("; ");
    let mut lines = Vec::new();
    if !miss.breaches.is_empty() {
        lines.push(join(&miss.breaches));
    }
    if !miss.breaches_raised.is_empty() && miss.breaches_raised != miss.breaches {
        lines.push(format!("with the headroom's pods: {}", join(&miss.breaches_raised)));
    }
    listed(&format!("  {:<14}", short(&miss.trial.settings)), &lines)
}

fn compared(plan: &Plan) -> impl Iterator<Item = (String, &Trial)> {
    plan.compared.iter().map(|one| (title(one.what).to_owned(), &one.trial))
}

fn trials<'a>(rows: impl Iterator<Item = (String, &'a Trial)>) -> String {
    let rows: Vec<Vec<String>> = rows.map(|(what, trial)| row(what, trial)).collect();
    let has_titles = rows.iter().any(|row| !row[0].is_empty());
    let first = usize::from(!has_titles);
    let rows = rows.into_iter().map(|row| row[first..].to_vec()).collect();
    table(&HEAD[first..], rows)
}

const HEAD: [&str; 9] =
    ["", "setting", "idle addr-h", "failed", "never", "wait p99", "EC2 calls", "max/h", "attaches"];

const LEGEND: &str = "\
W = WARM_IP_TARGET, M = MINIMUM_IP_TARGET, PD = prefix mode; idle addr-h = addresses held and not in
use, times hours; failed = failed ADDs; never = pods that got no address; max/h = EC2 calls in the
busiest hour; attaches = ENIs attached after a node's start
";

fn row(what: String, trial: &Trial) -> Vec<String> {
    let score: &Score = &trial.score;
    vec![
        what,
        short(&trial.settings),
        hours(score.idle_address_ms),
        score.failed_adds.to_string(),
        score.pods_never.to_string(),
        seconds(score.wait_p99_ms),
        score.calls.to_string(),
        score.calls_per_hour_max.to_string(),
        score.eni_attaches.to_string(),
    ]
}

fn apply(question: &Question<'_>, plan: &Plan) -> String {
    let Some(found) = plan.recommended() else { return String::new() };
    let changes = output::changes(&found.trial.settings, question.in_force);
    if found.trial.settings == *question.in_force {
        return "\nNothing is to be changed.\n".to_owned();
    }
    let mut text = "\nenvironment of aws-node\n".to_owned();
    for line in output::environment(&changes) {
        let _ = writeln!(text, "    {line}");
    }
    let _ = writeln!(text, "kubectl\n    {}", output::kubectl(&changes));
    let _ = writeln!(
        text,
        "EKS add-on, configuration values\n    {}",
        output::addon(&changes, question.in_force)
    );
    let _ = writeln!(text, "    {}", output::aws(&changes, question.in_force));
    text.push_str("before you apply it\n");
    let traps = output::traps(&found.trial.settings, question.in_force);
    traps.iter().for_each(|trap| text.push_str(&listed("    - ", &[(*trap).to_owned()])));
    text
}

/// Lines behind a head, which stands before the first only; longer ones are wrapped between words.
fn listed(head: &str, lines: &[String]) -> String {
    let blank = " ".repeat(head.chars().count());
    let heads = std::iter::once(head).chain(std::iter::repeat(blank.as_str()));
    let entry = |(head, line): (&str, &String)| {
        format!("{}\n", wrapped(&format!("{head}{line}"), blank.len() + 2))
    };
    heads.zip(lines).map(entry).collect()
}
