//! Templates filled in, and where their words are said to stand.

use proptest::prelude::*;

use super::super::environment::tests::Literal;
use super::*;

fn values() -> Values {
    Values {
        node_addresses: ["169.254.20.10", "10.96.0.10"].map(address).to_vec(),
        cluster_dns: Ok(address("10.96.0.11")),
        upstream_servers: Vec::new(),
        prometheus: ":9253".to_owned(),
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn filled(template: &str) -> String {
    values().fill_in(template).text
}

fn error(values: &Values, template: &str) -> String {
    let read = read("T", template, values, &Literal::default());
    read.map(|(_, text)| panic!("accepted: {text}")).expect_err("an error").to_string()
}

#[test]
fn tokens_are_filled_in() {
    for (template, expected) in [
        ("", ""),
        ("a\n\nb\n", "a\n\nb\n"),
        ("bind __PILLAR__LOCAL__DNS__", "bind 169.254.20.10 10.96.0.10"),
        ("bind __PILLAR__LOCAL__DNS__ __PILLAR__DNS__SERVER__", "bind 169.254.20.10 10.96.0.10 "),
        ("forward . __PILLAR__CLUSTER__DNS__ {", "forward . 10.96.0.11 {"),
        ("forward . __PILLAR__UPSTREAM__SERVERS__", "forward . /etc/resolv.conf"),
        ("prometheus __PROMETHEUS__ENDPOINT__", "prometheus :9253"),
        ("health __PILLAR__LOCAL__DNS__:8080", "health 169.254.20.10:8080"),
        ("é __PILLAR__CLUSTER__DNS__ é", "é 10.96.0.11 é"),
        ("__PILLAR__DNS__DOMAIN__:53 {", "__PILLAR__DNS__DOMAIN__:53 {"),
        ("__PILLAR__OTHER__ __P", "__PILLAR__OTHER__ __P"),
    ] {
        assert_eq!(filled(template), expected, "{template}");
    }
}

#[test]
fn ipv6_before_a_port_stands_in_brackets() {
    let values = Values {
        node_addresses: vec![address("fd00::10"), address("10.0.0.1")],
        cluster_dns: Ok(address("fd00::b")),
        ..values()
    };
    let template = "__PILLAR__LOCAL__DNS__:1 __PILLAR__LOCAL__DNS__ __PILLAR__CLUSTER__DNS__:53 \
                    __PILLAR__CLUSTER__DNS__";
    assert_eq!(
        values.fill_in(template).text,
        "[fd00::10]:1 fd00::10 10.0.0.1 [fd00::b]:53 fd00::b"
    );
}

#[test]
fn messages_name_the_template_and_the_token() {
    let template = ". {\n bind __PILLAR__LOCAL__DNS__ x __PILLAR__LOCAL__DNS__ y {\n";
    let filled = values().fill_in(template);
    let blocks = corefile::parse_placed(
        "T",
        &format!("{}\n}}\n}}", filled.text),
        &|token| filled.place(token),
        &Literal::default(),
    )
    .expect("parsed");
    let shown: Vec<_> = blocks[0].directives[0]
        .args
        .iter()
        .map(|token| (token.text.as_str(), token.position.column, token.written.is_some()))
        .collect();
    assert_eq!(
        shown,
        [
            ("169.254.20.10", 7, true),
            ("10.96.0.10", 7, true),
            ("x", 30, false),
            ("169.254.20.10", 32, true),
            ("10.96.0.10", 32, true),
            ("y", 55, false),
        ]
    );
    let complaint = blocks[0].directives[0].args[0].error("something else").to_string();
    assert!(
        complaint.contains("`169.254.20.10` (written `__PILLAR__LOCAL__DNS__`)"),
        "{complaint}"
    );
}

#[test]
fn a_token_inside_a_word_is_named_too() {
    let template =
        ". {\n forward . dns://__PILLAR__CLUSTER__DNS__:53 \"__PILLAR__CLUSTER__DNS__\"\n}";
    let (blocks, _) = read("T", template, &values(), &Literal::default()).expect("read");
    let args = &blocks[0].directives[0].args;
    assert_eq!((args[1].text.as_str(), args[1].position.column), ("dns://10.96.0.11:53", 12));
    assert_eq!((args[2].text.as_str(), args[2].position.column), ("10.96.0.11", 46));
    assert!(args[1..].iter().all(|token| token.written.as_deref() == Some(CLUSTER_DNS)));
}

#[test]
fn missing_values_say_what_to_do_where_they_are_used() {
    let none = Values {
        node_addresses: Vec::new(),
        cluster_dns: cluster_dns("kube-dns-upstream", &Literal::default()),
        ..values()
    };
    let template = "# __PILLAR__CLUSTER__DNS__\n. {\n whoami # __PILLAR__LOCAL__DNS__\n}\n";
    assert!(read("T", template, &none, &Literal::default()).is_ok());
    let cluster = error(&none, ". {\n forward . __PILLAR__CLUSTER__DNS__\n}");
    assert!(
        cluster.starts_with("T:2:12: found `__PILLAR__CLUSTER__DNS__`, expected the ClusterIP")
    );
    for part in ["KUBE_DNS_UPSTREAM_SERVICE_HOST is not set", "-upstreamsvc ADDRESS"] {
        assert!(cluster.contains(part), "{cluster}");
    }
    let local = error(&none, ". {\n bind __PILLAR__LOCAL__DNS__\n}");
    assert!(local.starts_with("T:2:7: found `__PILLAR__LOCAL__DNS__`, expected -localip"));
    let domain = error(&values(), "__PILLAR__DNS__DOMAIN__:53 {\n}");
    assert!(
        domain.starts_with("T:1:1: found `__PILLAR__DNS__DOMAIN__:53`, expected the cluster's")
    );
    assert!(domain.ends_with("sed s/__PILLAR__DNS__DOMAIN__/cluster.local/g"));
    let other = error(&values(), ". {\n bind __PILLAR__ELSE__\n}");
    assert!(other.ends_with("expected a value in place of this placeholder"), "{other}");
}

#[test]
fn the_cluster_address_is_a_variable_or_given() {
    let environment = Literal::default()
        .with_variable("KUBE_DNS_UPSTREAM_SERVICE_HOST", "10.96.0.11")
        .with_variable("HEADLESS_SERVICE_HOST", "None");
    assert_eq!(cluster_dns("kube-dns-upstream", &environment), Ok(address("10.96.0.11")));
    assert_eq!(cluster_dns("fd00::b", &environment), Ok(address("fd00::b")));
    let headless = cluster_dns("headless", &environment).expect_err("no address");
    assert!(headless.contains("HEADLESS_SERVICE_HOST says `None`"), "{headless}");
}

#[test]
fn own_upstreams_are_not_asked_over_tcp() {
    let template = ". {\n forward . __PILLAR__UPSTREAM__SERVERS__ {\n  force_tcp\n  max_fails 3\n }\n}\n\
                    a {\n forward . __PILLAR__UPSTREAM__SERVERS__ { force_tcp }\n}\n\
                    b {\n forward . __PILLAR__CLUSTER__DNS__ {\n  force_tcp\n }\n}\n";
    let forced = |values: &Values| {
        let (blocks, text) = read("T", template, values, &Literal::default()).expect("read");
        let of_file = corefile::parse("T", &text, &Literal::default()).expect("the same");
        let count = |blocks: &[ServerBlock]| -> Vec<usize> {
            let forward = |block: &ServerBlock| block.directives[0].body.clone();
            let is_forced = |line: &&Directive| line.name == FORCE_TCP;
            blocks.iter().map(|block| forward(block).iter().filter(is_forced).count()).collect()
        };
        assert_eq!(count(&blocks), count(&of_file));
        count(&blocks)
    };
    assert_eq!(forced(&values()), [1, 1, 1]);
    let own = Values { upstream_servers: vec!["10.1.2.3".to_owned()], ..values() };
    assert_eq!(forced(&own), [0, 0, 1]);
    let (blocks, _) = read("T", template, &own, &Literal::default()).expect("read");
    assert_eq!(blocks[0].directives[0].body[0].name, "max_fails");
}

#[test]
fn a_stub_domain_becomes_a_block() {
    let position = Position { file: "S".to_owned(), line: 3, column: 5 };
    let servers = vec!["10.1.2.3".to_owned(), "10.1.2.4:54".to_owned()];
    let stub = StubDomain { domain: "corp.example".to_owned(), servers, position };
    let addresses = values().node_addresses;
    let (blocks, text) = stub_block(&stub, &addresses, 53, &Literal::default()).expect("a block");
    assert_eq!(
        text,
        "\ncorp.example:53 {\n    errors\n    cache 30\n    bind 169.254.20.10 10.96.0.10\n    \
         forward . 10.1.2.3 10.1.2.4:54\n}\n"
    );
    assert_eq!(blocks[0].position.to_string(), "S:3:5");
    let error = stub_block(&stub, &[], 53, &Literal::default()).expect_err("nowhere");
    assert!(error.to_string().starts_with("S:3:5: found `corp.example` and no address"), "{error}");
}

#[test]
fn errors_of_a_plain_corefile_point_to_the_template_flag() {
    let error = corefile::parse("C", "bind __PILLAR__LOCAL__DNS__", &Literal::default());
    let error = explain_without_template(error.expect_err("a placeholder")).to_string();
    assert!(error.ends_with("named with -basecorefile"), "{error}");
}

proptest! {
    #[test]
    fn words_keep_their_lines(words in proptest::collection::vec(
        prop_oneof![
            Just(LOCAL_DNS), Just(CLUSTER_DNS), Just(UPSTREAM_SERVERS), Just(DNS_SERVER),
            Just(PROMETHEUS_ENDPOINT), Just("\n"), Just(" "), Just("é"), Just("\""), Just("{"),
            Just("}"), Just("forward"), Just("force_tcp"), Just("__P"),
        ], 0..60))
    {
        let template = words.concat();
        let own = Values { upstream_servers: vec!["10.1.2.3".to_owned()], ..values() };
        let filled = own.fill_in(&template);
        prop_assert_eq!(filled.text.matches('\n').count(), template.matches('\n').count());
        let widths: Vec<_> = template.split('\n').map(|line| line.chars().count()).collect();
        if let Ok((blocks, _)) = read("T", &template, &own, &Literal::default()) {
            for line in blocks.iter().flat_map(|block| &block.directives) {
                prop_assert!(line.position.column <= widths[line.position.line - 1]);
            }
        }
    }
}
