//! Search lists beside `rewrite`, `template`, `dns64` and `acl`: names these have a say in are left
//! alone.

use super::*;

/// A directive in the block of the cluster.
fn in_cluster(name: &str, lines: &str) -> Stage {
    Stage::with(&format!("}}\n {name} {{\n {lines}"), "")
}

fn is_left_alone(got: &Got) -> bool {
    got.shortcut == Shortcut::NotTaken(Reason::OtherDirective)
}

/// What a lookup in namespace `web` leads to when everything about it is known.
fn warmed_lookup(stage: &mut Stage, words: &str) -> Got {
    stage.walk(words);
    stage.pass(3_000);
    stage.walk(words);
    stage.pass(3_000);
    stage.ask(&format!("{words}.web.svc.cluster.local"), A)
}

#[test]
fn without_such_directives_the_lookup_is_cut_short() {
    let got = warmed_lookup(&mut Stage::with("audit off", ""), "amazon.com");
    assert_eq!(got.leads_to(), Some("amazon.com."), "{got:?}");
}

#[test]
fn a_name_that_would_be_rewritten_is_nobodys_target() {
    for root in [
        "rewrite name amazon.com empresa.com",
        "rewrite name regex ^amazon[.] empresa.com answer auto",
        "rewrite type AAAA A",
        "rewrite ttl suffix .com 5",
        "template IN A com {\n match ^amazon[.]\n answer \"{{ .Name }} 9 A 192.0.2.9\"\n fallthrough\n}",
        "dns64 {\n allow_ipv4\n}",
    ] {
        let got = warmed_lookup(&mut Stage::with("audit off", root), "amazon.com");
        assert_eq!((got.alias, got.rcode), (None, 3), "{root}");
    }
}

/// `-client-networks` gives every block the same `acl`: who may ask for the name in the cluster may
/// ask for what it leads to.
#[test]
fn an_acl_that_every_block_has_hides_nothing() {
    let acl = "acl {\n allow net 10.0.0.0/8\n block\n }";
    let shortened = |search: &str, root: &str| {
        let mut stage = Stage::with(&format!("audit off\n }}\n {search}\n errors {{"), root);
        warmed_lookup(&mut stage, "amazon.com").alias.is_some()
    };
    assert!(shortened(acl, acl));
    assert!(!shortened("", acl));
    assert!(!shortened(acl, &acl.replace("10.0.0.0/8", "10.0.0.0/16")));
    let of_names = acl.replace("acl", "acl com cluster.local");
    assert!(!shortened(&of_names, &of_names));
}

#[test]
fn a_rewritten_name_is_not_cut_below_a_namespace_that_is_absent() {
    let rule = "name suffix .old.svc.cluster.local .payments.svc.cluster.local answer auto";
    let mut stage = in_cluster("rewrite", rule);
    assert_eq!(stage.ask("old.svc.cluster.local", A).rcode, 3);
    let got = stage.ask("redis.old.svc.cluster.local", A);
    assert_eq!((got.rcode, got.answers), (0, 1), "{got:?}");
    assert!(is_left_alone(&got), "{got:?}");
    // What is not rewritten is cut as always.
    assert_eq!(stage.ask("gone.svc.cluster.local", A).rcode, 3);
    let got = stage.ask("redis.gone.svc.cluster.local", A);
    assert!(matches!(got.shortcut, Shortcut::Cut { .. }), "{got:?}");
}

#[test]
fn a_template_answers_below_a_namespace_that_is_absent() {
    let lines = "match ^made[.]\n answer \"{{ .Name }} 9 IN A 192.0.2.9\"\n fallthrough";
    let mut stage = in_cluster("template IN A old.svc.cluster.local", lines);
    assert_eq!(stage.ask("old.svc.cluster.local", A).rcode, 3);
    let got = stage.ask("made.old.svc.cluster.local", A);
    assert_eq!((got.rcode, got.answers, got.source), (0, 1, Source::Template));
    assert_eq!(stage.ask("other.old.svc.cluster.local", A).rcode, 3);
}

#[test]
fn both_types_of_a_lookup_get_one_story_under_dns64() {
    let mut stage = in_cluster("dns64", "allow_ipv4");
    stage.create("v4only.web.svc.cluster.local");
    stage.world.insert(name("v4only.web.svc.cluster.local"), vec![vec![192, 0, 2, 1]]);
    for _ in 0..3 {
        let stories = [A, AAAA].map(|qtype| stage.ask("v4only.web.svc.cluster.local", qtype));
        assert_eq!(stories.map(|got| (got.rcode, got.answers)), [(0, 1); 2]);
        let (_, got) = stage.walk("amazon.com");
        assert_eq!(got.rcode, 0);
        stage.pass(2_000);
    }
    let got = stage.ask(WEB, A);
    assert!(is_left_alone(&got), "{got:?}");
}
