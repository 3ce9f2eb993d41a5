//! What ipamd does next, on states that show one rule each.

use super::*;

fn explain(settings: &str, enis: &str) -> (State, Explanation) {
    let json = format!(r#"{{"instance_type": "c5.9xlarge", {settings} "enis": {enis}}}"#);
    let state = State::parse(&json).unwrap_or_else(|error| panic!("{json}: {error}"));
    let explanation = Explanation::of(&state);
    (state, explanation)
}

/// The next action, the ENI that could go, and a piece of the reason.
fn check(settings: &str, enis: &str, action: &str, freeable: Option<&str>, because: &str) {
    let (state, explanation) = explain(settings, enis);
    let reason = &explanation.reason;
    assert_eq!(explanation.action.name(), action, "{settings} {enis}: {reason}");
    assert_eq!(explanation.freeable.map(|eni| state.name(eni)), freeable, "{settings} {enis}");
    assert!(reason.contains(because), "{settings} {enis}: {reason}");
}

/// What is said of the second ENI.
fn verdict(settings: &str, enis: &str, says: &str) {
    let (_, explanation) = explain(settings, enis);
    let reason = &explanation.enis[1].reason;
    assert!(reason.contains(says), "{settings} {enis}: {reason}");
}

const ONE_FULL: &str = r#"[{"id": "a", "primary": true, "ips": 29, "assigned": 0}]"#;
const ONE_USED: &str = r#"[{"id": "a", "primary": true, "ips": 29, "assigned": 1}]"#;

// Case 9.
#[test]
fn default_is_content_without_pods_and_wants_an_eni_from_the_first_pod() {
    check("", ONE_FULL, "none", None, "29 available addresses are enough for WARM_ENI_TARGET=1");
    check("", ONE_USED, "increase", None, "1 x 29 = 29 available addresses and 28 are there");
    check("", ONE_USED, "increase", None, "a new one comes with 29 addresses (ENI 2 of 8)");
}

// Case 3.
#[test]
fn cooling_addresses_count_as_available() {
    let enis = r#"[{"id": "a", "primary": true, "ips": 5, "assigned": 2, "cooling": 3}]"#;
    check(r#""warm_ip_target": 3,"#, enis, "none", None, "5 addresses held and 3 available");
}

// Case 1.
#[test]
fn minimum_alone_is_content_with_no_address_left() {
    let enis = r#"[{"id": "a", "primary": true, "ips": 10, "assigned": 10}]"#;
    let because = "0 available are within MINIMUM_IP_TARGET=10";
    check(r#""minimum_ip_target": 10,"#, enis, "none", None, because);
}

// Case 2.
#[test]
fn warm_eni_0_asks_for_an_eni_and_gives_the_empty_one_back() {
    let full = r#"[{"id": "a", "primary": true, "ips": 29, "assigned": 29}]"#;
    let because = "WARM_ENI_TARGET=0 and no address is available";
    check(r#""warm_eni_target": 0,"#, full, "increase", None, because);
    let two = r#"[{"id": "a", "primary": true, "ips": 29, "assigned": 29},
                  {"id": "b", "ips": 29, "assigned": 0}]"#;
    let because = "29 available addresses are at least (WARM_ENI_TARGET 0 + 1) x 29 = 29";
    check(r#""warm_eni_target": 0,"#, two, "free_eni", Some("b"), because);
}

#[test]
fn targets_give_addresses_back() {
    let settings = r#""warm_ip_target": 2, "minimum_ip_target": 10,"#;
    check(
        settings,
        ONE_USED,
        "decrease",
        None,
        "19 addresses too many; 19 addresses are given back",
    );
    let lately = r#""warm_ip_target": 2, "last_release_s": 20,"#;
    check(lately, ONE_USED, "none", None, "the last release was 20 s ago");
}

// Case 8.
#[test]
fn fragmented_prefixes_are_not_given_back() {
    let enis = r#"[{"id": "a", "primary": true, "prefixes": [1, 1, 1]}]"#;
    let (_, explanation) = explain(r#""mode": "pd", "warm_ip_target": 1,"#, enis);
    assert_eq!((explanation.target.short, explanation.target.over), (0, 0));
    assert_eq!(explanation.stats.available(), 45);
    assert_eq!(explanation.action, Action::None(Idle::InBalance));
}

// Case 6, as far as one pass shows it.
#[test]
fn a_cordoned_node_releases_but_neither_grows_nor_detaches() {
    check(r#""cordoned": true,"#, ONE_USED, "none", None, "a cordoned node does not grow");
    let cordoned = r#""cordoned": true, "warm_ip_target": 2,"#;
    check(cordoned, ONE_FULL, "decrease", None, "27 addresses are given back");
    let two = r#"[{"id": "a", "primary": true, "ips": 2, "assigned": 0}, {"id": "b"}]"#;
    check(cordoned, two, "none", None, "nothing is to be done");
    verdict(cordoned, two, "a cordoned node frees no ENI");
}

// Case 7.
#[test]
fn max_pods_makes_a_pool_large_enough() {
    let because = "29 addresses are held and max_pods is 20";
    check(r#""max_pods": 20,"#, ONE_USED, "none", None, because);
}

#[test]
fn a_full_node_cannot_grow() {
    let because = "1 of 1 ENIs are attached: it cannot grow";
    check(r#""max_eni": 1,"#, ONE_USED, "none", None, because);
    check(r#""pod_eni": true, "max_eni": 2,"#, ONE_USED, "none", None, "(1 kept for others)");
}

// Case 13.
#[test]
fn every_reason_to_keep_an_eni_is_told() {
    let two = |second: &str| {
        format!(
            r#"[{{"id": "a", "primary": true, "ips": 29, "assigned": 9}}, {{"id": "b", {second}}}]"#
        )
    };
    let warm = r#""warm_ip_target": 20,"#;
    verdict(warm, &two(r#""age_s": 12"#), "it is 12 s old");
    verdict(warm, &two(r#""ips": 3, "assigned": 1"#), "1 pod has addresses of it");
    verdict(warm, &two(r#""ips": 3, "assigned": 1, "cooling": 2"#), "2 of its addresses cool down");
    verdict(
        r#""warm_ip_target": 21,"#,
        &two(r#""ips": 3, "assigned": 0"#),
        "without it 20 addresses would be free",
    );
    verdict(warm, &two(r#""ips": 3, "assigned": 0"#), "can be freed");
    verdict(
        r#""minimum_ip_target": 30,"#,
        &two(r#""ips": 3, "assigned": 0"#),
        "without it 29 addresses would be held",
    );
    verdict(warm, &two(r#""trunk": true"#), "trunk");
    verdict(warm, &two(r#""efa": true"#), "Elastic Fabric Adapter");
    verdict(
        "",
        &two(r#""ips": 29, "assigned": 0"#),
        "49 available are less than (WARM_ENI_TARGET 1 + 1) x 29",
    );
    let pd = r#"[{"id": "a", "primary": true, "prefixes": [1, 2]}, {"id": "b", "prefixes": [0]}]"#;
    let settings = r#""mode": "pd", "warm_ip_target": 5, "warm_prefix_target": 1,"#;
    verdict(settings, pd, "WARM_PREFIX_TARGET=1 needs 1, which counts here all the same");
    let without = r#""mode": "pd", "warm_ip_target": 5, "warm_prefix_target": 0,"#;
    verdict(without, pd, "can be freed");
}

#[test]
fn a_growing_pool_names_the_enis_with_room() {
    let two = r#"[{"id": "a", "primary": true, "ips": 27, "assigned": 27},
                  {"id": "b", "ips": 1, "assigned": 1}]"#;
    let because = "5 addresses are attached to a or b in one call";
    check(r#""warm_ip_target": 5,"#, two, "increase", None, because);
}
