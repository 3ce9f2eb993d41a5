//! `cni-tuner steady-state`.

use crate::planner::{fails, prints};

fn json(words: &str) -> serde_json::Value {
    let words: Vec<&str> = "steady-state --json".split(' ').chain(words.split(' ')).collect();
    serde_json::from_str(&prints(&words)).expect("JSON")
}

/// ENIs, addresses, prefixes, assigned and unused, of a node that comes to rest.
fn check(words: &str, expected: [u64; 5]) {
    let [enis, ips, prefixes, assigned, unused] = expected;
    let rest = serde_json::json!({
        "enis": enis, "ips": ips, "prefixes": prefixes, "assigned": assigned, "unused": unused,
        "settled": true,
    });
    assert_eq!(json(words), rest, "{words}");
}

fn refuses(words: &str, says: &str) {
    let words: Vec<&str> = ["steady-state"].into_iter().chain(words.split(' ')).collect();
    let error = fails(&words, 2);
    assert!(error.contains(says), "{words:?}: {error}");
}

#[test]
fn the_default_on_a_c5_9xlarge_holds_29_then_58() {
    check("--instance-type c5.9xlarge --pods 0", [1, 29, 0, 0, 29]);
    check("--instance-type c5.9xlarge --pods 1", [2, 58, 0, 1, 57]);
    check("--instance-type c5.9xlarge --pods 29", [2, 58, 0, 29, 29]);
    check("--instance-type c5.9xlarge --pods 30", [3, 87, 0, 30, 57]);
    check("--instance-type c5.9xlarge --pods 232", [8, 232, 0, 232, 0]);
}

#[test]
fn targets_hold_what_they_name() {
    let node = "--instance-type m5.4xlarge --pods 10";
    check(&format!("{node} --warm-ip-target 1 --minimum-ip-target 11"), [1, 11, 0, 10, 1]);
    check(&format!("{node} --warm-ip-target 5"), [1, 15, 0, 10, 5]);
    check(&format!("{node} --mode pd"), [1, 32, 2, 10, 22]);
    check(&format!("{node} --mode pd --warm-ip-target 16"), [1, 32, 2, 10, 22]);
}

#[test]
fn a_type_without_prefixes_falls_back_to_secondary_addresses() {
    check("--instance-type m4.large --pods 1 --mode pd", [2, 18, 0, 1, 17]);
    let words = ["steady-state", "--instance-type", "m4.large", "--pods", "1", "--mode", "pd"];
    assert!(prints(&words).contains("falls back to secondary addresses"));
}

#[test]
fn a_cycle_is_described() {
    let rest = json("--instance-type c5.9xlarge --pods 29 --warm-eni-target 0");
    assert_eq!(rest["settled"], false);
    let cycle = rest["cycle"].as_str().expect("a text");
    assert!(cycle.starts_with("every 65 s: a new ENI with 29 addresses (58 held), "), "{cycle}");
    let words = "steady-state --instance-type c5.9xlarge --pods 29 --warm-eni-target 0";
    let text = prints(&words.split(' ').collect::<Vec<_>>());
    assert!(text.contains("settled     no, every 65 s"), "{text}");
    assert!(text.contains("about 498 EC2 calls per hour"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
}

#[test]
fn pods_that_never_get_an_address_are_counted() {
    let words = "--instance-type m5.4xlarge --pods 35 --mode pd --minimum-ip-target 22";
    let rest = json(words);
    assert_eq!((&rest["assigned"], &rest["waiting"]), (&32.into(), &3.into()), "{rest}");
}

#[test]
fn mistakes_are_refused() {
    refuses("--instance-type m5.4xlarg --pods 1", "did you mean m5.4xlarge");
    refuses("--instance-type m5.4xlarge --pods -1", "-1");
    refuses("--instance-type m5.4xlarge --pods 99999999999", "99999999999");
    refuses("--instance-type m5.4xlarge --pods 235", "kubelet takes at most 234");
    refuses("--instance-type m5.4xlarge --pods 9 --max-pods 8", "at most 8 (--max-pods)");
    refuses("--instance-type m5.4xlarge --pods 1 --mode ipv6", "[possible values: sip, pd]");
    refuses("--instance-type m5.4xlarge --pods 1 --max-eni 0", "0 is not in 1..=1000");
    refuses("--instance-type m5.4xlarge --pods 1 --warm-ip-target -5", "-5");
    refuses("--pods 1", "--instance-type");
}
