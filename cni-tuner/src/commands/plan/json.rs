//! Plans as JSON, for programs.

use serde_json::{Value, json};

use crate::model::settings::{Mode, Settings};
use crate::plan::Question;
use crate::plan::each::Each;
use crate::plan::goal::{Breach, Score};
use crate::plan::output;
use crate::plan::recommend::{Compared, Miss, Plan, Recommendation, Trial, Verdict};
use crate::plan::runs::SEEDS;

/// A plan.
pub(super) fn plan(question: &Question<'_>, plan: &Plan) -> Value {
    let (recommendation, closest) = match &plan.verdict {
        Verdict::Found(found) => (recommendation(question, found), Vec::new()),
        Verdict::NoneMeets(misses) => (Value::Null, misses.iter().map(miss).collect()),
    };
    let compared: Vec<Value> = plan.compared.iter().map(|one| known(question, one)).collect();
    json!({
        "trace": question.trace.name,
        "duration_s": question.trace.end_ms as f64 / 1e3,
        "goal": {
            "wait_p99_s": question.goal.wait_p99_ms as f64 / 1e3,
            "calls_per_hour": question.goal.calls_per_hour,
            "subnet_free": question.goal.subnet_free,
        },
        "headroom_percent": question.headroom_percent,
        "seeds": (0..SEEDS).map(|at| question.seed.wrapping_add(at)).collect::<Vec<_>>(),
        "recommendation": recommendation,
        "closest": closest,
        "compared": compared,
        "front": plan.front.iter().map(trial).collect::<Vec<_>>(),
        "settings_tried": plan.tried,
        "simulations": plan.simulations,
        "sampled_nodes": plan.sampled_nodes,
        "demand": plan.demand,
    })
}

/// The plans of all node groups.
pub(super) fn each(question: &Question<'_>, each: &Each) -> Value {
    let groups: Vec<Value> = each
        .groups
        .iter()
        .map(|(name, one)| json!({ "group": name, "plan": plan(question, one) }))
        .collect();
    json!({
        "together": plan(question, &each.together),
        "groups": groups,
        "split": each.split.as_ref().map(score),
    })
}

fn recommendation(question: &Question<'_>, found: &Recommendation) -> Value {
    let settings = &found.trial.settings;
    let changes = output::changes(settings, question.in_force);
    json!({
        "settings": self::settings(settings),
        "score": score(&found.trial.score),
        "score_with_headroom": score(&found.raised),
        "reason": {
            "rests_on": found.reason.rests_on,
            "costs": found.reason.costs,
            "prevents": found.reason.prevents,
        },
        "apply": {
            "env": output::environment(&changes),
            "kubectl": output::kubectl(&changes),
            "addon": output::addon(&changes, question.in_force),
            "aws": output::aws(&changes, question.in_force),
            "traps": output::traps(settings, question.in_force),
        },
    })
}

fn known(question: &Question<'_>, one: &Compared) -> Value {
    json!({
        "what": one.what.name(),
        "settings": settings(&one.trial.settings),
        "score": score(&one.trial.score),
        "breaches": breaches(&one.trial.score.breaches(&question.goal)),
    })
}

fn miss(miss: &Miss) -> Value {
    json!({
        "settings": settings(&miss.trial.settings),
        "score": score(&miss.trial.score),
        "breaches": breaches(&miss.breaches),
        "breaches_with_headroom": breaches(&miss.breaches_raised),
    })
}

fn breaches(breaches: &[Breach]) -> Vec<Value> {
    let breach = |one: &Breach| json!({ "limit": one.limit(), "text": one.to_string() });
    breaches.iter().map(breach).collect()
}

fn trial(trial: &Trial) -> Value {
    json!({ "settings": settings(&trial.settings), "score": score(&trial.score) })
}

fn settings(settings: &Settings) -> Value {
    json!({
        "mode": if settings.mode == Mode::Prefix { "pd" } else { "sip" },
        "warm_eni_target": settings.warm_eni,
        "warm_ip_target": settings.warm_ip,
        "minimum_ip_target": settings.minimum_ip,
        "warm_prefix_target": settings.warm_prefix,
    })
}

fn score(score: &Score) -> Value {
    json!({
        "idle_address_hours": score.idle_address_ms as f64 / 3.6e6,
        "failed_adds": score.failed_adds,
        "pods_failed": score.pods_failed,
        "pods_never": score.pods_never,
        "failed_starts": score.failed_starts,
        "wait_p50_s": score.wait_p50_ms as f64 / 1e3,
        "wait_p99_s": score.wait_p99_ms as f64 / 1e3,
        "wait_max_s": score.wait_max_ms as f64 / 1e3,
        "calls": score.calls,
        "calls_per_hour_max": score.calls_per_hour_max,
        "throttled": score.throttled,
        "eni_attaches": score.eni_attaches,
        "subnet_free_min": score.subnet_free_min,
        "held_max": score.held_max,
    })
}
