//! A plan for every node group by itself, and what splitting would save.

use crate::model::settings::Settings;
use crate::model::world::Assignment;
use crate::plan::goal::Score;
use crate::plan::recommend::Plan;
use crate::plan::runs::SEEDS;
use crate::plan::{Progress, Question, recommend, run};

/// Plans for the node groups of a trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Each {
    /// One plan for all nodes.
    pub together: Plan,
    /// The groups' own plans, by name.
    pub groups: Vec<(String, Plan)>,
    /// How all nodes do when each group has the setting recommended for it, the worst of the seeds;
    /// none: a group has no recommendation.
    pub split: Option<Score>,
}

/// Plans every node group by itself, in a world of its own, and all of them together. Then all
/// groups are run side by side, because they share subnets and EC2's limits. `progress` is told of
/// each plan anew.
pub fn each(question: &Question<'_>, progress: &Progress<'_>) -> Each {
    let together = recommend(question, progress);
    let names: Vec<String> = together.demand.groups.keys().cloned().collect();
    let groups: Vec<(String, Plan)> = names
        .into_iter()
        .filter_map(|name| {
            let trace = question.trace.only(|node| node.group == name)?;
            let plan = recommend(&Question { trace: &trace, ..question.clone() }, progress);
            Some((name, plan))
        })
        .collect();
    let split = assignment(question.in_force, &groups).map(|assignment| {
        let scores = (0..SEEDS).map(|at| {
            run(question.trace, &assignment, question.world, question.seed.wrapping_add(at))
        });
        scores.reduce(|one, other| one.worst(&other)).unwrap_or_default()
    });
    Each { together, groups, split }
}

fn assignment(in_force: &Settings, groups: &[(String, Plan)]) -> Option<Assignment> {
    let of_group = |(name, plan): &(String, Plan)| {
        Some((name.clone(), plan.recommended()?.trial.settings.clone()))
    };
    let by_group = groups.iter().map(of_group).collect::<Option<_>>()?;
    Some(Assignment { everywhere: in_force.clone(), by_group })
}
