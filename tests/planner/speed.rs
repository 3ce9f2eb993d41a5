//! How long people wait. These measure the optimised program, so they run where it is built.

use std::time::{Duration, Instant};

use super::prints;

/// Runs a command to its end and holds its time against a limit.
fn check(words: &[&str], limit: Duration) {
    let start = Instant::now();
    let text = prints(words);
    let taken = start.elapsed();
    println!("{} took {taken:.1?}", words.join(" "));
    assert!(taken < limit, "{taken:?}: {text}");
}

#[test]
#[ignore = "needs an optimised build"]
fn a_day_of_500_nodes_and_100_000_pods_takes_under_ten_seconds() {
    for setting in ["default", "WARM_IP_TARGET=1", "WARM_ENI_TARGET=0"] {
        let words = ["simulate", "--generate", "fleet", "--setting", setting, "--no-html"];
        check(&words, Duration::from_secs(10));
    }
}

#[test]
#[ignore = "needs an optimised build"]
fn a_plan_for_the_busiest_group_of_that_day_takes_under_a_minute() {
    check(&["plan", "--generate", "fleet", "--busiest"], Duration::from_secs(60));
}

#[test]
#[ignore = "needs an optimised build"]
fn the_story_of_one_environment_takes_under_ten_seconds() {
    check(&["simulate", "--no-html"], Duration::from_secs(10));
}
