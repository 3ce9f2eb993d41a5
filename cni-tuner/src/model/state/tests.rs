//! What a state may say, and which contradictions are refused.

use super::*;

fn state(json: &str) -> State {
    State::parse(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

fn refuses(json: &str, says: &str) {
    let error = State::parse(json).expect_err("a mistake").to_string();
    assert!(error.contains(says), "{json}: {error}");
}

/// A state with these ENIs on an 8 x 30 type.
fn with_enis(enis: &str) -> String {
    format!(r#"{{"instance_type": "c5.9xlarge", "enis": {enis}}}"#)
}

fn refuses_enis(enis: &str, says: &str) {
    refuses(&with_enis(enis), says);
}

fn refuses_field(field: &str, says: &str) {
    let enis = r#"[{"primary": true, "ips": 3, "assigned": 0}]"#;
    refuses(&format!(r#"{{"ips_per_eni": 29, {field}, "enis": {enis}}}"#), says);
}

#[test]
fn what_is_not_given_is_the_cnis_default() {
    let state = state(&with_enis(r#"[{"ips": 29, "assigned": 1, "primary": null}]"#));
    assert_eq!(state.settings, Settings::default());
    let shape =
        Shape { slots: 29, enis_max: 8, unmanaged: 0, trunk_reserved: false, pods_max: 234 };
    assert_eq!(state.shape, shape);
    assert_eq!(state.names, ["eni-0"]);
    assert!(state.pool.enis()[0].kind.is_primary);
    assert_eq!(state.notes.len(), 2, "{:?}", state.notes);
}

#[test]
fn totals_come_from_the_enis() {
    let enis = r#"[{"id": "a", "primary": true, "ips": 29, "assigned": 20, "cooling": 4},
                   {"id": "b", "ips": 5, "assigned": 0}]"#;
    let stats = state(&with_enis(enis)).pool.stats(NOW_MS);
    assert_eq!((stats.total, stats.assigned, stats.cooling, stats.enis), (34, 20, 4, 2));
}

#[test]
fn prefixes_are_a_number_or_a_list() {
    let of = |eni: &str| {
        let json = format!(r#"{{"mode": "pd", "ips_per_eni": 29, "enis": [{eni}]}}"#);
        let state = state(&json);
        let cidrs = &state.pool.enis()[0].cidrs;
        cidrs.iter().map(|cidr| cidr.assigned).collect::<Vec<u32>>()
    };
    assert_eq!(of(r#"{"prefixes": 3, "assigned": 20}"#), [16, 4, 0]);
    assert_eq!(of(r#"{"prefixes": [1, 0, 16]}"#), [1, 0, 16]);
    assert_eq!(of(r#"{"prefixes": [1, 0, 16], "assigned": 17}"#), [1, 0, 16]);
    assert_eq!(of(r#"{"prefixes": []}"#), [] as [u32; 0]);
    assert_eq!(of(r#"{"prefixes": 0, "assigned": 0}"#), [] as [u32; 0]);
}

#[test]
fn addresses_of_the_other_mode_take_room_but_do_not_count() {
    let json = r#"{"mode": "pd", "ips_per_eni": 9,
                   "enis": [{"ips": 8, "prefixes": [2], "assigned": 5}]}"#;
    let state = state(json);
    let stats = state.pool.stats(NOW_MS);
    assert_eq!((stats.total, stats.assigned), (16, 2));
    assert!(!state.rules().has_room(&state.pool.enis()[0]));
}

#[test]
fn a_type_without_prefixes_has_secondary_addresses() {
    let json =
        r#"{"mode": "pd", "instance_type": "m4.large", "enis": [{"ips": 9, "assigned": 1}]}"#;
    let state = state(json);
    assert_eq!(state.settings.mode, Mode::SecondaryIp);
}

#[test]
fn contradictions_are_refused() {
    refuses_enis(r#"[{"ips": 3, "assigned": 4}]"#, "enis[0].assigned: 4, but the ENI has 3");
    refuses_enis(
        r#"[{"ips": 3, "assigned": 2, "cooling": 2}]"#,
        "enis[0].cooling: 2, but the ENI has only 1 free",
    );
    refuses_enis(r#"[{"ips": 30, "assigned": 2}]"#, "enis[0].ips: 30, but an ENI has room for 29");
    refuses_enis(
        r#"[{"primary": true, "id": "a"}, {"primary": true, "id": "b"}]"#,
        "a and b are both primary",
    );
    refuses_enis(r#"[{"primary": false}]"#, "none is primary");
    refuses_enis("[]", "none is primary");
    refuses_enis(r#"[{"id": "a"}, {"id": "a"}]"#, "enis[1].id: a: enis[0] has the same");
    refuses_enis(r#"[{"prefixes": 1, "ips": 9, "assigned": 17}]"#, "but the ENI has 9 addresses");
    refuses_enis("[{},{},{},{},{},{},{},{},{}]", "there are 9, but a c5.9xlarge takes 8 at most");
    let pd = |eni: &str| format!(r#"{{"mode": "pd", "ips_per_eni": 29, "enis": [{eni}]}}"#);
    refuses(
        &pd(r#"{"prefixes": 1, "assigned": 17}"#),
        "17, but its prefixes (1) have 16 addresses",
    );
    refuses(&pd(r#"{"prefixes": [17]}"#), "enis[0].prefixes[0]: 17: a whole number from 0 to 16");
    refuses(&pd(r#"{"prefixes": [3], "assigned": 4}"#), "its prefixes have 3 assigned together");
    refuses(&pd(r#"{"prefixes": 30, "assigned": 0}"#), "prefixes: 30, but an ENI has room for 29");
    refuses(&pd(r#"{"assigned": 1}"#), "enis[0].prefixes: missing");
    refuses(
        r#"{"instance_type": "c5.9xlarge", "ips_per_eni": 30, "enis": [{}]}"#,
        "ips_per_eni: 30, but an ENI of a c5.9xlarge has room for 29",
    );
}

#[test]
fn max_eni_may_be_below_what_is_attached() {
    let text = r#"{"max_eni": 1, "ips_per_eni": 9, "enis": [{"ips": 9}, {"ips": 9}]}"#;
    assert_eq!(state(text).shape.enis_max, 1);
}

#[test]
fn numbers_out_of_range_are_refused() {
    refuses_field(r#""warm_ip_target": -1"#, "warm_ip_target: -1: a whole number from 0 to 100000");
    refuses_field(r#""warm_ip_target": 1.5"#, "warm_ip_target: 1.5");
    refuses_field(r#""warm_ip_target": "2""#, r#"warm_ip_target: "2": a whole number"#);
    refuses_field(r#""minimum_ip_target": 1e99"#, "minimum_ip_target");
    refuses_field(r#""max_pods": 0"#, "max_pods: 0");
    refuses_field(r#""max_eni": 0"#, "max_eni: 0: at least 1");
    refuses_field(r#""mode": "ipv6""#, r#"mode: "ipv6": "sip""#);
    refuses_enis(r#"[{"age_s": -1}]"#, "enis[0].age_s: -1: seconds from 0");
    refuses_enis(r#"[{"age_s": "old"}]"#, "enis[0].age_s");
    refuses_enis(r#"[{"primary": "yes"}]"#, "enis[0].primary: \"yes\": true or false");
    refuses_enis(r#"[3]"#, "enis[0]: an object is needed, not a number");
    refuses_enis(r#"{"a": 1}"#, "enis: a list is needed, not an object");
    refuses("[]", "the state: an object is needed, not a list");
    refuses("{}", "instance_type or ips_per_eni is needed");
    refuses(r#"{"ips_per_eni": 9}"#, "enis: the list");
    refuses(r#"{"ips_per_eni": 0, "enis": [{}]}"#, "ips_per_eni: 0");
    refuses(r#"{"ips_per_eni": 257, "enis": [{}]}"#, "a whole number from 0 to 256 is needed");
    let many = vec!["{}"; 129].join(",");
    refuses(&format!(r#"{{"ips_per_eni": 9, "enis": [{many}]}}"#), "enis: there are 129; no");
    refuses(r#"{"instance_type": "c5.9xlrge", "enis": [{}]}"#, "is c5.9xlarge");
}

#[test]
fn misspelt_and_doubled_fields_are_refused() {
    refuses_field(
        r#""warm_ip_traget": 1"#,
        "warm_ip_traget: there is no such field; is warm_ip_target meant?",
    );
    refuses_field(r#""colour": 1"#, "there are instance_type, warm_eni_target");
    refuses_enis(
        r#"[{"asigned": 1}]"#,
        "enis[0].asigned: there is no such field; is assigned meant?",
    );
    refuses_field(r#""max_pods": 9, "max_pods": 9"#, "`max_pods` stands there twice");
    refuses("{\n\"max_pods\": }", "line 2");
    refuses("", "EOF");
}

#[test]
fn names_that_would_steer_a_terminal_are_refused() {
    refuses_enis(r#"[{"id": "a\u001b[31m"}]"#, "enis[0].id");
    refuses_enis(r#"[{"id": "a\nb"}]"#, "enis[0].id");
    refuses_enis(r#"[{"id": "a\u009b"}]"#, "a\u{fffd}");
}
