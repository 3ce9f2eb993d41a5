//! What ipamd makes of values, and what a command line refuses.

use super::*;

/// What ipamd makes of one variable: the value that holds, and what was remarked.
fn check(name: &str, written: &str, holds: &str, remarked: bool) {
    let env = BTreeMap::from([(name.to_owned(), written.to_owned())]);
    let reading = Settings::from_env(&env);
    let value = reading.settings.env().into_iter().find(|(of, _)| *of == name);
    let value = value.map_or_else(|| "none".to_owned(), |(_, value)| value);
    assert_eq!(value, holds, "{name}={written}");
    assert_eq!(!reading.remarks.is_empty(), remarked, "{name}={written}: {reading:?}");
}

fn refuses(words: &[&str], says: &str) {
    let mistake = Settings::default().with_words(words).expect_err("a mistake").to_string();
    assert!(mistake.contains(says), "{words:?}: {mistake}");
}

#[test]
fn ipamd_takes_the_default_for_what_it_cannot_use() {
    check("WARM_ENI_TARGET", "3", "3", false);
    check("WARM_ENI_TARGET", "0", "0", false);
    check("WARM_ENI_TARGET", "-1", "1", true);
    check("WARM_ENI_TARGET", "", "1", true);
    check("WARM_ENI_TARGET", "two", "1", true);
    check("WARM_IP_TARGET", "-5", "0", true);
    check("WARM_IP_TARGET", "+5", "5", false);
    check("WARM_IP_TARGET", " 5", "0", true);
    check("WARM_IP_TARGET", "5.0", "0", true);
    check("WARM_IP_TARGET", "1e3", "0", true);
    check("MINIMUM_IP_TARGET", "5000000000", "4294967295", true);
    check("MINIMUM_IP_TARGET", "99999999999999999999", "0", true);
    check("WARM_PREFIX_TARGET", "x", "0", true);
    check("MAX_ENI", "0", "none", true);
    check("MAX_ENI", "-3", "none", true);
    check("MAX_ENI", "3", "3", false);
    check("IP_COOLDOWN_PERIOD", "0", "0", false);
    check("IP_COOLDOWN_PERIOD", "30s", "30", true);
    check("IP_COOLDOWN_PERIOD", "-1", "0", true);
}

#[test]
fn ipamd_reads_switches_as_go_does() {
    check("ENABLE_PREFIX_DELEGATION", "true", "true", false);
    check("ENABLE_PREFIX_DELEGATION", "T", "true", false);
    check("ENABLE_PREFIX_DELEGATION", "1", "true", false);
    check("ENABLE_PREFIX_DELEGATION", "yes", "false", true);
    check("ENABLE_PREFIX_DELEGATION", "tRUE", "false", true);
    check("ENABLE_SUBNET_DISCOVERY", "off", "true", true);
    check("DISABLE_LEAKED_ENI_CLEANUP", "true", "true", false);
}

#[test]
fn nothing_set_is_what_the_code_says_and_not_the_chart() {
    let reading = Settings::from_env(&BTreeMap::new());
    assert_eq!(reading.settings, Settings { warm_prefix: 0, ..Settings::default() });
    assert_eq!(reading.remarks, []);
}

#[test]
fn a_remark_says_what_holds() {
    let env = BTreeMap::from([("MAX_ENI".to_owned(), "0".to_owned())]);
    let remark = Settings::from_env(&env).remarks.remove(0);
    assert_eq!((remark.variable, &*remark.written), ("MAX_ENI", "0"));
    assert_eq!(remark.taken, "the instance type's limit");
}

#[test]
fn a_number_beyond_the_models_is_not_said_to_be_another() {
    let env = BTreeMap::from([("WARM_IP_TARGET".to_owned(), "9999999999".to_owned())]);
    let remark = Settings::from_env(&env).remarks.remove(0);
    assert_eq!(remark.taken, "it as more than any node can have");
}

#[test]
fn words_change_what_they_name() {
    let words = ["ENABLE_PREFIX_DELEGATION=true", "WARM_IP_TARGET=5", "IP_COOLDOWN_PERIOD=10"];
    let settings = Settings::default().with_words(words).expect("no mistake");
    let expected =
        Settings { mode: Mode::Prefix, warm_ip: 5, cooldown_ms: 10_000, ..Settings::default() };
    assert_eq!(settings, expected);
}

#[test]
fn doubtful_words_are_refused() {
    refuses(&["WARM_IP_TARGET"], "not of the form NAME=VALUE");
    refuses(&["WARM_IP_TRAGET=1"], "is WARM_IP_TARGET meant?");
    refuses(&["warm_eni_target=1"], "is WARM_ENI_TARGET meant?");
    refuses(&["WARM_IP=1"], "is WARM_IP_TARGET meant?");
    refuses(&["COLOUR=red"], "it knows ENABLE_PREFIX_DELEGATION, ");
    refuses(&["WARM_IP_TARGET=-1"], "a whole number from 0 to 100000 is needed");
    refuses(&["WARM_IP_TARGET=100001"], "from 0 to 100000");
    refuses(&["WARM_IP_TARGET=99999999999999999999"], "from 0 to 100000");
    refuses(&["WARM_IP_TARGET=NaN"], "WARM_IP_TARGET=NaN: a whole number");
    refuses(&["WARM_IP_TARGET="], "a whole number");
    refuses(&["MAX_ENI=0"], "from 1 to 1000");
    refuses(&["IP_COOLDOWN_PERIOD=30s"], "a whole number of seconds from 0 to 86400");
    refuses(&["ENABLE_PREFIX_DELEGATION=yes"], "true or false is needed");
    refuses(&["MAX_ENI=1", "MAX_ENI=1"], "MAX_ENI is set twice");
    refuses(&[""], "not of the form NAME=VALUE");
    refuses(&["=1"], "is no variable");
}

#[test]
fn env_and_words_are_each_others_inverse() {
    let settings = Settings {
        mode: Mode::Prefix,
        warm_eni: 2,
        warm_ip: 3,
        minimum_ip: 4,
        warm_prefix: 5,
        enis_max: Some(6),
        cooldown_ms: 7_000,
        manages_unschedulable: true,
        custom_networking: true,
        subnet_discovery: false,
        pod_eni: true,
        sweeps_leaked: false,
    };
    let env: BTreeMap<String, String> =
        settings.env().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    assert_eq!(Settings::from_env(&env).settings, settings);
    let words = env.iter().map(|(name, value)| format!("{name}={value}"));
    assert_eq!(Settings::default().with_words(words), Ok(settings));
}
